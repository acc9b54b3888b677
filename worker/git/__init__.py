"""Git: from a repository's URL to its branch tip, tree and file contents, without a work tree."""

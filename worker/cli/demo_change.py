"""The demo's scratch clone: a repository of its own to commit a change to, whatever the cloned one holds."""

import os
import uuid
from pathlib import Path
from typing import Any

from worker.errors import WorkerError
from worker.git.resolve import DETACHED, Tip
from worker.git.url import RepositoryUrl

CHANGED_FILE = "indexing_worker_demo.py"
CHANGE = '''"""A change that the demo pushed."""


def pushed_by_the_demo_{number}() -> str:
    """Only this file is new, so only this file is parsed."""
    return "{number}"
'''
# Nothing of the user's own git takes part: no template with hooks, no filter, no question.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
}


class ScratchClone:
    """A clone without a work tree's files; a commit adds one file to the tree as it is."""

    def __init__(self, url: RepositoryUrl, tip: Tip, folder: Path) -> None:
        """Clone the newest commit of the tip's branch."""
        from git import GitCommandError, Repo

        branch = None if tip.branch == DETACHED else tip.branch
        options = {"depth": 1, "no_checkout": True, **({"branch": branch} if branch else {})}
        try:
            self._repo = Repo.clone_from(url.url, folder, env=ENVIRONMENT, allow_unsafe_protocols=True, **options)
        except GitCommandError as failure:
            raise WorkerError(f"The scratch clone of {url.url} failed: {failure.stderr.strip()[-300:]}") from failure
        self.path = folder

    def commit_a_change(self) -> str:
        """Add one new file and commit it; answers the commit."""
        from git import Actor, IndexFile

        number = uuid.uuid4().hex[:12]
        (self.path / CHANGED_FILE).write_text(CHANGE.format(number=number), encoding="utf-8")
        index: Any = IndexFile.from_tree(self._repo, "HEAD")
        index.add([CHANGED_FILE])
        who = Actor("demo", "demo@localhost")
        return index.commit("A change for the demo", author=who, committer=who, skip_hooks=True).hexsha

"""Which language a path is in."""

from enum import IntEnum

PARSER_VERSION = 2
"""Raise it when the records of an unchanged file would differ: stored files are then read again."""


class Language(IntEnum):
    """The rows of idx.languages. NONE stands for objects nobody read, TEXT for any other text."""

    NONE = -1
    TEXT = 0
    PYTHON = 1
    JAVASCRIPT = 2
    TYPESCRIPT = 3
    TSX = 4
    GO = 5
    RUST = 6
    JAVA = 7
    C = 8
    CPP = 9
    CSHARP = 10
    RUBY = 11
    PHP = 12
    SCALA = 13
    KOTLIN = 14
    SWIFT = 15
    LUA = 16
    ELIXIR = 17
    BASH = 18
    SQL = 19
    MARKDOWN = 20
    YAML = 21
    TOML = 22
    JSON = 23
    CSS = 24
    HTML = 25


_SUFFIXES: dict[Language, str] = {
    Language.PYTHON: "py pyi pyw",
    Language.JAVASCRIPT: "js mjs cjs jsx",
    Language.TYPESCRIPT: "ts mts cts",
    Language.TSX: "tsx",
    Language.GO: "go",
    Language.RUST: "rs",
    Language.JAVA: "java",
    Language.C: "c",
    # The grammar of C++ reads C as well, the other way round classes are lost: so headers are C++.
    Language.CPP: "h cc cpp cxx c++ hh hpp hxx h++ ipp inl tpp cu cuh",
    Language.CSHARP: "cs",
    Language.RUBY: "rb rake gemspec ru",
    Language.PHP: "php phtml",
    Language.SCALA: "scala sc sbt",
    Language.KOTLIN: "kt kts",
    Language.SWIFT: "swift",
    Language.LUA: "lua",
    Language.ELIXIR: "ex exs",
    Language.BASH: "sh bash",
    Language.SQL: "sql",
    Language.MARKDOWN: "md markdown",
    Language.YAML: "yaml yml",
    Language.TOML: "toml",
    Language.JSON: "json",
    Language.CSS: "css scss less",
    Language.HTML: "html htm svg",
}
_BY_SUFFIX: dict[str, Language] = {
    suffix: language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
_BY_NAME: dict[str, Language] = dict.fromkeys(
    ("rakefile", "gemfile", "podfile", "fastfile", "vagrantfile"), Language.RUBY
)


def language_of(path: str) -> Language:
    """The language of a path by its extension, or by its name; TEXT for every other one."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    if dot and stem:
        return _BY_SUFFIX.get(suffix.lower(), Language.TEXT)
    return _BY_NAME.get(name.lower(), Language.TEXT)

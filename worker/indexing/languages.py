"""Which language a path is in."""

from enum import IntEnum

PARSER_VERSION = 1
"""Raise it when the records of an unchanged file would differ: stored files are then read again."""


class Language(IntEnum):
    """The rows of idx.languages. NONE stands for objects nobody read, TEXT for text without a grammar."""

    NONE = -1
    TEXT = 0
    PYTHON = 1
    JAVASCRIPT = 2
    TYPESCRIPT = 3
    TSX = 4
    GO = 5
    RUST = 6
    JAVA = 7


_BY_SUFFIX = {
    "py": Language.PYTHON,
    "pyi": Language.PYTHON,
    "pyw": Language.PYTHON,
    "js": Language.JAVASCRIPT,
    "mjs": Language.JAVASCRIPT,
    "cjs": Language.JAVASCRIPT,
    "jsx": Language.JAVASCRIPT,
    "ts": Language.TYPESCRIPT,
    "mts": Language.TYPESCRIPT,
    "cts": Language.TYPESCRIPT,
    "tsx": Language.TSX,
    "go": Language.GO,
    "rs": Language.RUST,
    "java": Language.JAVA,
}


def language_of(path: str) -> Language:
    """The language of a path by its extension; TEXT for every other one."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(suffix.lower(), Language.TEXT) if dot and stem else Language.TEXT

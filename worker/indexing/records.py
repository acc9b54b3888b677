"""What is read out of a file. Named tuples where hundreds of thousands are made: cheap to build and to send."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from worker.indexing.classify import Skip
from worker.indexing.languages import Language


class SymbolKind(IntEnum):
    """The rows of idx.symbol_kinds. Members of an enum are constants; a Rust impl is no symbol of its own."""

    OTHER = 0
    FUNCTION = 1
    METHOD = 2
    CLASS = 3
    INTERFACE = 4
    MODULE = 5
    CONSTANT = 6
    VARIABLE = 7
    TYPE = 8
    MACRO = 9
    ENUM = 10
    STRUCT = 11
    TRAIT = 12
    FIELD = 13
    HEADING = 14
    KEY = 15
    NAMESPACE = 16


class ReferenceKind(IntEnum):
    """How a name is used: called, used as a class, type or constant, or extended or implemented."""

    CALL = 0
    USE = 1
    IMPLEMENTATION = 2


class Symbol(NamedTuple):
    """A definition. Lines count from 1; `line` is the name's; `parent` is the enclosing definition's qualname; `doc` is
    its documentation's first line.
    """

    line: int
    end_line: int
    kind: SymbolKind
    parent: str | None
    name: str
    qualname: str
    signature: str | None
    doc: str | None = None


class Reference(NamedTuple):
    """All lines of one file that use one name in one way, ascending and without repetition."""

    kind: ReferenceKind
    name: str
    lines: tuple[int, ...]


class Import(NamedTuple):
    """A line that brings names of another module in. `module` as the language writes it (Python's leading dots, the
    quotes or angle brackets of C included); `names` are those taken from it, "*" for all.
    """

    line: int
    module: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read."""

    oid: bytes
    path: str
    lang: Language
    content: bytes


@dataclass(frozen=True, slots=True)
class Extract:
    """Everything read out of a file. `content` is None where `skip` says why; `reason` is a sentence for a person."""

    oid: bytes
    lang: Language
    skip: Skip
    size: int
    sha256: bytes
    tokens: int
    line_count: int
    content: str | None
    symbols: tuple[Symbol, ...]
    references: tuple[Reference, ...]
    reason: str | None
    imports: tuple[Import, ...] = ()

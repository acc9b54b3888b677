"""Uses of names in a file: calls, uses of classes, types and constants, and what is extended or implemented."""

from collections.abc import Container
from typing import NamedTuple

from tree_sitter import Node

from worker.indexing.definitions import MAX_NAME_BYTES
from worker.indexing.grammars import Matches
from worker.indexing.languages import Language
from worker.indexing.records import Reference, ReferenceKind

MAX_NAMES = 20_000

# Where two patterns match one name the stronger statement, which stands further down here, wins.
_USES = {
    "reference.capitalised": (0, ReferenceKind.USE),
    "reference.member": (0, ReferenceKind.USE),
    "reference.type": (1, ReferenceKind.USE),
    "reference.call": (2, ReferenceKind.CALL),
    "reference.implementation": (3, ReferenceKind.IMPLEMENTATION),
}
_ECMASCRIPT = frozenset({Language.JAVASCRIPT, Language.TYPESCRIPT, Language.TSX})
_Use = tuple[int, ReferenceKind, Node]

# Names of the language itself that its grammar does not tell from others.
_BUILT_IN: dict[Language, frozenset[bytes]] = {
    Language.PYTHON: frozenset(b"str bytes int float bool complex object dict list tuple set frozenset type".split()),
    Language.GO: frozenset(
        b"string bool byte rune error any comparable int int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 uintptr"
        b" float32 float64 complex64 complex128".split()
    ),
    Language.RUST: frozenset([b"Self"]),
    Language.JAVA: frozenset([b"var"]),
    Language.C: frozenset([b"bool", b"size_t"]),
    Language.CPP: frozenset([b"bool", b"size_t"]),
    Language.CSHARP: frozenset(b"var dynamic nint nuint".split()),
    Language.PHP: frozenset(b"self static parent".split()),
}


# What C++ and C# write like calls.
_NO_CALLS = frozenset(b"static_cast dynamic_cast const_cast reinterpret_cast nameof defined".split())
_REQUIRE = frozenset([b"require"])


class References(NamedTuple):
    """The references of a file by kind and name, and how many names were left out."""

    references: tuple[Reference, ...]
    left_out: int


def references(source: bytes, lang: Language, matches: Matches, name_starts: Container[int]) -> References:
    """Group the uses by name; type parameters (T) and definitions' own names, at `name_starts`, are none."""
    built_in = _BUILT_IN.get(lang, frozenset())
    lines: dict[tuple[ReferenceKind, bytes], set[int]] = {}
    # Go's conversions look like calls: int(x).
    no_calls = built_in if lang is Language.GO else _REQUIRE if lang in _ECMASCRIPT else _NO_CALLS
    too_long = 0
    for start, (weight, kind, node) in _strongest(matches).items():
        name = source[start : node.end_byte]
        if lang is Language.ELIXIR and node.type == "alias":
            name = name.rpartition(b".")[2]  # modules are named with their parents
        if start in name_starts or (weight == 0 and not name.lstrip(b"_")[:1].isupper()):
            continue
        if kind is ReferenceKind.CALL:
            if name in no_calls:
                continue
        elif kind is ReferenceKind.USE and (len(name) == 1 or name in built_in):
            continue
        if len(name) > MAX_NAME_BYTES:
            too_long += 1
            continue
        line = node.start_point.row + 1
        known = lines.get((kind, name))
        if known is None:
            lines[kind, name] = {line}
        else:
            known.add(line)
    kept = sorted(lines)[:MAX_NAMES]
    found = tuple(Reference(key[0], key[1].decode("utf-8", "replace"), tuple(sorted(lines[key]))) for key in kept)
    return References(found, too_long + len(lines) - len(kept))


def _strongest(matches: Matches) -> dict[int, _Use]:
    by_start: dict[int, _Use] = {}
    for _, captures in matches:
        for capture, nodes in captures.items():
            use = _USES.get(capture)
            if use is None:
                continue
            node = nodes[0]
            start = node.start_byte
            before = by_start.get(start)
            if before is None or use[0] > before[0]:
                by_start[start] = (use[0], use[1], node)
    return by_start

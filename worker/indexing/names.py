"""A definition's own name, out of one of several parts: `Box<T>::get` is get in Box, Elixir's `A.B` is B in A."""

import re

from tree_sitter import Node

_OPERATORS = frozenset({"operator_name", "operator_cast", "qualified_identifier"})
_SCOPED = _OPERATORS | {"template_function", "nested_namespace_specifier", "scope_resolution"}
_PREFIXES = {  # in C#
    "destructor_declaration": b"~",
    "operator_declaration": b"operator ",
    "conversion_operator_declaration": b"operator ",
}
_OPERATOR = re.compile(rb"\boperator\b")
_BRACKET = re.compile(rb"[<>(]")
_PIECES = re.compile(rb"::|[<>]|[^:<>]+|:")


def name_of(source: bytes, definition: Node, node: Node) -> tuple[bytes, str | None]:
    """The name and, where the name itself says it, the parent; without what only quotes it (Kotlin's backticks, r#)."""
    name = source[node.start_byte : node.end_byte].strip(b"`").removeprefix(b"r#")
    kind = node.type
    if kind in _SCOPED:
        return _scoped(name, kind)
    if kind == "alias" and b"." in name:  # Elixir
        before, _, name = name.rpartition(b".")
        return name, before.decode("utf-8", "replace")
    whole = definition.type
    if whole == "command":  # an alias in Bash
        name = name.partition(b"=")[0]
    elif whole in _PREFIXES:
        name = _PREFIXES[whole] + name
    elif kind == "simple_symbol":  # in Ruby
        name = name.removeprefix(b":")
    return name, None


def _scoped(name: bytes, kind: str) -> tuple[bytes, str | None]:
    operator = _OPERATOR.search(name) if kind in _OPERATORS else None
    *before, own = _path(name[: operator.start()] + b"operator" if operator else name)
    if operator:
        own = b"operator" + _operator(name[operator.end() :])
    return own, b".".join(before).decode("utf-8", "replace") or None


def _operator(name: bytes) -> bytes:
    """`==` and `()` as they are, ` bool` without the parameters of a conversion."""
    name = b" ".join(name.split())
    if name.startswith(b"("):
        return b"()"
    depth = 0
    for place in _BRACKET.finditer(name if name[:1].isalpha() else b""):
        depth += (place[0] == b"<") - (place[0] == b">")
        if depth == 0 and place[0] == b"(":
            name = name[: place.start()].rstrip()
            break
    return b" " + name if name[:1].isalpha() else name


def _path(name: bytes) -> list[bytes]:
    """The parts between `::`, without template arguments."""
    parts = [b""]
    depth = 0
    for piece in _PIECES.findall(name):
        depth += (piece == b"<") - (piece == b">")
        if depth == 0 and piece == b"::":
            parts.append(b"")
        elif depth == 0 and piece != b">":
            parts[-1] += piece.strip()
    return [part for part in parts[:-1] if part] + parts[-1:]

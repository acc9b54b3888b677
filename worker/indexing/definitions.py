"""Definitions of a file: names, kinds, nesting and signatures, out of the query's matches."""

import re
from dataclasses import dataclass

from tree_sitter import Node

from worker.indexing.declarators import function_name
from worker.indexing.documentation import attribute_above, attribute_inside, comment_above, docstring
from worker.indexing.grammars import Matches
from worker.indexing.languages import Language
from worker.indexing.names import name_of
from worker.indexing.records import Symbol, SymbolKind

MAX_NAME_BYTES = 512
MAX_QUALNAME_BYTES = 1024
MAX_SIGNATURE = 300
MAX_SYMBOLS = 20_000

_KINDS = {f"definition.{kind.name.lower()}": kind for kind in SymbolKind}
_VALUES = frozenset({SymbolKind.CONSTANT, SymbolKind.VARIABLE, SymbolKind.FIELD})
_CALLABLES = frozenset({SymbolKind.FUNCTION, SymbolKind.METHOD})
_TYPES = frozenset(
    {SymbolKind.CLASS, SymbolKind.INTERFACE, SymbolKind.TRAIT, SymbolKind.STRUCT, SymbolKind.ENUM, SymbolKind.TYPE}
)
_BODIES_OF_OBJECTS = frozenset({"template_body", "with_template_body"})  # Scala's `new A {…}`, `given a: A with …`
_METHODS_OF_MODULES = frozenset({"method", "singleton_method", "alias"})  # in Ruby
_SPECIAL_CLASSES = frozenset({SymbolKind.INTERFACE, SymbolKind.ENUM})
_OBJECT_METHODS = frozenset({"pair", "method_definition"})
_INSIDE_OBJECTS = frozenset({"object", "pair"})
_NO_OWNERS = frozenset({"expression_statement", "arguments", "member_expression", "await_expression", "array"})
_NAMED_EXPRESSIONS = frozenset({"function_expression", "class"})
_BODIES = frozenset({"function_body", "class_body", "enum_class_body", "do_block"})  # that have no field's name
_RECEIVER = re.compile(rb"[\w$.]+")
_MODIFIERS = re.compile(rb"(?:[\w\s]|\([\w ]*\)\s)*")  # `export async`, `pub(crate)`
_KEYWORDS = frozenset(b"if else for while do switch case return catch sizeof defined".split())
_C_FUNCTIONS = frozenset({"function_definition", "function_declarator", "pointer_declarator"})
_OPENING = re.compile(r"(?:\{|=>|=|:|\(|;|,|\s)+$")
_IMPORTED = re.compile(rb"[\w$]+\s*=\s*require\s*[(\"']")


@dataclass(slots=True)
class _Found:
    """A definition as matched: its whole node, its name's node, and what it belongs to without being inside it."""

    kind: SymbolKind | None  # None: a scope that is no symbol
    node: Node
    name: Node
    receiver: Node | None
    start: int
    end: int
    is_rest: bool


@dataclass(slots=True)
class _Scope:
    start: int
    end: int
    kind: SymbolKind
    name: bytes
    qualname: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class Definitions:
    """The symbols of a file in order, where their names stand, and how many were left out."""

    symbols: tuple[Symbol, ...]
    name_starts: frozenset[int]
    left_out: int


def definitions(source: bytes, lang: Language, matches: Matches) -> Definitions:
    """Symbols with their nesting; values inside functions are local and no symbols."""
    found = _found(matches)
    symbols: list[Symbol] = []
    scopes: list[_Scope] = []
    bodies: dict[int, Node | None] = {}
    left_out = 0
    for item in _in_order(found, len(source)):
        while scopes and not _encloses(scopes[-1], item):
            scopes.pop()
        scope = _scope(source, item, scopes)
        if scope is None:
            continue
        if item.kind is not None:
            if len(symbols) >= MAX_SYMBOLS or _too_long(scope):
                left_out += 1
                continue
            symbols.append(_symbol(source, lang, item, scope, bodies))
        if item.kind is not SymbolKind.TYPE or item.node.type != "type_definition":
            scopes.append(scope)  # `typedef struct a {…} b;` defines two neighbours
    return Definitions(tuple(symbols), _name_starts(found), left_out)


def _in_order(found: dict[int, _Found], size: int) -> list[_Found]:
    """Outer definitions before inner ones; a namespace that nothing closes reaches to the next one."""
    rest = size
    for item in sorted((item for item in found.values() if item.is_rest), key=lambda item: -item.start):
        item.end, rest = rest, item.start
    return sorted(found.values(), key=lambda item: (item.start, -item.end))


def _name_starts(found: dict[int, _Found]) -> frozenset[int]:
    """Where defined names stand, as references see them: of Ruby's and C++'s `A::B` that is B."""
    return frozenset(
        _last_part(item.name).start_byte if item.name.child_count else start for start, item in found.items()
    )


def _last_part(name: Node) -> Node:
    while (inner := name.child_by_field_name("name")) is not None:
        name = inner
    return name


def _found(matches: Matches) -> dict[int, _Found]:
    """Definitions by where their name starts; one that two patterns match is what the more telling one says."""
    found: dict[int, _Found] = {}
    for _, captures in matches:
        name = captures["name"][0] if "name" in captures else function_name(captures["declarator"][0])
        if name is None:
            continue
        kind: SymbolKind | None = None
        node = name
        for capture, nodes in captures.items():
            if capture in _KINDS:
                kind, node = _KINDS[capture], nodes[0]
            elif capture == "scope":
                node = nodes[0]
        receiver = captures["parent"][0] if "parent" in captures else None
        start = name.start_byte
        before = found.get(start)
        if before is None or _tells_more(kind, receiver, before):
            found[start] = _Found(kind, node, name, receiver, node.start_byte, node.end_byte, "rest" in captures)
    return found


def _tells_more(kind: SymbolKind | None, receiver: Node | None, before: _Found) -> bool:
    """Whether a second match of a name says more than the first: a function than a value, an enum than a class."""
    if before.kind in _VALUES:
        return kind not in _VALUES
    return (kind in _SPECIAL_CLASSES and before.kind is SymbolKind.CLASS) or (
        receiver is not None and before.receiver is None and kind not in _VALUES
    )


def _encloses(scope: _Scope, item: _Found) -> bool:
    """Whether the definition is inside; several names of one statement share its range and are not."""
    return scope.end >= item.end and (scope.start, scope.end) != (item.start, item.end)


def _scope(source: bytes, item: _Found, scopes: list[_Scope]) -> _Scope | None:
    """The definition with its place in the nesting; None where it is no definition after all."""
    name, qualifier = name_of(source, item.node, item.name)
    outer = scopes[-1] if scopes else None
    parent = outer.qualname if outer else None
    kind = item.kind
    if kind is None:
        return _Scope(item.start, item.end, SymbolKind.CLASS, name, _text(name), parent)
    if not name or _is_noise(source, item, name, kind, outer):
        return None
    if item.receiver is not None:
        parent = _receiver(source, item.receiver, name, outer)
        if parent in ("module.exports", "exports"):
            parent = None
        elif parent is not None:
            kind = SymbolKind.METHOD
        if name == b"exports":
            return None
    elif qualifier is not None:
        parent = f"{parent}.{qualifier}" if parent else qualifier
        kind = SymbolKind.METHOD if kind is SymbolKind.FUNCTION else kind
    elif (
        kind is SymbolKind.FUNCTION
        and outer is not None
        and (
            outer.kind in _TYPES
            or (outer.kind is SymbolKind.MODULE and item.node.type in _METHODS_OF_MODULES)
            or (outer.kind is not SymbolKind.MODULE and _is_in_body_of_object(item.node))
        )
    ):
        kind = SymbolKind.METHOD
    elif kind in _VALUES:
        kind = _kind_of_value(source, item, name, kind)
        if outer is not None and outer.kind in _CALLABLES:
            parent = outer.parent  # PHP's constructors declare fields among their parameters
    qualname = f"{parent}.{_text(name)}" if parent else _text(name)
    return _Scope(item.start, item.end, kind, name, qualname, parent)


def _is_in_body_of_object(node: Node) -> bool:
    return node.parent is not None and node.parent.type in _BODIES_OF_OBJECTS


def _is_noise(source: bytes, item: _Found, name: bytes, kind: SymbolKind, outer: _Scope | None) -> bool:
    if name == b"_":
        return True  # Go's blank name, and what others throw away
    if kind is SymbolKind.FUNCTION and item.node.type in _C_FUNCTIONS:
        return _is_no_function(source, item, name)
    if kind in _VALUES:
        if outer is not None and outer.kind in _CALLABLES and item.node.type != "property_promotion_parameter":
            return True  # a local
        if item.node.type == "declaration" and source.startswith(b"extern", item.start):
            return True  # C: defined elsewhere
        return _IMPORTED.match(source, item.start) is not None  # `const fs = require("fs")` imports
    if kind is SymbolKind.METHOD and item.node.type in _OBJECT_METHODS and _is_nobodys(item.node):
        return True
    # `const parse = function parse() {}` defines one thing.
    return outer is not None and outer.end == item.end and item.node.type in _NAMED_EXPRESSIONS


def _is_nobodys(node: Node) -> bool:
    """Whether a method is of an object that only a call gets to see: `ajax({success() {}})`. No name leads to it."""
    current = node.parent
    while current is not None and current.type in _INSIDE_OBJECTS:
        current = current.parent
    if current is None or current.type != "arguments" or current.parent is None:
        return False
    call = current.parent
    user = call.parent
    return call.type == "call_expression" and user is not None and user.type in _NO_OWNERS


def _is_no_function(source: bytes, item: _Found, name: bytes) -> bool:
    """What C's parser makes of `else if (…) {` after a macro, and of calls where it lost its way."""
    if item.node.type == "function_definition":
        return name in _KEYWORDS
    return name in _KEYWORDS or name.isupper() or not source[item.end : item.end + 80].lstrip().startswith(b"{")


def _receiver(source: bytes, node: Node, name: bytes, outer: _Scope | None) -> str | None:
    """The type that a definition outside its body belongs to: Go's receiver, JavaScript's `Type.prototype.name = …`."""
    text = source[node.start_byte : node.end_byte]
    if text == b"this" and outer is not None:
        return outer.parent if outer.kind is SymbolKind.METHOD else outer.qualname
    if text == b"this" or not _RECEIVER.fullmatch(text):
        return outer.qualname if outer else None
    return _text(text.removesuffix(b".prototype"))


def _kind_of_value(source: bytes, item: _Found, name: bytes, kind: SymbolKind) -> SymbolKind:
    """Constants are what the language says, or in Python what is written in capitals."""
    whole = item.node.type
    if whole == "assignment":
        return SymbolKind.CONSTANT if kind is SymbolKind.VARIABLE and name.isupper() else kind
    if whole not in ("field_declaration", "declaration"):
        return kind
    words = source[item.start : min(item.name.start_byte, item.start + 200)].split()
    if b"constexpr" in words or (b"static" in words and (b"final" in words or b"readonly" in words)):
        return SymbolKind.CONSTANT
    is_const = b"const" in words and item.name.type == "identifier" and not any(b"*" in word for word in words)
    return SymbolKind.CONSTANT if is_const else kind


def _too_long(scope: _Scope) -> bool:
    return len(scope.name) > MAX_NAME_BYTES or len(scope.qualname.encode()) > MAX_QUALNAME_BYTES


def _symbol(source: bytes, lang: Language, item: _Found, scope: _Scope, bodies: dict[int, Node | None]) -> Symbol:
    line = item.name.start_point.row + 1
    end = item.node.end_point
    # C's directives and Scala's indented bodies end where the next line begins.
    end_line = max(line, end.row + (end.column > 0))
    body = _body_once(item.node, bodies)
    start, is_own_line = _head_start(source, item)
    head = source[start : min(_head_end(source, item, body), start + 4 * MAX_SIGNATURE)]
    signature = _OPENING.sub("", " ".join(_text(head).split())[:MAX_SIGNATURE])
    doc = _doc(source, lang, item, body) if is_own_line else None
    return Symbol(line, end_line, scope.kind, scope.parent, _text(scope.name), scope.qualname, signature, doc)


def _doc(source: bytes, lang: Language, item: _Found, body: Node | None) -> str | None:
    if lang is Language.PYTHON:
        return docstring(source, body) if body is not None else None
    if lang is Language.ELIXIR:
        if item.kind in (SymbolKind.MODULE, SymbolKind.INTERFACE):
            return attribute_inside(source, body) if body is not None else None
        return attribute_above(source, source.rfind(b"\n", 0, item.start) + 1)
    return comment_above(source, lang, source.rfind(b"\n", 0, item.start) + 1)


def _head_start(source: bytes, item: _Found) -> tuple[int, bool]:
    """Where the signature starts, and whether nothing else comes before it on its line: at the name's line, or in C and
    C++ at the type above.
    """
    if item.node.type == "function_definition" and item.name.start_point.row > item.node.start_point.row:
        return item.start, True
    start = source.rfind(b"\n", 0, item.name.start_byte) + 1
    if start < item.start and (
        item.start - start > MAX_SIGNATURE or not _MODIFIERS.fullmatch(source, start, item.start)
    ):
        return item.start, False
    return start, True


def _head_end(source: bytes, item: _Found, body: Node | None) -> int:
    """Where the body starts, or a comment before it; without a body the end of the name's line."""
    if body is None:
        return min(item.end, _line_end(source, item.name.end_byte))
    before = body.prev_sibling
    while before is not None and "comment" in before.type:
        body, before = before, before.prev_sibling
    return body.start_byte


def _body_once(node: Node, bodies: dict[int, Node | None]) -> Node | None:
    """Looked for once a node: a statement may name ten thousand things, and looking goes through all of them."""
    if node.id not in bodies:
        bodies[node.id] = _body(node)
    return bodies[node.id]


def _body(node: Node) -> Node | None:
    """The definition's block, that of a function given as a value included."""
    body = node.child_by_field_name("body")
    if body is None:
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        body = value.child_by_field_name("body") if value is not None else None
    if body is None and node.child_count:
        last = node.child(node.child_count - 1)
        body = last if last is not None and last.type in _BODIES else None
    return body


def _line_end(source: bytes, start: int) -> int:
    end = source.find(b"\n", start)
    return end if end >= 0 else len(source)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")

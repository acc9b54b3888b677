"""Imports of a file: which modules it names, as its language writes them, and which names it takes from them.

What a module is depends on the repository around the file: worker/indexing/links.py finds the files behind it.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from tree_sitter import Node

from worker.indexing.grammars import Matches
from worker.indexing.languages import Language
from worker.indexing.records import Import

MAX_MODULE_BYTES = 1024
MAX_IMPORTS = 5_000
MAX_NAMES = 500

Found = tuple[str, tuple[str, ...]]
_SPACES = re.compile(r"\s+")
_RENAMED = re.compile(r"\s+as\s+\S+$|\s*=>\s*\S+$")
_DEPTH = 20  # of nested braces in one import


def imports(source: bytes, lang: Language, matches: Matches) -> tuple[Import, ...]:
    """The imports of a file in order of lines, one for each line and module; those beyond 5,000 are left out."""
    read = _READERS.get(lang)
    if read is None:
        return ()
    found: dict[tuple[int, str], dict[str, None]] = {}
    for _, captures in matches:
        for node in captures.get("import", ()):
            line = node.start_point.row + 1
            for module, names in read(source, node):
                if module and len(module.encode()) <= MAX_MODULE_BYTES:
                    found.setdefault((line, module), {}).update(dict.fromkeys(names))
    kept = sorted(found)[:MAX_IMPORTS]
    return tuple(Import(line, module, tuple(found[line, module])[:MAX_NAMES]) for line, module in kept)


def _text(source: bytes, node: Node | None) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace") if node is not None else ""


def _quoted(source: bytes, node: Node | None) -> str:
    return _text(source, node).strip("'\"`")


def _after(source: bytes, node: Node, keyword: str) -> str:
    """The text of a statement behind its keyword, on one line."""
    text = _SPACES.sub(" ", _text(source, node)).strip(" ;")
    return text.partition(keyword + " ")[2].strip()


def _python(source: bytes, node: Node) -> Iterator[Found]:
    names = [_text(source, name.child_by_field_name("name") or name) for name in node.children_by_field_name("name")]
    if node.type == "import_statement":
        yield from ((name, ()) for name in names)
    else:
        yield _SPACES.sub("", _text(source, node.child_by_field_name("module_name"))), tuple(names) or ("*",)


def _ecmascript(source: bytes, node: Node) -> Iterator[Found]:
    if node.type == "call_expression":
        function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if arguments is not None and _text(source, function) in ("require", "import"):
            yield _quoted(source, arguments.named_child(0)), ()
        return
    clauses = [child for child in node.named_children if child.type.endswith("_clause")]
    where = node.child_by_field_name("source")
    names: list[str] = []
    for clause in clauses:
        where = where or clause.child_by_field_name("source")  # import x = require("x")
        for child in _specifiers(clause):
            names.append(
                {"identifier": "default", "namespace_import": "*"}.get(child.type) or _specified(source, child)
            )
    if node.type == "export_statement" and not clauses:
        names = ["*"]
    yield _quoted(source, where), tuple(names)


def _specifiers(clause: Node) -> Iterator[Node]:
    if clause.type == "import_require_clause":
        return
    for child in clause.named_children:
        if child.type == "named_imports":
            yield from (one for one in child.named_children if one.type == "import_specifier")
        elif child.type in ("identifier", "namespace_import", "export_specifier"):
            yield child


def _specified(source: bytes, specifier: Node) -> str:
    return _text(source, specifier.child_by_field_name("name") or specifier)


def _go(source: bytes, node: Node) -> Iterator[Found]:
    yield _quoted(source, node.child_by_field_name("path")), ()


def _java(source: bytes, node: Node) -> Iterator[Found]:
    yield _dotted(_after(source, node, "import").removeprefix("static "), "*")


def _dotted(name: str, wildcard: str) -> Found:
    name = name.replace(" ", "")
    module, dot, last = name.rpartition(".")
    return (module, ("*",)) if dot and last == wildcard else (name, ())


def _rust(source: bytes, node: Node) -> Iterator[Found]:
    if node.type == "mod_item":  # a module in a file of its own
        yield f"self::{_text(source, node.child_by_field_name('name'))}", ()
        return
    for path in _expanded(_text(source, node.child_by_field_name("argument")), "::"):
        if path.endswith("::*"):
            yield path.removesuffix("::*"), ("*",)
        else:
            yield path.removesuffix("::self"), ()


def _expanded(text: str, separator: str, depth: int = 0) -> Iterator[str]:
    """`a::{b, c::{d, e as f}}` → a::b, a::c::d, a::c::e."""
    text = text.strip()
    opening = text.find("{")
    if opening < 0 or not text.endswith("}") or depth > _DEPTH:
        yield _SPACES.sub("", _RENAMED.sub("", text))
        return
    prefix = _SPACES.sub("", text[:opening]).removesuffix(separator)
    for part in _parts(text[opening + 1 : -1]):
        for path in _expanded(part, separator, depth + 1):
            yield f"{prefix}{separator}{path}" if prefix else path


def _parts(text: str) -> Iterator[str]:
    """The parts between the commas that are not inside braces."""
    depth = start = 0
    for position, letter in enumerate(text):
        if letter == "," and depth == 0:
            yield text[start:position]
            start = position + 1
        depth += {"{": 1, "}": -1}.get(letter, 0)
    if text[start:].strip():
        yield text[start:]


def _c(source: bytes, node: Node) -> Iterator[Found]:
    yield _text(source, node.child_by_field_name("path")), ()


def _csharp(source: bytes, node: Node) -> Iterator[Found]:
    yield _after(source, node, "using").removeprefix("static ").rpartition("=")[2].strip(), ()


def _php(source: bytes, node: Node) -> Iterator[Found]:
    """Classes by their names; files in quotes."""
    if node.type == "namespace_use_declaration":
        text = _after(source, node, "use").removeprefix("function ").removeprefix("const ")
        for part in _parts(text):
            yield from ((path.lstrip("\\"), ()) for path in _expanded(part, "\\"))
        return
    strings = re.findall(r"'([^']*)'|\"([^\"$]*)\"", _text(source, node))
    yield from ((f'"{(single or double).lstrip("/")}"', ()) for single, double in strings[:1])


def _ruby(source: bytes, node: Node) -> Iterator[Found]:
    function, arguments = node.child_by_field_name("method"), node.child_by_field_name("arguments")
    name = _text(source, function)
    if arguments is not None and name in ("require", "require_relative", "load"):
        path = _quoted(source, arguments.named_child(0))
        yield (f"./{path}" if name == "require_relative" else path), ()


def _kotlin(source: bytes, node: Node) -> Iterator[Found]:
    yield _dotted(_RENAMED.sub("", _after(source, node, "import")), "*")


def _scala(source: bytes, node: Node) -> Iterator[Found]:
    for part in _parts(_after(source, node, "import")):
        for path in _expanded(part, "."):
            module, names = _dotted(path, "_")
            yield _dotted(module, "*") if not names else (module, names)


def _swift(source: bytes, node: Node) -> Iterator[Found]:
    yield _after(source, node, "import").rpartition(" ")[2], ()  # `import class A.B`


def _lua(source: bytes, node: Node) -> Iterator[Found]:
    arguments = node.child_by_field_name("arguments")
    if arguments is not None and _text(source, node.child_by_field_name("name")) == "require":
        yield _quoted(source, arguments.named_child(0)), ()


def _elixir(source: bytes, node: Node) -> Iterator[Found]:
    target = _text(source, node.child_by_field_name("target"))
    if target in ("alias", "import", "use", "require"):
        text = _after(source, node, target)
        module = next(_parts(text), "")
        yield from ((path, ()) for path in _expanded(module.replace(".{", "{"), ".") if path[:1].isupper())


def _bash(source: bytes, node: Node) -> Iterator[Found]:
    if _text(source, node.child_by_field_name("name")) in ("source", "."):
        yield _quoted(source, node.child_by_field_name("argument")), ()


_READERS: dict[Language, Callable[[bytes, Node], Iterable[Found]]] = {
    Language.PYTHON: _python,
    Language.JAVASCRIPT: _ecmascript,
    Language.TYPESCRIPT: _ecmascript,
    Language.TSX: _ecmascript,
    Language.GO: _go,
    Language.RUST: _rust,
    Language.JAVA: _java,
    Language.C: _c,
    Language.CPP: _c,
    Language.CSHARP: _csharp,
    Language.PHP: _php,
    Language.RUBY: _ruby,
    Language.KOTLIN: _kotlin,
    Language.SCALA: _scala,
    Language.SWIFT: _swift,
    Language.LUA: _lua,
    Language.ELIXIR: _elixir,
    Language.BASH: _bash,
}

"""Why one side lacks a definition, and whose mistake that is."""

import re
from collections.abc import Iterator

import tree_sitter

from bench._definitions.ctags import Tag
from worker.indexing.grammars import grammar_of
from worker.indexing.languages import Language
from worker.indexing.preprocessor import readable

_ECMASCRIPT = frozenset({Language.JAVASCRIPT, Language.TYPESCRIPT, Language.TSX})
_NEVER_NAMES = frozenset({"if", "else", "for", "while", "switch", "try", "return"})
_NO_NAMES = _NEVER_NAMES | {"catch", "lock", "using", "base", "as", "from", "new"}
_IMPORTS = frozenset({"import_specifier", "export_specifier", "import_clause", "import_statement", "named_imports"})
_CALLS = frozenset(
    {"invocation_expression", "object_creation_expression", "method_invocation", "call_expression", "call", "arguments"}
)
# How a definition begins in the text of its line, NAME standing for its name: no query of ours, and no tree, is asked.
_HEADS: dict[Language, str] = {
    Language.PYTHON: r"\b(?:def|class|type)\s+NAME\b",
    Language.GO: r"\b(?:type|func)\s+(?:\([^)]*\)\s*)?NAME\b|^\s+NAME\s+(?:struct|interface|func|=)|^\s*NAME\(",
    Language.KOTLIN: r"\bfun [^(]*`|\bvalue class NAME\b",
    Language.ELIXIR: r"^\s*test \"",
    Language.LUA: r"\bNAME\s*=\s*function\b|\[[\"']\S+[\"']\]\s*=|\bfunction NAME\(",
    Language.SQL: r"(?i)^\s*create\b.*",
    Language.RUST: r"\b(?:fn|struct|enum|trait|mod|type|union)\s+(?:r#)?NAME\b",
    Language.RUBY: r"\b(?:def|class|module|alias|alias_method|define_method)\b.*NAME"
    r"|\bNAME\s*=\s*(?:Class|Struct|Module|Data)\.",
    Language.PHP: r"\b(?:function\s*&?|class|interface|trait|enum|namespace)\s*NAME\b",
    Language.JAVA: r"\b(?:class|interface|enum|record)\s+NAME\b|[\w>\]]\s+NAME\s*\(|^\s*NAME\s*[({]",
    Language.CSHARP: (
        r"\b(?:class|interface|enum|record|struct|namespace)\s+NAME\b|\bdelegate\s.*\bNAME\b"
        r"|[\w>\]?)]\s+(?:\w+\.)*NAME\s*[(<]|\boperator\b"
    ),
}
_ECMASCRIPT_HEAD = (
    r"\b(?:function\b\s*\*?|class|interface|type|enum|namespace|module)\s*NAME(?![\w$])"
    r"|(?<![\w$])NAME[\"']?\s*[?!]?\s*(?::|=)\s*(?:[^=]*=\s*)?(?:async\b\s*)?(?:function\b|\(|<|[\w$]+\s*=>)"
    r"|^\s*(?:(?:export|default|public|private|protected|static|async|override|abstract|declare|get|set)\s+|\*\s*)*"
    r"NAME\s*\??\s*[(<]|[{,]\s*(?:async\s+|get\s+|set\s+|\*\s*)?NAME\s*\("
)


class File:
    """A file with its syntax tree, parsed when first asked for."""

    def __init__(self, lang: Language, path: str, content: bytes) -> None:
        self.lang, self.path, self.content = lang, path, content
        self.lines = content.decode("utf-8", "replace").split("\n")
        self._tree: tree_sitter.Tree | None = None

    def line(self, number: int) -> str:
        """The text of a line, counted from 1."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def node(self, tag: Tag) -> tree_sitter.Node | None:
        """The leaf of the tree where a definition's name stands; None without a tree, or off its line."""
        word = re.split(r"\W+", tag.name.strip("~"))[-1] or tag.name
        row = self.lines[tag.line - 1].encode() if 0 < tag.line <= len(self.lines) else b""
        place = re.search(rb"(?<!\w)" + re.escape(word.encode()), row)
        if place is None:
            return None
        if self._tree is None:
            grammar = grammar_of(self.lang)
            if grammar is None:
                return None
            self._tree = grammar.parser.parse(readable(self.lang, self.content))
        point = (tag.line - 1, place.start())
        return self._tree.root_node.descendant_for_point_range(point, point)


def why_missing(file: File, tag: Tag, other: Tag | None) -> str:
    """The class of a definition of ctags' that we lack."""
    node = file.node(tag)
    wrong = _ctags_is_wrong(file, tag, node)
    if wrong is not None:
        return f"ctags: {wrong}"
    if other is not None:
        return f"ctags says {tag.kind}, we {other.kind}"
    return f"{tag.kind} in {_context(node)}"


def why_extra(file: File, tag: Tag, other: Tag | None) -> str:
    """The class of a definition of ours that ctags lacks."""
    overlooked = _ctags_overlooks(file, tag)
    if overlooked is not None:
        return f"ctags: {overlooked}"
    if other is not None:
        return f"we say {tag.kind}, ctags {other.kind}"
    return f"{tag.kind} in {_context(file.node(tag))}"


def _ctags_is_wrong(file: File, tag: Tag, node: tree_sitter.Node | None) -> str | None:
    """A rule by which what ctags reports is no definition of that name; None where there is none."""
    if node is None:
        is_there = tag.name.lower() in "".join(file.line(tag.line).split()).lower()
        return None if is_there and file.lang in _WITHOUT_TREE else "the name is not on that line"
    around = [ancestor.type for ancestor in _ancestors(node)]
    if any("comment" in kind for kind in around):
        return "inside a comment"
    if any("string" in kind or "heredoc" in kind or "sigil" in kind for kind in around[:2]):
        return "inside a string"
    if file.lang in _RULES:
        return _RULES[file.lang](file, tag, set(around))
    if node.type == tag.name or tag.name in _NO_NAMES:
        return "a word of the language"
    if file.lang in _ECMASCRIPT:
        return _wrong_in_ecmascript(file, tag, around)
    if file.lang in (Language.C, Language.CPP):
        is_macro = tag.name.isupper() and len(tag.name) > 2 and re.search(rf"{tag.name}\s*\(", file.line(tag.line))
        return "a macro's call" if is_macro else None
    return _wrong_by_place(file, tag, around)


def _wrong_in_ecmascript(file: File, tag: Tag, around: list[str]) -> str | None:
    if _IMPORTS & set(around[:3]):
        return "an import"
    if tag.kind == "class" and not re.search(r"\bclass\b", file.line(tag.line)):
        return "an object, no class"
    if tag.kind == "alias" and "type_alias_declaration" not in around[:2]:
        return "a type that is used"
    if tag.name == "exports":
        return "module.exports, which names no function"
    return _wrong_by_place(file, tag, around)


def _wrong_by_place(file: File, tag: Tag, around: list[str]) -> str | None:
    if "enum_constant" in around[:2]:
        return "an enum's constant with a body"
    if _CALLS & set(around[1:3]) and "ERROR" not in around[:4] and tag.kind != "class":
        return "a call"
    if "type_parameter" in around[:2] or "type_parameter_constraints_clause" in around[:2]:
        return "a type parameter"
    if file.lang is Language.PHP and tag.kind == "function" and "variable_name" in around[:2]:
        return "a variable that holds an anonymous function"
    return None


def _wrong_in_lua(file: File, tag: Tag, around: set[str]) -> str | None:
    is_head = re.search(r"=\s*function\b|\bfunction\s+[\w.:]+\s*\(", file.line(tag.line))
    return None if is_head else "a line with the word function that defines none"


def _wrong_in_kotlin(file: File, tag: Tag, around: set[str]) -> str | None:
    is_head = re.search(
        rf"\b(?:fun|class|interface|object|typealias)\b.*\b{re.escape(tag.name)}\b", file.line(tag.line)
    )
    return None if is_head or not around & _KOTLIN_LOCALS else "a parameter of a lambda, or a loop's variable"


def _wrong_in_bash(file: File, tag: Tag, around: set[str]) -> str | None:
    return "an empty array" if tag.name.endswith("=") else None


def _wrong_in_elixir(file: File, tag: Tag, around: set[str]) -> str | None:
    return "a name that is computed" if tag.name == "unquote" else None


_RULES = {
    Language.LUA: _wrong_in_lua,
    Language.KOTLIN: _wrong_in_kotlin,
    Language.BASH: _wrong_in_bash,
    Language.ELIXIR: _wrong_in_elixir,
}
_WITHOUT_TREE = frozenset({Language.SQL, Language.KOTLIN, Language.ELIXIR})  # or with names of several words
_KOTLIN_LOCALS = frozenset(
    {"lambda_parameters", "for_statement", "when_subject", "multi_variable_declaration", "call_expression"}
)


def _ctags_overlooks(file: File, tag: Tag) -> str | None:
    """A rule, on the text of the line alone, by which a definition that ctags lacks is one; None: there is none."""
    head = _ECMASCRIPT_HEAD if file.lang in _ECMASCRIPT else _HEADS.get(file.lang)
    if head is None:
        return None
    name = re.escape(tag.name).replace("operator", r"operator\s*")
    is_head = re.search(head.replace("NAME", name), file.line(tag.line)) and tag.name not in _NEVER_NAMES
    return f"overlooks a {tag.kind}" if is_head else None


def _context(node: tree_sitter.Node | None) -> str:
    """The nearest nodes around a name, from the outside in."""
    if node is None:
        return "nothing"
    around = [ancestor.type for ancestor in _ancestors(node)][:3]
    return " > ".join(reversed(around))


def _ancestors(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    current: tree_sitter.Node | None = node
    while current is not None:
        yield current
        current = current.parent

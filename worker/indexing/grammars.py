"""Grammars, their queries, and parsing with a limit.

The queries in queries/*.scm are this project's own. Those that ship with the grammars name methods, constants, enums,
interfaces and most uses of types wrongly or not at all, and their comment patterns cost time. Captures mean:
`@definition.<kind>` a whole definition and `@name` its name, or `@declarator` what the name is in; `@scope` the same
for what is no symbol (a Rust impl); `@parent` the type a definition belongs to without being inside it; `@import` a
statement that may bring other modules in (queries/imports/); `@reference.<use>` a used name, where `capitalised` and
`member` stand for names that only count when they begin with a capital letter.
No text predicates: they need Python calls and the text of a tree that was parsed from a callable, which is not kept.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import tree_sitter

from worker.indexing.languages import Language

PARSE_SECONDS = 1.0
# The tree is looked through in pieces of so many levels: in `a+a+a+…` every level waits for its right side, and a
# query's time would grow with their square. Of 2,058 real files none is that deep.
LEVELS = 500
Matches = list[tuple[int, dict[str, list[tree_sitter.Node]]]]
"""The number of a match's pattern, and the nodes it captured by name."""
_CAPTURE = re.compile(rb"@(name|declarator|reference|import)\b")

# Package, function that gives the grammar, query files.
_SOURCES: dict[Language, tuple[str, str, tuple[str, ...]]] = {
    Language.PYTHON: ("tree_sitter_python", "language", ("python", "imports/python")),
    Language.JAVASCRIPT: (
        "tree_sitter_javascript",
        "language",
        ("ecmascript", "javascript", "jsx", "imports/ecmascript"),
    ),
    Language.TYPESCRIPT: (
        "tree_sitter_typescript",
        "language_typescript",
        ("ecmascript", "typescript", "imports/ecmascript"),
    ),
    Language.TSX: ("tree_sitter_typescript", "language_tsx", ("ecmascript", "typescript", "jsx", "imports/ecmascript")),
    Language.GO: ("tree_sitter_go", "language", ("go", "imports/go")),
    Language.RUST: ("tree_sitter_rust", "language", ("rust", "imports/rust")),
    Language.JAVA: ("tree_sitter_java", "language", ("java", "imports/java")),
    Language.C: ("tree_sitter_c", "language", ("c", "imports/c")),
    Language.CPP: ("tree_sitter_cpp", "language", ("c", "cpp", "imports/c")),
    Language.CSHARP: ("tree_sitter_c_sharp", "language", ("csharp", "imports/csharp")),
    Language.RUBY: ("tree_sitter_ruby", "language", ("ruby", "imports/ruby")),
    Language.PHP: ("tree_sitter_php", "language_php", ("php", "imports/php")),
    Language.SCALA: ("tree_sitter_scala", "language", ("scala", "imports/scala")),
    Language.KOTLIN: ("tree_sitter_kotlin", "language", ("kotlin", "imports/kotlin")),
    Language.SWIFT: ("tree_sitter_swift", "language", ("swift", "imports/swift")),
    Language.LUA: ("tree_sitter_lua", "language", ("lua", "imports/lua")),
    Language.ELIXIR: ("tree_sitter_elixir", "language", ("elixir", "imports/elixir")),
    Language.BASH: ("tree_sitter_bash", "language", ("bash", "imports/bash")),
}


class ParsingStopped(Exception):
    """The parser ran into its time limit, or found no structure."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A parser and the compiled query of one language; for each of the query's patterns what its matches tell of."""

    parser: tree_sitter.Parser
    query: tree_sitter.Query
    tells: tuple[frozenset[bytes], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The matches in a file by what they tell of; one may tell of two things."""

    definitions: Matches
    references: Matches
    imports: Matches


@cache
def grammar_of(lang: Language) -> Grammar | None:
    """The grammar of a language; None where there is none."""
    if lang not in _SOURCES:
        return None
    package, function, queries = _SOURCES[lang]
    language = tree_sitter.Language(getattr(import_module(package), function)())
    folder = Path(__file__).with_name("queries")
    source = "\n".join((folder / f"{name}.scm").read_text() for name in queries)
    query = tree_sitter.Query(language, source)
    return Grammar(tree_sitter.Parser(language), query, _tells(query, source.encode()))


def _tells(query: tree_sitter.Query, source: bytes) -> tuple[frozenset[bytes], ...]:
    places = [
        (query.start_byte_for_pattern(number), query.end_byte_for_pattern(number))
        for number in range(query.pattern_count)
    ]
    return tuple(frozenset(_CAPTURE.findall(source, start, end)) for start, end in places)


def by_purpose(grammar: Grammar, matches: Matches) -> Found:
    """Sort the matches out once: most are uses of names, which definitions and imports need not look at."""
    found: dict[bytes, Matches] = {b"name": [], b"reference": [], b"import": []}
    found[b"declarator"] = found[b"name"]
    into = [tuple(found[purpose] for purpose in purposes) for purposes in grammar.tells]
    for match in matches:
        for some in into[match[0]]:
            some.append(match)
    return Found(found[b"name"], found[b"reference"], found[b"import"])


def parse(grammar: Grammar, source: bytes, *, seconds: float = PARSE_SECONDS) -> Matches:
    """Every match of the language's query; raises ParsingStopped after so many seconds of processor time in the parser.

    Processor time, so that a busy machine does not change what is found. The query has no limit of its own (its
    progress callback crashes tree-sitter 0.26): the limit of the whole process covers it.
    """
    deadline = time.thread_time() + seconds
    view = memoryview(source)

    def read(offset: int, _point: Any) -> memoryview:
        return view[offset:]

    def is_late(_offset: int, _has_error: bool) -> bool:
        return time.thread_time() > deadline

    try:
        # A progress callback is ignored where the source is bytes; it needs a callable.
        tree = grammar.parser.parse(read, progress_callback=is_late)
    except ValueError as failure:
        grammar.parser.reset()
        raise ParsingStopped from failure
    if _is_rubble(tree.root_node):
        raise ParsingStopped
    cursor = tree_sitter.QueryCursor(grammar.query)
    cursor.set_max_start_depth(LEVELS)
    matches = cursor.matches(tree.root_node)
    for node in _at_every(LEVELS, tree.root_node):
        matches += cursor.matches(node)
    return matches


def _at_every(levels: int, root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """What stands so many levels, and multiples of it, below the root. A tree that is not that deep costs little: what
    has too few nodes below it is not looked into.
    """
    inner = [(root, 0)] if root.descendant_count > levels else []
    while inner:
        node, above = inner.pop()
        below = above + 1
        for child in node.children:
            if child.descendant_count <= levels - below:
                continue
            if below == levels:
                yield child
            inner.append((child, below % levels))


def _is_rubble(root: tree_sitter.Node) -> bool:
    """Whether the tree is little but loose tokens, as of a megabyte of `(`: a query's time grows with their square."""
    loose = root.child_count - root.named_child_count
    return loose > 20_000 + 2 * root.named_child_count

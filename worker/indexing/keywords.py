"""Definitions that a grammar takes for calls: Elixir's `def` and Bash's `alias` are told by their first word.

The queries capture that word: `@keyword` of a call, `@keyword.attribute` and `@keyword.constant` of Elixir's `@type`
and `@limit`, `@keyword.implements` of `use Plug`. Here the match becomes one as of any other language, or is dropped.
"""

from tree_sitter import Node

from worker.indexing.grammars import Matches
from worker.indexing.languages import Language

_Captures = dict[str, list[Node]]

_DEFINE: dict[Language, dict[bytes, str]] = {
    Language.ELIXIR: {
        b"defmodule": "definition.module",
        b"defprotocol": "definition.interface",
        b"defimpl": "definition.module",
        b"def": "definition.function",
        b"defp": "definition.function",
        b"defdelegate": "definition.function",
        b"defguard": "definition.function",
        b"defguardp": "definition.function",
        b"defmacro": "definition.macro",
        b"defmacrop": "definition.macro",
        b"test": "definition.function",
    },
    Language.BASH: {b"alias": "definition.macro"},
    Language.RUBY: {
        b"attr_accessor": "definition.field",
        b"attr_reader": "definition.field",
        b"attr_writer": "definition.field",
        b"cattr_accessor": "definition.field",
        b"mattr_accessor": "definition.field",
        b"define_method": "definition.method",
        b"define_singleton_method": "definition.method",
        b"alias_method": "definition.method",
        b"Class": "definition.class",
        b"Module": "definition.module",
        b"Struct": "definition.struct",
        b"Data": "definition.struct",
    },
}
_ATTRIBUTES = {
    b"type": "definition.type",
    b"typep": "definition.type",
    b"opaque": "definition.type",
    b"callback": "definition.function",
    b"macrocallback": "definition.macro",
}
_NO_CONSTANTS = frozenset(
    b"after_compile after_verify before_compile behaviour callback compile deprecated derive describetag dialyzer doc"
    b" enforce_keys external_resource fallback_to_any impl macrocallback moduledoc moduletag on_definition on_load"
    b" opaque optional_callbacks shortdoc spec tag tmp_dir type typedoc typep vsn".split()
)
_FIRST_ONLY = frozenset([b"define_method", b"define_singleton_method", b"alias_method"])
_IMPLEMENT = frozenset(b"use behaviour include extend prepend".split())
_NAMED_BY_ALIAS = frozenset([b"defmodule", b"defprotocol", b"defimpl"])
_NO_CALLS: dict[Language, frozenset[bytes]] = {
    Language.ELIXIR: _NO_CONSTANTS
    | frozenset(
        b"alias case cond def defdelegate defexception defguard defguardp defimpl defmacro defmacrop defmodule"
        b" defoverridable defp defprotocol defstruct describe for if import quote raise receive require reraise test"
        b" try unless unquote unquote_splicing use with".split()
    ),
    Language.BASH: frozenset(
        b". : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown"
        b" echo enable eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile"
        b" popd printf pushd pwd read readarray readonly return set shift shopt source suspend test times trap true"
        b" type typeset ulimit umask unalias unset wait".split()
    ),
    Language.RUBY: frozenset(
        b"alias_method attr_accessor attr_reader attr_writer define_method extend include lambda module_function new"
        b" prepend private private_class_method private_constant proc protected public raise require"
        b" require_relative".split()
    ),
}
LANGUAGES = frozenset(_NO_CALLS)


def by_keyword(source: bytes, lang: Language, matches: Matches) -> Matches:
    """The matches with every definition's kind told by its keyword, and without calls that are the language's own."""
    specs: set[int] = set()
    told: Matches = []
    for pattern, captures in matches:
        found = _told(source, lang, captures, specs)
        if found is not None:
            told.append((pattern, found))
    return [match for match in told if _call_start(match[1]) not in specs]


def _told(source: bytes, lang: Language, captures: _Captures, specs: set[int]) -> _Captures | None:
    if "keyword" in captures:
        word = _first(source, captures, "keyword")
        if word in _FIRST_ONLY and captures["name"][0].prev_named_sibling is not None:
            return None
        if word in _NAMED_BY_ALIAS and captures["name"][0].type != "alias":
            return None  # `defmodule module do` in a macro
        return _defined(captures, _DEFINE[lang].get(word))
    if "keyword.attribute" in captures:
        word = _first(source, captures, "keyword.attribute")
        if word == b"spec":
            specs.add(captures["name"][0].start_byte)
        return _defined(captures, _ATTRIBUTES.get(word))
    if "keyword.constant" in captures:
        word = _first(source, captures, "keyword.constant")
        return None if word in _NO_CONSTANTS else _defined(captures, "definition.constant")
    if "keyword.implements" in captures:
        return captures if _first(source, captures, "keyword.implements") in _IMPLEMENT else None
    if "reference.call" in captures and _first(source, captures, "reference.call") in _NO_CALLS[lang]:
        return None
    return captures


def _defined(captures: _Captures, kind: str | None) -> _Captures | None:
    return {kind: captures["definition.keyword"], "name": captures["name"]} if kind else None


def _first(source: bytes, captures: _Captures, capture: str) -> bytes:
    node = captures[capture][0]
    return source[node.start_byte : node.end_byte]


def _call_start(captures: _Captures) -> int:
    nodes = captures.get("reference.call")
    return nodes[0].start_byte if nodes else -1

"""Headings of Markdown and keys of YAML, TOML and JSON, read line by line or token by token, without a grammar.

The grammars were no better at it: a YAML template is no YAML to them, a grammar of Markdown reads every emphasis, and
each builds the whole tree of a data file of which a few keys are kept. A heading is named by its text without markup
and nested by its level, as in `Install > Linux`; a key by the keys around it, as in `services.web.ports`. Keys inside
lists are no symbols: they repeat, and nothing names them. Of a file the MAX_KEPT shallowest are kept.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.indexing.definitions import MAX_NAME_BYTES, MAX_QUALNAME_BYTES
from worker.indexing.languages import Language
from worker.indexing.records import Symbol, SymbolKind

MAX_DEPTH = 5
MAX_KEPT = 1_000


@dataclass(slots=True)
class _Entry:
    line: int
    end_line: int
    depth: int  # 1: outermost
    name: str
    qualname: str
    parent: str | None


def markup(lang: Language, text: str) -> tuple[tuple[Symbol, ...], int]:
    """Headings or keys in order, and how many were left out for their number or their length."""
    kind = SymbolKind.HEADING if lang is Language.MARKDOWN else SymbolKind.KEY
    entries = [entry for entry in _READERS[lang](text) if entry.depth <= MAX_DEPTH]
    kept = [entry for entry in entries if _is_short(entry)]
    if len(kept) > MAX_KEPT:
        kept = sorted(sorted(kept, key=lambda entry: entry.depth)[:MAX_KEPT], key=lambda entry: entry.line)
    symbols = tuple(Symbol(e.line, e.end_line, kind, e.parent, e.name, e.qualname, None) for e in kept)
    return symbols, len(entries) - len(kept)


def _is_short(entry: _Entry) -> bool:
    return len(entry.name.encode()) <= MAX_NAME_BYTES and len(entry.qualname.encode()) <= MAX_QUALNAME_BYTES


def _lines(text: str) -> list[str]:
    """Lines as everybody counts them: str.splitlines() would part them at form feeds too."""
    return text.replace("\r\n", "\n").split("\n")


# Markdown

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_PARAGRAPH = re.compile(r" {4,}|\t|\s*$| {0,3}(?:[-*+>|]|\d{1,9}[.)])")
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^{}]{0,200}\}[ \t]*$")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_TAG = re.compile(r"<[^<>]{1,300}>")
_EMPHASIS = re.compile(r"[`*]+|(?<!\w)_+|_+(?!\w)")


def _headings(text: str) -> Iterator[_Entry]:
    found = list(_heading_lines(_lines(text)))
    lines = text.count("\n") + (not text.endswith("\n"))
    outer: list[tuple[int, _Entry]] = []
    for number, level, raw in found:
        name = _plain(raw)
        if not name:
            continue
        while outer and outer[-1][0] >= level:
            outer.pop()[1].end_line = number - 1
        parent = outer[-1][1].qualname if outer else None
        qualname = f"{parent} > {name}" if parent else name
        entry = _Entry(number, lines, min(len(outer) + 1, MAX_DEPTH), name, qualname, parent)
        outer.append((level, entry))
        yield entry


def _heading_lines(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Line, level and text of every heading outside code, comments and front matter."""
    start = _after_front_matter(lines)
    fence = None
    in_comment = False
    paragraph = ""
    for number, line in enumerate(lines[start:], start=start + 1):
        if in_comment or (fence is None and line.lstrip().startswith("<!--")):
            in_comment = "-->" not in line
            paragraph = ""
            continue
        mark = _FENCE.match(line)
        if fence is not None:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = None
        elif mark and not ("`" in mark[1] and "`" in line[mark.end() :]):
            fence, paragraph = mark[1], ""
        elif heading := _ATX.match(line):
            yield number, len(heading[1]), _CLOSING.sub("", heading[2] or "")
            paragraph = ""
        elif paragraph and (underline := _UNDERLINE.match(line)):
            yield number - 1, 1 if underline[1][0] == "=" else 2, paragraph
            paragraph = ""
        else:
            paragraph = "" if _NO_PARAGRAPH.match(line) else line


def _after_front_matter(lines: list[str]) -> int:
    if lines and lines[0].rstrip() == "---":
        for index, line in enumerate(lines[1:200], start=1):
            if line.rstrip() in ("---", "..."):
                return index + 1
    return 0


def _plain(raw: str) -> str:
    """A heading's text as a reader sees it; one too long to be kept is not worth the work."""
    if len(raw) > 2_000:
        return raw
    text = _ATTRIBUTES.sub("", raw)
    text = _LINK.sub(r"\1", _LINK.sub(r"\1", text))
    return " ".join(_EMPHASIS.sub("", _TAG.sub("", text)).replace("\\", "").split())


# Keys


class _Keys:
    """The keys found so far, and those that are open: what comes next may lie inside them."""

    def __init__(self) -> None:
        self.found: list[_Entry] = []
        self.open: list[tuple[int, _Entry]] = []  # with their indentation, or their depth of brackets

    def close(self, indent: int, line: int) -> None:
        """Close the keys that are as deep as this, or deeper; `line` is the last that can belong to them."""
        while self.open and self.open[-1][0] >= indent:
            self.open.pop()[1].end_line = line

    def end(self, depth: int, line: int) -> None:
        """Forget the keys deeper than this; a key just as deep had the brackets that closed in this line."""
        while self.open and self.open[-1][0] > depth:
            self.open.pop()
        if self.open and self.open[-1][0] == depth:
            self.open[-1][1].end_line = line

    def add(self, indent: int, line: int, name: str) -> None:
        """A key below those that are open."""
        outer = self.open[-1][1] if self.open else None
        parent = outer.qualname if outer else None
        depth = outer.depth + 1 if outer else 1
        # Below the deepest that is kept a qualified name would only grow.
        qualname = f"{parent}.{name}" if parent and depth <= MAX_DEPTH else parent or name
        entry = _Entry(line, line, depth, name, qualname, parent)
        self.found.append(entry)
        self.open.append((indent, entry))


_YAML_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#'"\[\]{},&*!|>%@`?-][^#]*?|[?-][^\s#][^#]*?):(?:[ \t]+(.*))?$"""
)
_BLOCK_SCALAR = re.compile(r"(?:^|\s)[|>][+\-0-9]{0,2}[ \t]*(?:#.*)?$")
_BRACKETS = re.compile(r"[\[\]{}]")


def _yaml(text: str) -> Iterator[_Entry]:
    keys = _Keys()
    last = 0  # the last line that had anything on it
    hidden_below = -1  # lines indented deeper than this belong to a list or a block of text
    until: Callable[[str], bool] | None = None  # a value over several lines ends with the line that this accepts
    for number, line in enumerate(_lines(text), start=1):
        stripped = line.strip()
        if until is not None:
            until = None if until(stripped) else until
            last = number
            continue
        indent = len(line) - len(line.lstrip(" "))
        if not stripped or (hidden_below >= 0 and indent > hidden_below):
            last = number if stripped else last
            continue
        hidden_below = -1
        if stripped.startswith(("#", "{{", "%", "\t")):
            continue
        if stripped.startswith(("---", "...")):
            keys.close(0, last)
        elif stripped == "-" or stripped.startswith("- "):
            keys.close(indent + 1, last)
            hidden_below = indent
        elif len(line) < 5_000 and (match := _YAML_KEY.match(stripped)):
            keys.close(indent, last)
            name = match[1].strip(" \"'")
            if name and name != "<<" and "{{" not in name:
                keys.add(indent, number, name)
            value = match[2] or ""
            if _BLOCK_SCALAR.search(value):
                hidden_below = indent
            else:
                until = _open_end(value.strip())
        last = number
    keys.close(0, last)
    return iter(keys.found)


def _open_end(value: str) -> Callable[[str], bool] | None:
    """How to see the end of a value that goes on in the next lines; None where it ends in its own."""
    if value.startswith(("{", "[")) and not value.startswith("{{"):
        balance = _balance(value)

        def is_closed(line: str) -> bool:
            nonlocal balance
            balance += _balance(line)
            return balance <= 0

        return is_closed if balance > 0 else None
    if value[:1] in ('"', "'") and value.count(value[0]) == 1:
        return lambda line: value[0] in line
    return None


def _balance(line: str) -> int:
    return sum(1 if bracket in "[{" else -1 for bracket in _BRACKETS.findall(line.partition(" #")[0]))


_TOML_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)"""
_TOML_PATH = rf"{_TOML_PART}(?:[ \t]*\.[ \t]*{_TOML_PART})*"
_TOML_TABLE = re.compile(rf"\s*(\[\[?)[ \t]*({_TOML_PATH})[ \t]*\]\]?")
_TOML_KEY = re.compile(rf"\s*({_TOML_PATH})[ \t]*=[ \t]*(.*)")
_TOML_PARTS = re.compile(_TOML_PART)


def _toml(text: str) -> Iterator[_Entry]:
    found: list[_Entry] = []
    table: list[str] = []
    opened: _Entry | None = None
    value = _Entry(0, 0, 0, "", "", None)
    lists: set[tuple[str, ...]] = set()
    last = 0
    until: Callable[[str], bool] | None = None
    for number, line in enumerate(_lines(text), start=1):
        stripped = line.strip()
        if until is not None:
            until = None if until(stripped) else until
            last = value.end_line = number
        elif not stripped or stripped[0] == "#" or len(line) > 50_000:
            continue
        elif match := _TOML_TABLE.match(line):
            if opened is not None:
                opened.end_line = last
            table = _parts(match[2])
            opened = _path_entry(number, [], table)
            if match[1] == "[[":
                lists.add(tuple(table))
                found.append(opened)
            elif not _is_inside(table, lists):
                found.append(opened)
            last = number
        elif match := _TOML_KEY.match(line):
            value = _path_entry(number, table, _parts(match[1]))
            if not _is_inside(table, lists):
                found.append(value)
            until = _toml_open_end(match[2])
            last = number
    if opened is not None:
        opened.end_line = last
    return iter(found)


def _toml_open_end(value: str) -> Callable[[str], bool] | None:
    quote = value[:3]
    if quote in ('"""', "'''"):
        return (lambda line: quote in line) if value.count(quote) == 1 else None
    return _open_end(value) if value[:1] in "[{" else None


def _parts(path: str) -> list[str]:
    return [part.strip("\"'") for part in _TOML_PARTS.findall(path)]


def _path_entry(line: int, table: list[str], parts: list[str]) -> _Entry:
    path = table + parts
    return _Entry(line, line, len(path), path[-1], ".".join(path), ".".join(path[:-1]) or None)


def _is_inside(table: list[str], lists: set[tuple[str, ...]]) -> bool:
    """Whether a table is an element of a list, or within one."""
    return bool(lists) and any(tuple(table[:length]) in lists for length in range(1, len(table) + 1))


_JSON_TOKEN = re.compile(
    r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|//[^\n]*|/\*.*?\*/|[\[\]{}:,]|[A-Za-z_$][\w$]*""", re.DOTALL
)


def _json(text: str) -> Iterator[_Entry]:
    keys = _Keys()
    depth = hidden = 0  # open brackets; and those of them that are open since a list began
    candidate: re.Match[str] | None = None  # what is a key if a colon follows
    line, counted = 1, 0
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0]
        if mark in "]}":
            depth = max(depth - 1, 0)
            hidden = max(hidden - 1, 0)
            if not hidden and keys.open:
                line, counted = line + text.count("\n", counted, token.start()), token.start()
                keys.end(depth, line)
        elif mark in "[{":
            depth += 1
            hidden += hidden > 0 or mark == "["
        elif hidden:
            continue
        elif mark == ":" and candidate is not None and depth:
            line, counted = line + text.count("\n", counted, candidate.start()), candidate.start()
            keys.end(depth - 1, line)
            keys.add(depth, line, candidate[0].strip("\"'"))
            candidate = None
        else:
            candidate = None if mark[0] in ":,/" else token
    return iter(keys.found)


_READERS: dict[Language, Callable[[str], Iterator[_Entry]]] = {
    Language.MARKDOWN: _headings,
    Language.YAML: _yaml,
    Language.TOML: _toml,
    Language.JSON: _json,
}
LANGUAGES = frozenset(_READERS)

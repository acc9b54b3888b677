"""The first line of a definition's documentation: of the comment directly above it, or of Python's docstring.

Read from the text, line by line upwards, so that a definition without a comment costs one look at the line above.
Decorators, attributes and `template <…>` may stand between. Lines of tags only (`@param`), of rules (`-----`) and of
orders to tools (`eslint-disable`) are none.
"""

import re

from tree_sitter import Node

from worker.indexing.languages import Language

MAX_DOC = 200
_MAX_LINES = 200
_MAX_BETWEEN = 12
_MAX_COMMENT_BYTES = 8_000
_MAX_HEAD_BYTES = 1_000  # of which the first line with words is looked for
_ORNAMENT = b" \t\r/*!#-=~+_<>|;"

_MARKS: dict[Language, tuple[bytes, ...]] = {
    Language.PYTHON: (),
    Language.RUBY: (b"#",),
    Language.BASH: (b"#",),
    Language.ELIXIR: (b"#",),
    Language.PHP: (b"//", b"#"),
    Language.LUA: (b"--",),
}
_SLASHES = (b"//",)
_BETWEEN = re.compile(rb"@(?!return|param)|#\[|\[|template\b|[A-Z_][A-Z0-9_]{3,}+(?:\([^)]*\))?+\s*$")
_ATTRIBUTE = b"#["
_MARK = re.compile(r"^(?:/\*+!?|//+[!/]?|\*+(?!/)|#+|--+\[*|;+)?[ \t]*")
_END = re.compile(r"[ \t]*(?:\*+/|\]\])\s*$")
_TAGS = re.compile(r"</?(?:summary|para|remarks|value|inheritdoc|p|c|code)\s*/?>")
_NAMES_OF_TAGS = re.compile(
    r"<(?:see|seealso|paramref|typeparamref)\s+\w+=\"(?:\w:)?([^\"]*)\"\s*/>|\{@(?:link|code)\s+([^}]*)\}"
)
_BRIEF = re.compile(r"^[@\\](?:brief|short|summary|description|desc)\b\s*")
_NO_TEXT = re.compile(
    r"\{?[@\\]\w|:(?:nodoc|doc|call-seq|stopdoc|startdoc):|<\w|go:|nolint|NOLINT|eslint|prettier-|tslint|rubocop|noinspection|istanbul"
    r"|biome-|clang-format|frozen_string_literal|typed:|region\b|endregion\b|!"
)
_ATTRIBUTE_STRING = re.compile(rb"@\w+[ \t]+(?:~[sS])?(\"\"\"|\")")
_DEFINES = re.compile(rb"^[ \t]*(?:def\w*|end|@\w*callback|@type\w?)\b", re.MULTILINE)
_DOCSTRING = re.compile(rb"[rRuU]?(\"\"\"|'''|\"|')")


def docstring(source: bytes, body: Node) -> str | None:
    """The first line of the string that a block begins with; Python's blocks alone can begin with one."""
    opening = _DOCSTRING.match(source, body.start_byte)
    if opening is None or body.type != "block":
        return None
    quotes = opening[1]
    start = opening.end()
    line = source[start : start + 4 * MAX_DOC].partition(quotes)[0].lstrip().partition(b"\n")[0].rstrip()
    return _clipped(line.decode("utf-8", "replace")) if line else None


def comment_above(source: bytes, lang: Language, line_start: int) -> str | None:
    """The first line of the comment that ends on the line above the one that starts there."""
    marks = _MARKS.get(lang, _SLASHES)
    end = line_start - 1
    for _ in range(_MAX_BETWEEN):
        if end <= 0:
            return None
        start = source.rfind(b"\n", 0, end) + 1
        line = source[start:end].strip()
        if line.startswith(marks) and not line.startswith(_ATTRIBUTE):
            return _first(_lines_above(source, marks, start, line))
        if line.endswith(b"*/"):
            return _first(_block(source, start, end))
        if not line or _BETWEEN.match(line) is None:
            return None
        end = start - 1
    return None


def attribute_above(source: bytes, line_start: int) -> str | None:
    """The first line of Elixir's `@doc` or `@typedoc` over the definition that starts there, with nothing between."""
    above = source[max(0, line_start - _MAX_COMMENT_BYTES) : line_start]
    place = max(above.rfind(b"@doc "), above.rfind(b"@typedoc "))
    return _attribute(above, place, whole=True) if place >= 0 else None


def attribute_inside(source: bytes, body: Node) -> str | None:
    """The first line of the `@moduledoc` that a module of Elixir begins with."""
    head = source[body.start_byte : min(body.end_byte, body.start_byte + _MAX_COMMENT_BYTES)]
    place = head.find(b"@moduledoc ")
    return None if place < 0 or _DEFINES.search(head, 0, place) else _attribute(head, place, whole=False)


def _attribute(text: bytes, place: int, *, whole: bool) -> str | None:
    """The first line of an attribute's string; `whole`: only if the string ends, and no other definition follows."""
    opening = _ATTRIBUTE_STRING.match(text, place)
    if opening is None:
        return None
    end = text.find(opening[1], opening.end())
    if whole and (end < 0 or _DEFINES.search(text, end)):
        return None
    lines = text[opening.end() : end if end >= 0 else len(text)].decode("utf-8", "replace").split("\n")
    return next((_clipped(line) for line in lines if line.strip()), None)


def _lines_above(source: bytes, marks: tuple[bytes, ...], start: int, line: bytes) -> list[bytes]:
    """The lines of comment that end with this one, in order."""
    lines = [line]
    while start > 0 and len(lines) < _MAX_LINES:
        end = start - 1
        start = source.rfind(b"\n", 0, end) + 1
        line = source[start:end].strip()
        if not line.startswith(marks):
            break
        lines.append(line)
    lines.reverse()
    return lines


def _block(source: bytes, start: int, end: int) -> list[bytes]:
    """The lines of the comment that ends there; none where something else stands before it on its line."""
    opening = source.rfind(b"/*", max(0, end - _MAX_COMMENT_BYTES), end)
    if opening < 0 or source[source.rfind(b"\n", 0, opening) + 1 : opening].strip():
        return []
    return source[opening : min(end, opening + _MAX_HEAD_BYTES)].split(b"\n")


def _first(lines: list[bytes]) -> str | None:
    """The first line that says something in words."""
    for line in lines:
        if not line.strip(_ORNAMENT):
            continue
        text = _END.sub("", _MARK.sub("", line.decode("utf-8", "replace").strip(), count=1))
        if "<" in text or "{@" in text:
            text = _NAMES_OF_TAGS.sub(lambda match: match[1] or match[2], _TAGS.sub("", text)).strip()
        text = _BRIEF.sub("", text)
        if text and not _NO_TEXT.match(text):
            return _clipped(text)
    return None


def _clipped(text: str) -> str:
    return " ".join(text.split())[:MAX_DOC]

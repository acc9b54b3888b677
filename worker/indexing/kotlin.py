"""Kotlin as its grammar can read it: of the same length, so that every place stays where it was.

tree-sitter-kotlin 1.1 loses the rest of a class, up to the whole file, over words of the language used as names
(`val open`, `var set`), names such as `in1`, an annotation before `set(value)`, context parameters, guards in `when`,
a constructor's annotations on lines of their own, `inner class` after a companion. These are overwritten; names are
read from the true source.
"""

import re

_UNREADABLE = re.compile(
    rb"""\b(?P<number>in|is|as)(?=\d)
    | (?<![\w.@"])(?P<modifier>open|inner|external|operator|infix|sealed)(?=[ ]?[:=.,)\]]|\()
    | (?<=\bva[lr]\ )(?P<accessor>set|get)(?=\ ?[:=])
    | ^[ \t]*(?P<used>set|get)(?=\ =)
    | (?P<annotation>@[\w.]+(?:\([^()\n]*\))?)(?=[ \t]+(?:internal\ |private\ |protected\ )?(?:set|get)\b)
    | ^[ \t]*(?P<context>context\([^()\n]*\))(?=[ \t]*$)
    | ^[ \t]*(?:is\ [\w.<>?*]++|[\w.]++)\ (?P<guard>if\ [^\n]*?)(?=\ ->)
    | \b(?P<inner>inner)(?=\ class\b)
    | ^(?P<kind>annotation)(?=\ class\b)
    | \bclass\ \w++\s*\n\s*(?P<constructor>@\w++\([^()\n]*\))(?=\s*(?:internal\ |private\ |protected\ )?constructor\b)
    """,
    re.VERBOSE | re.MULTILINE,
)
_RENAMED = frozenset({"number", "modifier", "accessor", "used"})


def readable(source: bytes) -> bytes:
    """The source as it is to be parsed."""
    text = bytearray(source)
    for match in _UNREADABLE.finditer(source):
        group = match.lastgroup or ""
        start, end = match.span(group)
        text[start:end] = match[group].upper() if group in _RENAMED else _blank(match[group])
    return bytes(text)


def _blank(text: bytes) -> bytes:
    """Spaces for all but the line feeds."""
    return re.sub(rb"[^\n]", b" ", text)

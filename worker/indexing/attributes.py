"""What .gitattributes says of paths: vendored and generated files, as GitHub's linguist reads them.

Contents of foreign files: patterns are matched without regular expressions, in a time that their length bounds, and
only lines that name one of the two attributes are kept.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

NAME = ".gitattributes"
MOST_RULES = 500

_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"')
_CLASSES = re.compile(r"\[(?:[!^])?\]?[^\]]*\]")


class Attribute(StrEnum):
    """The attributes that matter here."""

    VENDORED = "linguist-vendored"
    GENERATED = "linguist-generated"


_Rule = tuple[tuple[str, ...], Mapping[Attribute, bool | None]]


class Attributes:
    """The rules of a tree; those of deeper folders come later and win, as later lines of a file do."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """`files`: path of each .gitattributes → its text."""
        self._rules: list[_Rule] = []
        for path in sorted(files, key=lambda path: (path.count("/"), path)):
            folder = path.rpartition("/")[0]
            for line in files[path].splitlines():
                if "linguist-" in line and len(self._rules) < MOST_RULES:
                    self._rules += _read(line, folder)

    def of(self, path: str, attribute: Attribute) -> bool | None:
        """Whether a path has the attribute; None where nothing is said of it."""
        parts = tuple(path.split("/"))
        for pattern, values in reversed(self._rules):
            if attribute in values and _matches(pattern, parts):
                return values[attribute]
        return None


NO_ATTRIBUTES = Attributes({})


def _read(line: str, folder: str) -> list[_Rule]:
    """One line; none for comments, macros and lines that say nothing of these attributes."""
    line = line.strip()
    if quoted := _QUOTED.match(line):
        pattern, rest = re.sub(r"\\(.)", r"\1", quoted[1]), line[quoted.end() :]
    else:
        pattern, _, rest = line.partition(" " if " " in line else "\t")
    values: dict[Attribute, bool | None] = {}
    for word in rest.split():
        name, _, value = word.lstrip("-!").partition("=")
        if name in list(Attribute):
            values[Attribute(name)] = None if word[0] == "!" else word[0] != "-" and value != "false"
    if not values or not pattern or pattern.startswith(("#", "[attr]", "!")) or pattern.endswith("/"):
        return []
    anchored = "/" in pattern
    parts = tuple(part for part in pattern.split("/") if part)
    base = tuple(part for part in folder.split("/") if part)
    return [((*map(_literal, base), *parts) if anchored else (*map(_literal, base), "**", *parts), values)]


def _literal(name: str) -> str:
    """A folder's name as a pattern that matches it alone."""
    return re.sub(r"([\\*?\[])", r"\\\1", name)


def _matches(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether a path has this pattern: `**` stands for any number of folders, at the end for one or more names."""
    reached = {0}
    for place, part in enumerate(pattern):
        if part == "**":
            is_last = place == len(pattern) - 1
            first = min(reached) + is_last
            reached = set(range(first, len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and _fits(part, parts[at])}
        if not reached:
            return False
    return len(parts) in reached


def _fits(pattern: str, name: str) -> bool:
    """Whether a name has the pattern of one part of a path: `*`, `?`, `[…]` and an escaped letter."""
    pieces = _pieces(pattern)
    at = place = 0
    star, resume = -1, 0
    while at < len(name):
        if place < len(pieces) and pieces[place] == "*":
            star, resume = place, at
            place += 1
        elif place < len(pieces) and _is_one(pieces[place], name[at]):
            place += 1
            at += 1
        elif star >= 0:
            resume += 1
            place, at = star + 1, resume
        else:
            return False
    return all(piece == "*" for piece in pieces[place:])


@cache
def _pieces(pattern: str) -> tuple[str, ...]:
    """The parts of a pattern, one for each letter of a name: a literal as `=x`, `?`, `*` or a class in brackets."""
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            pieces.append("=" + pattern[at + 1])
            at += 2
        elif letter == "[" and (found := _CLASSES.match(pattern, at)):
            pieces.append(found[0])
            at = found.end()
        else:
            if letter != "*" or pieces[-1:] != ["*"]:
                pieces.append(letter if letter in "*?" else "=" + letter)
            at += 1
    return tuple(pieces)


def _is_one(piece: str, letter: str) -> bool:
    if piece[0] == "=":
        return piece[1] == letter
    if piece == "?":
        return True
    if piece == "*":
        return False
    inside = piece[1:-1]
    is_negated = inside[:1] in ("!", "^")
    inside = inside[is_negated:]
    found = False
    at = 0
    while at < len(inside):
        if at + 2 < len(inside) and inside[at + 1] == "-":
            found |= inside[at] <= letter <= inside[at + 2]
            at += 3
        else:
            found |= inside[at] == letter
            at += 1
    return found != is_negated

"""How a log line looks in a terminal."""

import json
from typing import Any

_FIXED = ("at", "level", "event", "attempt", "source", "exception")
_COLORS = {"debug": "2", "warning": "33", "error": "31", "critical": "31;1"}


def render(line: bytes | str, *, color: bool = False) -> str:
    """Time, level, event and facts of one log line; nothing in it can steer the terminal."""
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        return _safe(text.rstrip("\n"))
    level = str(entry.get("level", "info"))
    head = f"{_clock(entry.get('at'))} {_safe(level):<7} {_safe(str(entry.get('event', '')))}"
    if color and level in _COLORS:
        head = f"\x1b[{_COLORS[level]}m{head}\x1b[0m"
    return "".join([head, *_facts(entry), *_exception(entry)])


def _clock(at: Any) -> str:
    """The time of day to the millisecond; the day is in the log's name."""
    return _safe(at[11:23]).ljust(12) if isinstance(at, str) else " " * 12


def _facts(entry: dict[str, Any]) -> list[str]:
    return [f" {_safe(name)}={_fact(value)}" for name, value in entry.items() if name not in _FIXED]


def _fact(value: Any) -> str:
    if isinstance(value, str) and value and not any(character in value for character in " =\"'"):
        return _safe(value)
    return _safe(json.dumps(value, ensure_ascii=False))


def _exception(entry: dict[str, Any]) -> list[str]:
    return [f"\n    {_safe(line)}" for line in str(entry.get("exception") or "").split("\n") if line]


def _safe(text: str) -> str:
    """The text with everything escaped that is not printable: controls, bidirectional marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

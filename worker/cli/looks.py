"""How things look in a terminal: statuses in colour, sizes and times for people."""

from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

COLOURS = {
    "completed": "green", "ready": "green", "running": "green", "processed": "green",
    "in_progress": "cyan", "syncing": "cyan", "processing": "cyan",
    "queued": "yellow", "pending": "yellow", "draining": "yellow",
    "failed": "red", "error": "red", "lost": "red", "fenced": "red",
    "cancelled": "dim", "stopped": "dim", "ignored": "dim",
}  # fmt: skip


def status(text: str | None) -> str:
    """A status with its colour."""
    if text is None:
        return "[dim]–[/]"
    return f"[{COLOURS.get(text, 'default')}]{text}[/]"


def size(count: float | None) -> str:
    """Bytes in the unit a person would say."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def ago(moment: datetime | None) -> str:
    """How long ago, roughly."""
    if moment is None:
        return "–"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for limit, divisor, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) / divisor:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} d ago"


def short(identifier: Any) -> str:
    """The beginning of an id or commit; enough to name it again on the command line."""
    return str(identifier)[:13] if identifier else "–"


def text(value: Any) -> str:
    """Anything as text that cannot be taken for markup."""
    return "[dim]–[/]" if value in (None, "") else escape(str(value))


def result_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """An index job's result, line by line."""
    skipped = result.get("skipped") or {}
    left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in skipped.items())
    seconds = result.get("seconds") or {}
    return [
        ("commit", f"{result.get('commit')} on {escape(str(result.get('branch')))}"),
        ("files", f"{result.get('files', 0):,}" + (f" (not read: {left_out})" if left_out else "")),
        ("changed", f"{result.get('files_changed', 0):,}, of which {result.get('files_parsed', 0):,} parsed"),
        ("symbols", f"{result.get('symbols', 0):,}"),
        ("references", f"{result.get('references', 0):,}"),
        ("tokens", f"{result.get('tokens', 0):,}, of which {result.get('tokens_billed', 0):,} billed to this job"),
        ("fetched", size(result.get("bytes_fetched"))),
        ("seconds", ", ".join(f"{phase} {value:.2f}" for phase, value in seconds.items())),
    ]

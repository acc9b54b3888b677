"""How things look: statuses in colour, sizes and times for people, JSON for programs."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDE = 120  # columns from which ids are shown whole
UNBROKEN = 10_000  # no row of ours is wider
PHASES = ("resolve", "fetch", "compare", "extract", "publish")
COLOURS = {
    "completed": "green", "ready": "green", "running": "green", "processed": "green",
    "in_progress": "cyan", "syncing": "cyan", "processing": "cyan",
    "queued": "yellow", "pending": "yellow", "draining": "yellow", "paused": "yellow",
    "failed": "red", "error": "red", "lost": "red", "fenced": "red", "silent": "red",
    "cancelled": "dim", "stopped": "dim", "ignored": "dim",
}  # fmt: skip


def console(*, stderr: bool = False) -> Console:
    """Colours and folded rows in a terminal; elsewhere plain text, and a row stays a line whatever its length."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=UNBROKEN)


def table(*headers: str, title: str | None = None, keep: tuple[str, ...] = ()) -> Table:
    """A table without lines; the columns to `keep` are never folded or cut."""
    made = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for header in headers:
        made.add_column(header, no_wrap=header in keep, overflow="fold")
    return made


def show(out: Console, shown: Table) -> None:
    """Print a table; outside a terminal without the blanks that fill its last column."""
    if out.is_terminal:
        out.print(shown)
        return
    with out.capture() as captured:
        out.print(shown)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


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
    return "–" if moment is None else f"{duration((datetime.now(UTC) - moment).total_seconds())} ago"


def duration(seconds: float) -> str:
    """A time span, roughly."""
    for limit, divisor, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def identifier(out: Console, value: Any) -> str:
    """An id as a listing shows it: whole where there is room, else its end, which any command takes for it.

    The end, because ids of jobs made close together begin alike.
    """
    whole = str(value)
    return whole if out.width >= WIDE else whole.rpartition("-")[2]


def text(value: Any) -> str:
    """Anything as text that cannot be taken for markup, nor steer the terminal."""
    if isinstance(value, datetime):
        value = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "[dim]–[/]" if value in (None, "") else escape(plain(str(value)))


def plain(foreign: str) -> str:
    """Text of unknown origin with its control characters made visible; tabs stay."""
    if foreign.isprintable():
        return foreign
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in foreign)


def sentence(words: str) -> str:
    """Words from a database as a sentence."""
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def result_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """An index job's result, line by line."""
    skipped = result.get("skipped") or {}
    left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in skipped.items())
    seconds = result.get("seconds") or {}
    phases = [*(phase for phase in PHASES if phase in seconds), *(phase for phase in seconds if phase not in PHASES)]
    return [
        ("commit", f"{result.get('commit')} on {text(result.get('branch'))}"),
        ("files", f"{result.get('files', 0):,}" + (f" (not read: {left_out})" if left_out else "")),
        ("changed", f"{result.get('files_changed', 0):,}, of which {result.get('files_parsed', 0):,} parsed"),
        ("symbols", f"{result.get('symbols', 0):,}"),
        ("references", f"{result.get('references', 0):,}"),
        ("tokens", f"{result.get('tokens', 0):,}, of which {result.get('tokens_billed', 0):,} billed to this job"),
        ("fetched", size(result.get("bytes_fetched"))),
        ("seconds", ", ".join(f"{phase} {seconds[phase]:.2f}" for phase in phases)),
    ]


def print_json(value: Any) -> None:
    """One JSON value on standard output, on one line, in UTF-8 wherever we are."""
    typer.echo(json.dumps(value, default=_as_json, ensure_ascii=False).encode())


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)

"""A picture that refreshes in a terminal until Ctrl-C."""

import time
from collections.abc import Callable

import psycopg
from rich.console import Console

from worker.cli import looks
from worker.errors import DatabaseUnavailable


def refresh(out: Console, draw: Callable[[], None], *, every: float) -> None:
    """Show what `draw` prints to `out`, again and again, in place, until Ctrl-C; waits for a Postgres that is away."""
    from rich.live import Live
    from rich.text import Text

    # A console of its own: whatever is printed to the one that is live is drawn at once.
    with Live(console=looks.console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(Text.from_ansi(_picture(out, draw)), refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            return


def _picture(out: Console, draw: Callable[[], None]) -> str:
    try:
        with out.capture() as captured:
            draw()
    except (DatabaseUnavailable, psycopg.OperationalError) as failure:
        if isinstance(failure, DatabaseUnavailable) and not failure.is_outage:
            raise
        with out.capture() as captured:
            out.print(f"[red]Postgres does not answer[/], asked again and again: {looks.text(_said(failure))}")
    return captured.get()


def _said(failure: Exception) -> str:
    return str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__

"""A picture that refreshes in a terminal until Ctrl-C."""

import time
from collections.abc import Callable

from rich.console import Console

from worker.cli import looks


def refresh(out: Console, draw: Callable[[], None], *, every: float) -> None:
    """Show what `draw` prints to `out`, again and again, in place; ends with Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    # A console of its own: whatever is printed to the one that is live is drawn at once.
    with Live(console=looks.console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                with out.capture() as captured:
                    draw()
                live.update(Text.from_ansi(captured.get()), refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            return

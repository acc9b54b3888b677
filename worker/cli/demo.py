"""demo: the whole way of a push, with receiver and worker as the two real processes.

Registers this checkout (or any path or https URL), posts a truly signed push, follows the job and shows what came of
it; then commits a change in a scratch clone, delivers that push, and shows that only the change was parsed.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli import looks
from worker.cli.demo_stage import Row, Stage
from worker.cli.repositories import parse_url
from worker.cli.state import Json, open_state
from worker.job import Status


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(demo)


def demo(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH_OR_URL", help="What to index; default: the repository we are in."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the main job on real input: signed push → receiver → worker → searchable code, then a small change.

    Of several places each is shown in turn.

    Example: worker demo ../django
    """
    succeeded = [run_demo(place, as_json=json) for place in places or ["."]]
    if not all(succeeded):
        raise typer.Exit(1)


def run_demo(place: str, *, as_json: bool) -> bool:
    """Show one repository; true when both jobs completed. Everything that was started has ended then."""
    started = time.monotonic()
    full, incremental = None, None
    try:
        with ExitStack() as stack:
            # The scratch clone is a local repository, also where others are not wanted from the network's users.
            state = stack.enter_context(open_state(process="demo", quiet=as_json, worker_allow_local_repositories=True))
            parse_url(state, place)  # before anything is started for it
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="indexing-worker-demo-")))
            stage = stack.enter_context(Stage(state, quiet=as_json))
            repository = stage.register(place)
            full = stage.index_pushed(repository)
            if full["status"] == Status.COMPLETED:
                incremental = stage.index_a_change(repository, scratch / "scratch-clone")
    finally:
        summary = summarize(full, incremental, time.monotonic() - started)
        if as_json:
            looks.print_json(summary)
    if not as_json:
        _print_ending(summary)
    return summary["status"] == Status.COMPLETED


def summarize(full: Row | None, incremental: Row | None, seconds: float) -> dict[str, Any]:
    """What the demo came to, as its last line tells programs."""
    result = (full or {}).get("result") or {}
    changed = (incremental or {}).get("result") or {}
    completed = all(row is not None and row["status"] == Status.COMPLETED for row in (full, incremental))
    return {
        "status": "completed" if completed else "failed",
        **{name: result.get(name) for name in ("files", "symbols", "tokens")},
        "seconds": round(seconds, 2),
        "incremental": {name: changed.get(name) for name in ("files_changed", "files_parsed", "tokens_billed")},
    }


def _print_ending(summary: dict[str, Any]) -> None:
    out, change = looks.console(), summary["incremental"]
    if summary["status"] != Status.COMPLETED:
        out.print(f"\n[bold red]The demo did not complete[/] ({summary['seconds']:.1f} s); see the reasons above.")
        return
    out.print(
        f"\n[bold green]Done[/] in {summary['seconds']:.1f} s: {summary['files']:,} files, "
        f"{summary['symbols']:,} symbols, {summary['tokens']:,} tokens; "
        f"the change parsed {change['files_parsed']} file and billed {change['tokens_billed']} tokens."
    )
    out.print("Everything the demo started has been stopped. Next: `.venv/bin/worker --help`.")

"""drain: ask workers to end in order, wherever they run."""

import time
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.looks import print_json
from worker.cli.state import Json, State, open_state
from worker.errors import NotFound, WorkerError
from worker.queue import drain as queue

SECONDS_BETWEEN_LOOKS = 0.5


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(drain)


def drain(
    workers: Annotated[
        list[str] | None, typer.Argument(metavar="WORKER", help="Worker: its id or a piece, its host, or host:pid.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All workers.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait until they have ended; 0: do not.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Ask workers, through the database, to claim no more, end what they run, and stop.

    Example: worker drain --all --wait 300
    """
    if bool(workers) == everyone:
        raise typer.BadParameter("name the workers, or give --all")
    with open_state(quiet=json) as state:
        found = state.ask(queue.living) if everyone else state.ask(queue.find_workers, workers)
        if not found:
            raise NotFound("No worker is running.", hint="`worker status` lists those of the last ten minutes.")
        ids = [row["id"] for row in found]
        asked = state.ask(queue.request_drain, ids)
        running = sum(row["running"] for row in found)
        if not json:
            state.out.print(f"Asked to drain: {asked:,} of {len(ids):,} workers, with {running:,} running jobs.")
        left = _wait(state, ids, wait) if wait else None
        if json:
            print_json({"asked": [str(worker) for worker in ids], "running_jobs": running, "left": left})
        elif left == 0:
            state.out.print("All of them have ended.")
        if left:
            raise WorkerError(
                f"{left:,} of {len(ids):,} workers have not ended within {wait:g} s.",
                hint="They go on draining, up to WORKER_DRAIN_SECONDS; `worker status` shows what they run.",
            )


def _wait(state: State, ids: list[UUID], seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while left := state.ask(queue.still_there, ids):
        if time.monotonic() > deadline:
            return left
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return 0

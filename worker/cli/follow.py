"""Watching one job from the outside until it has ended."""

import time
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.cli.state import State
from worker.job import Status
from worker.queue.look import job_row

SECONDS_BETWEEN_LOOKS = 0.15


def follow_job(
    state: State, job_id: UUID, *, quiet: bool = False, give_up_seconds: float | None = None
) -> dict[str, Any]:
    """The job's row once it has ended, with a progress bar meanwhile. Follows the follow-up of a superseded job.

    With `give_up_seconds` the row as it stands after that time.
    """
    deadline = None if give_up_seconds is None else time.monotonic() + give_up_seconds
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("queued", total=None)
        while True:
            row = state.ask(job_row, job_id)
            if row["error_class"] == "superseded" and row["status"] == Status.CANCELLED:
                job_id = UUID(row["error_message"].rsplit(" ", 1)[-1])
                continue
            if Status(row["status"]).is_terminal or (deadline and time.monotonic() > deadline):
                return row
            progress = row["progress"] or {}
            phase = progress.get("phase") or row["status"].replace("_", " ")
            counted = progress.get("total") is not None
            bar.update(
                task,
                description=phase,
                completed=progress.get("done") or 0 if counted else 0,
                total=progress.get("total") if counted else None,
            )
            time.sleep(SECONDS_BETWEEN_LOOKS)

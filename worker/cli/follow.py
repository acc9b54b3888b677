"""Watching one job from the outside until it has ended."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from worker.cli import looks
from worker.cli.state import State
from worker.database.connect import connect_async
from worker.job import Status
from worker.queue.look import job_row

if TYPE_CHECKING:  # a bar is shown by few commands
    from rich.progress import Progress

SECONDS_BETWEEN_LOOKS = 0.15
Row = dict[str, Any]


def follow_job(
    state: State, job_id: UUID, *, quiet: bool = False, check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The job's row once it has ended, with a progress bar meanwhile. Follows the follow-up of a superseded job.

    `check` is called at each look and raises when nobody is left who could end the job.
    """
    with _bar(disable=quiet or not state.aside.is_terminal) as bar:
        task = bar.add_task("queued", total=None, count="")

        def show(row: Row) -> None:
            check()
            bar.update(task, **_where(row))

        return asyncio.run(_until_ended(state.database.url, job_id, show))


async def _until_ended(url: str, job_id: UUID, show: Callable[[Row], None]) -> Row:
    while True:
        try:
            async with await connect_async(url, name="worker cli") as connection:
                return await _watch(connection, job_id, show)
        except psycopg.OperationalError:  # a connection broke; where no new one can be had, DatabaseUnavailable says so
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def _watch(connection: Any, job_id: UUID, show: Callable[[Row], None]) -> Row:
    while True:
        row = await job_row(connection, job_id)
        if row["error_class"] == "superseded" and row["status"] == Status.CANCELLED:
            job_id = UUID(row["error_message"].rsplit(" ", 1)[-1])
            continue
        if Status(row["status"]).is_terminal:
            return row
        show(row)
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _bar(*, disable: bool) -> "Progress":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=looks.console(stderr=True), transient=True, disable=disable)


def _where(row: Row) -> dict[str, Any]:
    """What the bar shows of a job: its phase, and how far that is where it can be counted."""
    progress = row["progress"] or {} if row["status"] == Status.IN_PROGRESS else {}
    phase = looks.text(progress.get("phase") or row["status"].replace("_", " "))
    done, total = progress.get("done") or 0, progress.get("total")
    if total is None:
        return {"description": phase, "completed": 0, "total": None, "count": ""}
    return {"description": phase, "completed": done, "total": total, "count": f"{done:,} of {total:,}"}

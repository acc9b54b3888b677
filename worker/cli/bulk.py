"""One act on many jobs: counted first, agreed upon, and done in small steps."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import typer

from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.repositories import agrees, find_repository
from worker.cli.state import State, open_state
from worker.database.connect import connect_async
from worker.errors import DatabaseUnavailable, WorkerError
from worker.job import Status
from worker.queue.bulk import Act, Tally, act_on_all
from worker.queue.filter import Filter, count, database_time

if TYPE_CHECKING:  # a bar is shown by few commands
    from rich.progress import Progress

SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line says of the jobs that are meant."""

    job_type: str | None = None
    repo: str | None = None
    error_class: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Bulk:
    """An act: how its question begins, how its report begins, which jobs it is for, and what it does to one."""

    question: str
    report: str
    status: Status
    act: Act


def act_on_many(bulk: Bulk, choice: Choice, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Say how many jobs fit, ask, act, and report; ends with 1 when some could not be acted upon."""
    with open_state(quiet=as_json) as state:
        wanted = _filter(state, bulk.status, choice)
        matched: int = state.ask(count, wanted, limit=choice.limit)
        if dry_run or not matched:
            _print_count(state, bulk, matched, as_json=as_json)
            return
        _agree(bulk, matched, yes=yes)
        tally = Tally()
        try:
            _act(state, bulk, wanted, matched, tally)
        except (psycopg.Error, DatabaseUnavailable, KeyboardInterrupt):
            state.aside.print(f"Stopped after {tally.seen:,} of {matched:,}; the same command goes on with the others.")
            raise
        _report(state, bulk, matched, tally, as_json=as_json)
    if tally.failed:
        raise typer.Exit(1)


def _filter(state: State, status: Status, choice: Choice) -> Filter:
    now = state.ask(database_time)
    return Filter(
        status,
        before=now - (choice.older_than or timedelta(0)),
        after=now - choice.newer_than if choice.newer_than is not None else None,
        user_id=state.visible_user,
        job_type=choice.job_type,
        repository_id=find_repository(state, choice.repo) if choice.repo else None,
        error_class=choice.error_class,
    )


def _jobs(matched: int, status: Status) -> str:
    return f"{matched:,} {status.replace('_', ' ')} job{'' if matched == 1 else 's'}"


def _print_count(state: State, bulk: Bulk, matched: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"matched": matched, "done": 0, "skipped": 0, "failed": []})
    else:
        state.out.print(f"{_jobs(matched, bulk.status)} fit{'s' if matched == 1 else ''}.")


def _agree(bulk: Bulk, matched: int, *, yes: bool) -> None:
    if yes:
        return
    jobs = _jobs(matched, bulk.status)
    if not sys.stdin.isatty():
        hint = "Add --yes to act without being asked, or --dry-run to only count."
        raise WorkerError(f"{bulk.question} {jobs}? Nobody can be asked here, so nothing was done.", hint=hint)
    if not agrees(f"{bulk.question} {jobs}?"):
        raise WorkerError("Nothing was done.")


def _act(state: State, bulk: Bulk, wanted: Filter, matched: int, tally: Tally) -> None:
    with _bar(state) as bar:
        task = bar.add_task(bulk.report, total=matched)

        async def run() -> None:
            async with await connect_async(state.database.url, name="worker cli") as connection:
                await act_on_all(
                    connection, wanted, bulk.act, tally, limit=matched,
                    on_step=lambda so_far: bar.update(task, completed=so_far.seen),
                )  # fmt: skip

        asyncio.run(run())


def _bar(state: State) -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=state.aside, transient=True, disable=not state.aside.is_terminal)


def _report(state: State, bulk: Bulk, matched: int, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        failed = [{"job_id": job_id, "reason": reason} for job_id, reason in tally.failed]
        print_json({"matched": matched, "done": tally.done, "skipped": tally.skipped, "failed": failed})
        return
    state.out.print(f"{bulk.report}: {tally.done:,}.")
    if tally.skipped:
        state.out.print(f"Changed meanwhile, and left alone: {tally.skipped:,}.")
    if tally.failed:
        state.aside.print(f"[red]Refused by Postgres[/]: {len(tally.failed):,}.")
        for job_id, reason in tally.failed[:SHOWN_FAILURES]:
            state.aside.print(f"  {job_id}: {looks.text(reason)}", soft_wrap=True)

"""cancel and retry: one job by its id, or many by what they have in common."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from worker.cli import looks
from worker.cli.bulk import Bulk, Choice, act_on_many
from worker.cli.jobs import find
from worker.cli.looks import print_json
from worker.cli.state import Json, open_state
from worker.errors import WorkerError
from worker.job import Status
from worker.queue import cancel as verbs
from worker.queue.look import job_row

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (cancel, retry):
        app.command()(command)


class Open(StrEnum):
    """Statuses of jobs that can be cancelled."""

    QUEUED = Status.QUEUED
    IN_PROGRESS = Status.IN_PROGRESS


class Retryable(StrEnum):
    """Statuses of jobs that can be retried."""

    FAILED = Status.FAILED
    CANCELLED = Status.CANCELLED


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip().lower())
    if match is None:
        raise typer.BadParameter("a number and one of s, m, h, d, w is needed, such as 90m, 2h or 7d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


JobId = Annotated[
    str | None, typer.Argument(metavar="JOB", help="The job's id, or the beginning or end of it.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All jobs that fit the options below, oldest first.")]
JobType = Annotated[str | None, typer.Option("--type", help="With --all: only jobs of this type.")]
Repo = Annotated[str | None, typer.Option(help="With --all: only jobs of this repository.")]
ErrorClass = Annotated[str | None, typer.Option(help="With --all: only jobs whose last error is of this class.")]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(parser=_span, metavar="SPAN", help="With --all: in that status for longer than this, such as 2h."),
]
NewerThan = Annotated[
    timedelta | None,
    typer.Option(parser=_span, metavar="SPAN", help="With --all: in that status for less than this, such as 1d."),
]
Limit = Annotated[int | None, typer.Option(help="With --all: at most so many.", min=1)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --all: only say how many fit.")]


def cancel(
    job_id: JobId = None,
    everything: All = False,
    status: Annotated[Open | None, typer.Option(help="With --all: jobs of this status; default queued.")] = None,
    job_type: JobType = None,
    repo: Repo = None,
    error_class: ErrorClass = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Cancel a job, or with --all many: a queued one at once, a running one within a few seconds.

    Example: worker cancel 019a
    """
    choice = Choice(job_type, repo, error_class, older_than, newer_than, limit)
    if _is_of_many(job_id, everything, choice, status, yes, dry_run):
        bulk = Bulk("Cancel", "Cancelled", Status(status or Open.QUEUED), verbs.cancel_one_of_many)
        act_on_many(bulk, choice, yes=yes, dry_run=dry_run, as_json=json)
    elif job_id is not None:
        _cancel(job_id, as_json=json)


def _cancel(job_id: str, *, as_json: bool) -> None:
    with open_state(quiet=as_json) as state:
        found = find(state, job_id)
        answer = state.ask(verbs.cancel, found)
        if as_json:
            print_json({"job_id": found, "answer": answer})
        if answer in (Status.COMPLETED, Status.FAILED):
            raise typer.Exit(1) if as_json else WorkerError(f"Nothing to cancel: the job has {answer} already.")
        if answer != "requested":
            state.announce()  # what waited behind it for its repository
        if not as_json:
            state.out.print("Asked its worker to stop it." if answer == "requested" else "Cancelled.")


def retry(
    job_id: JobId = None,
    everything: All = False,
    status: Annotated[Retryable | None, typer.Option(help="With --all: jobs of this status; default failed.")] = None,
    job_type: JobType = None,
    repo: Repo = None,
    error_class: ErrorClass = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Enqueue a failed or cancelled job again, with new budgets, or with --all many; a queued one that waits runs now.

    Example: worker retry 019a
    """
    choice = Choice(job_type, repo, error_class, older_than, newer_than, limit)
    if _is_of_many(job_id, everything, choice, status, yes, dry_run):
        bulk = Bulk("Retry", "Queued again", Status(status or Retryable.FAILED), verbs.retry_one_of_many)
        act_on_many(bulk, choice, yes=yes, dry_run=dry_run, as_json=json)
    elif job_id is not None:
        _retry(job_id, as_json=json)


def _retry(job_id: str, *, as_json: bool) -> None:
    with open_state(quiet=as_json) as state:
        found = find(state, job_id)
        target = state.ask(verbs.retry_finished, found)
        is_hurried = target is None and state.ask(verbs.hurry, found)
        row: dict[str, Any] = state.ask(job_row, found)
        runs_as = found if is_hurried else target
        if runs_as is not None:
            state.announce(row["job_type"])
        if as_json:
            print_json({"job_id": found, "runs_as": runs_as} | ({"waited": True} if is_hurried else {}))
        if runs_as is None:
            current = looks.text(row["status"]).replace("_", " ")
            sentence = f"Only failed and cancelled jobs are retried, and queued ones that wait; this one is {current}."
            hint = "`worker index PATH_OR_URL --rebuild` does an index job's work anew."
            raise typer.Exit(1) if as_json else WorkerError(sentence, hint=hint)
        if not as_json:
            state.out.print(
                _retried(is_hurried, f"Job {target} is queued to do its work." if target != found else None)
            )


def _retried(is_hurried: bool, elsewhere: str | None) -> str:
    if is_hurried:
        return "It waited for its time; it is due now."
    return elsewhere or "Queued again."


def _is_of_many(job_id: str | None, everything: bool, choice: Choice, *others: object) -> bool:
    """Whether --all was said; wrong usage unless either that or a job was named."""
    if everything:
        if job_id is not None:
            raise typer.BadParameter("name a job, or say --all; not both")
        return True
    if choice != Choice() or any(others):
        raise typer.BadParameter("this choice of jobs needs --all")
    if job_id is None:
        raise typer.BadParameter("name a job, or choose many with --all")
    return False

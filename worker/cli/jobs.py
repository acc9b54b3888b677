"""jobs, job, logs: looking at jobs."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.padding import Padding

from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.repositories import find_repository
from worker.cli.state import Json, State, open_state
from worker.job import Status
from worker.queue.events import events_of
from worker.queue.look import deliveries_of, find_job, job_row, list_jobs, usage_of

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or the beginning or end of it.")]


class LogLevel(StrEnum):
    """How grave a log line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (jobs, job, logs):
        app.command()(command)


def jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs of this status.")] = None,
    repo: Annotated[str | None, typer.Option(help="Only jobs of this repository.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=10_000)] = 20,
    json: Json = False,
) -> None:
    """List jobs, newest first.

    Example: worker jobs --status failed
    """
    with open_state(quiet=json) as state:
        repository_id = find_repository(state, repo) if repo else None
        rows = state.ask(list_jobs, user_id=state.visible_user, status=status, repository_id=repository_id, limit=limit)
        if json:
            print_json(rows)
        elif rows:
            _print_jobs(state.out, rows)
        else:
            state.aside.print("No jobs." if status or repo else "No jobs yet: `worker index PATH_OR_URL` makes one.")


def _print_jobs(out: Console, rows: list[dict[str, Any]]) -> None:
    """A line a job, and below it why it is not completed; where there is room, on the same line."""
    wide = out.width >= looks.WIDE
    table = looks.table("id", "status", "type", "repository", "try", "queued", keep=("id", "status", "type", "queued"))
    if wide:
        table.add_column("note", overflow="fold")
    for row in rows:
        cells = (
            looks.identifier(out, row["id"]), looks.status(row["status"]), row["job_type"],
            looks.text(row["repository"]), str(row["attempt"]), looks.ago(row["queued_at"]),
        )  # fmt: skip
        table.add_row(*cells, *([looks.text(_note(row))] if wide else []))
    looks.show(out, table)
    if not wide:
        for row in rows:
            if _note(row):
                out.print(f"\n{looks.identifier(out, row['id'])} {looks.status(row['status'])}:")
                out.print(Padding(looks.text(_note(row)), (0, 0, 0, 2)))


def _note(row: dict[str, Any]) -> str | None:
    if row["status"] == Status.IN_PROGRESS:
        return (row["progress"] or {}).get("phase")
    return row["error_message"]


def job(job_id: JobId, json: Json = False) -> None:
    """Show a job: its row, deliveries, usage and events.

    Example: worker job 019a
    """
    with open_state(quiet=json) as state:
        found = find(state, job_id)
        facts = {
            "job": state.ask(job_row, found),
            "deliveries": state.ask(deliveries_of, found),
            "usage": state.ask(usage_of, found),
            "events": state.ask(events_of, found),
        }
        if json:
            print_json(facts)
        else:
            _print_job(state.out, facts)


def _print_job(out: Console, facts: dict[str, Any]) -> None:
    def line(name: str, value: str) -> None:
        out.print(f"{name.replace('_', ' '):12} {value}", soft_wrap=True)

    row = facts["job"]
    for name in ("id", "job_type", "repository", "git_url"):
        line(name, looks.text(row[name]))
    line("status", looks.status(row["status"]))
    if row["error_message"]:
        line("reason", f"{looks.text(row['error_message'])} [dim]({looks.text(row['error_class'])})[/]")
    line("attempts", f"{row['attempt']} (errors {row['errors']} of {row['max_attempts']}, crashes {row['crashes']})")
    for name in ("priority", "queued_at", "started_at", "finished_at"):
        line(name, looks.text(row[name]))
    for name, value in looks.result_lines(row["result"]) if "commit" in (row["result"] or {}) else []:
        line(name, value)
    for usage in facts["usage"]:
        line("billed", f"{usage['tokens_used']:,} tokens ({looks.text(usage['usage_type'])})")
    for delivery in facts["deliveries"]:
        line("delivery", f"{looks.text(delivery['delivery_id'])} {looks.status(delivery['status'])}")
    out.print()
    print_events(out, facts["events"])


def print_events(out: Console, events: list[dict[str, Any]]) -> None:
    """A job's events, one a line, their facts in brief."""
    table = looks.table("time", "event", "what", keep=("time", "event"))
    for event in events:
        words = [event["message"]] if event["message"] else []
        words += [f"{name}={value}" for name, value in (event["context"] or {}).items()]
        time = event["created_at"].strftime("%H:%M:%S.%f")[:-3]
        table.add_row(time, looks.text(event["event_type"]), looks.text(" ".join(words)))
    looks.show(out, table)


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only lines since then: 10m, 2h, 1d ago, or a date and time.")
    ] = None,
    level: Annotated[LogLevel, typer.Option(help="Only lines of this level or a graver one.")] = LogLevel.DEBUG,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only lines of this attempt.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the log's own lines: one JSON object each.")] = False,
    url: Annotated[
        bool, typer.Option("--url", help="Print where the finished log can be read for an hour, instead of the log.")
    ] = False,
) -> None:
    """Print a job's log, from all its attempts, as one.

    Example: worker logs 019a --follow
    """
    from worker.cli.logs import choice, print_log, print_url

    chosen = choice(since, level, attempt)
    with open_state(quiet=json or url) as state:
        if url:
            print_url(state, find(state, job_id))
        else:
            print_log(state, find(state, job_id), chosen, follow=follow, as_json=json)


def find(state: State, job_id: str) -> UUID:
    """A job by what people call it, of those this command may see."""
    return state.ask(find_job, job_id, user_id=state.visible_user)

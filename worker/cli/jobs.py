"""jobs, job, logs, cancel, retry, status: looking at the queue and acting on it."""

from typing import Annotated, Any

import typer
from rich.table import Table

from worker.catalog import repositories
from worker.cli import looks
from worker.cli.state import Json, State, open_state, print_json
from worker.job import Status
from worker.queue import cancel as cancelling
from worker.queue.depth import depth
from worker.queue.events import events_of
from worker.queue.look import deliveries_of, find_job, job_row, list_jobs, usage_of, workers

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or the beginning of it.")]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (jobs, job, logs, cancel, retry, status):
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
        repository_id = None
        if repo is not None:
            with state.connection() as connection:
                repository_id = repositories.find(connection, repo, state.visible_user)
        rows = state.ask(list_jobs, user_id=state.visible_user, status=status, repository_id=repository_id, limit=limit)
        if json:
            print_json(rows)
        else:
            state.out.print(_jobs_table(rows) if rows else "No jobs.")


def _jobs_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("id", "type", "status", "repository", "attempt", "queued", "note", box=None, pad_edge=False)
    for row in rows:
        progress = row["progress"] or {}
        note = row["error_message"] if row["status"] != "in_progress" else progress.get("phase")
        table.add_row(
            str(row["id"]), row["job_type"], looks.status(row["status"]), looks.text(row["repository"]),
            str(row["attempt"]), looks.ago(row["queued_at"]), looks.text(note),
        )  # fmt: skip
    return table


def job(job_id: JobId, json: Json = False) -> None:
    """Show a job: its row, deliveries, usage and events.

    Example: worker job 019a
    """
    with open_state(quiet=json) as state:
        found = state.ask(find_job, job_id)
        facts = {
            "job": state.ask(job_row, found),
            "deliveries": state.ask(deliveries_of, found),
            "usage": state.ask(usage_of, found),
            "events": state.ask(events_of, found),
        }
        if json:
            print_json(facts)
        else:
            _print_job(state, facts)


def _print_job(state: State, facts: dict[str, Any]) -> None:
    row = facts["job"]
    head = ("id", "job_type", "repository", "git_url", "priority", "attempt", "errors", "crashes")
    for name in head:
        state.out.print(f"{name.replace('_', ' '):15} {looks.text(row[name])}")
    state.out.print(f"{'status':15} {looks.status(row['status'])}")
    if row["error_message"]:
        state.out.print(f"{'reason':15} [red]{looks.text(row['error_class'])}[/]: {looks.text(row['error_message'])}")
    for name, value in looks.result_lines(row["result"]) if row["result"] and "commit" in row["result"] else []:
        state.out.print(f"{name:15} {value}")
    for delivery in facts["deliveries"]:
        state.out.print(f"{'delivery':15} {looks.text(delivery['delivery_id'])} {looks.status(delivery['status'])}")
    state.out.print()
    print_events(state, facts["events"])


def print_events(state: State, events: list[dict[str, Any]]) -> None:
    """A job's events as a table."""
    table = Table("time", "event", "message", "facts", box=None, pad_edge=False)
    for event in events:
        context = " ".join(f"{name}={value}" for name, value in (event["context"] or {}).items())
        table.add_row(
            event["created_at"].strftime("%H:%M:%S.%f")[:-3],
            event["event_type"],
            looks.text(event["message"]),
            looks.text(context),
        )
    state.out.print(table)


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    json: Json = False,
) -> None:
    """Print a job's log, from all its attempts, as one.

    Example: worker logs 019a --follow
    """
    from worker.cli.logs import print_log

    with open_state(quiet=json) as state:
        print_log(state, state.ask(find_job, job_id), follow=follow, as_json=json)


def cancel(job_id: JobId, json: Json = False) -> None:
    """Cancel a job: a queued one at once, a running one within a few seconds.

    Example: worker cancel 019a
    """
    with open_state(quiet=json) as state:
        found = state.ask(find_job, job_id)
        answer = state.ask(cancelling.cancel, found)
        if json:
            print_json({"job_id": found, "answer": answer})
        elif answer == "requested":
            state.out.print("Asked its worker to stop it.")
        else:
            state.out.print(f"{'Cancelled' if answer == 'cancelled' else f'Nothing to cancel: it is {answer}'}.")
        if answer in ("completed", "failed"):
            raise typer.Exit(1)


def retry(job_id: JobId, json: Json = False) -> None:
    """Enqueue a failed or cancelled job again, with new budgets.

    Example: worker retry 019a
    """
    with open_state(quiet=json) as state:
        found = state.ask(find_job, job_id)
        target = state.ask(cancelling.retry_finished, found)
        if json:
            print_json({"job_id": found, "runs_as": target})
        elif target is None:
            current = state.ask(job_row, found)["status"]
            state.out.print(f"Only failed and cancelled jobs are retried; this one is {looks.status(current)}.")
        else:
            state.out.print("Queued again." if target == found else f"Job {target} does its work already.")
        if target is None:
            raise typer.Exit(1)


def status(json: Json = False) -> None:
    """Show the queue's depth, the workers and the repositories.

    Example: worker status
    """
    with open_state(quiet=json) as state:
        waiting, alive = state.ask(depth), state.ask(workers)
        with state.connection() as connection:
            known = repositories.list_all(connection, state.visible_user)
        if json:
            print_json({"queue": [row._asdict() for row in waiting], "workers": alive, "repositories": known})
            return
        _print_status(state, [row._asdict() for row in waiting], alive)
        by_state: dict[str, int] = {}
        for row in known:
            by_state[row["sync_state"]] = by_state.get(row["sync_state"], 0) + 1
        counted = ", ".join(f"{count} {looks.status(name)}" for name, count in sorted(by_state.items()))
        state.out.print(f"\n[bold]Repositories[/]  {len(known)}{': ' + counted if counted else ''}")


def _print_status(state: State, waiting: list[dict[str, Any]], alive: list[dict[str, Any]]) -> None:
    queue = Table("type", "status", "jobs", "oldest", box=None, pad_edge=False, title="Queue", title_justify="left")
    for row in waiting:
        oldest = f"{row['oldest_seconds']:.0f} s"
        queue.add_row(row["job_type"], looks.status(row["status"]), str(row["jobs"]), oldest)
    state.out.print(queue if waiting else "[bold]Queue[/]  empty")
    table = Table("worker", "host", "state", "jobs", "seen", box=None, pad_edge=False)
    table.title, table.title_justify = "Workers", "left"
    for row in alive:
        running = f"{row['running']}/{row['slots']}"
        seen = looks.ago(row["last_seen_at"])
        table.add_row(looks.short(row["id"]), looks.text(row["hostname"]), looks.status(row["state"]), running, seen)
    state.out.print()
    state.out.print(table if alive else "[bold]Workers[/]  none: start one with `worker run`")

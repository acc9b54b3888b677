"""index: register a repository, enqueue its index job, follow it, print what came of it."""

from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.cli import looks
from worker.cli.follow import follow_job
from worker.cli.own import own_worker
from worker.cli.repositories import parse_url, register
from worker.cli.state import Json, State, open_state, print_json
from worker.job import FULL_INDEX
from worker.queue.enqueue import NewJob, enqueue, index_coalesce_key
from worker.queue.look import has_live_worker


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(index)


def index(
    place: Annotated[str, typer.Argument(metavar="PATH_OR_URL", help="A local repository or an https URL.")],
    branch: Annotated[str | None, typer.Option(help="Branch to index; default: the tracked one.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Do it again even if nothing changed.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Enqueue only, do not wait.")] = False,
    json: Json = False,
) -> None:
    """Index a repository and wait for it. Starts a worker of its own when none is running.

    Example: worker index .
    """
    with open_state(quiet=json) as state, ExitStack() as processes:
        repository_id, _ = register(state, parse_url(state, place), name=None, branch=branch)
        job_id = enqueue_index(state, repository_id, branch=branch, rebuild=rebuild)
        if detach:
            _print_enqueued(state, repository_id, job_id, as_json=json)
            return
        if not state.ask(has_live_worker, state.settings.worker_lease_seconds):
            processes.enter_context(own_worker())
        row = follow_job(state, job_id, quiet=json)
        if json:
            print_json({"repository_id": repository_id, "job_id": row["id"], "status": row["status"],
                        "error_class": row["error_class"], "error_message": row["error_message"],
                        **(row["result"] or {})})  # fmt: skip
        else:
            print_result(state, row)
        if row["status"] != "completed":
            raise typer.Exit(1)


def enqueue_index(state: State, repository_id: UUID, *, branch: str | None = None, rebuild: bool = False) -> UUID:
    """Enqueue a full index of a branch (None: the tracked one)."""
    ref = f"refs/heads/{branch}" if branch else None
    job = NewJob(
        FULL_INDEX,
        repository_id,
        {"ref": ref, "rebuild": rebuild},
        priority=10,
        coalesce_key=index_coalesce_key(repository_id, ref or "tracked"),
        max_attempts=state.settings.worker_max_attempts,
    )
    return state.ask(enqueue, job).job_id


def print_result(state: State, row: dict[str, Any]) -> None:
    """What came of an index job."""
    if row["status"] != "completed":
        state.out.print(f"{looks.status(row['status'])}: {looks.text(row['error_message'])} ({row['error_class']})")
        state.out.print(f"[dim]worker logs {row['id']} tells more.[/]")
        return
    state.out.print(f"{looks.text(row['repository'])} {looks.status(row['status'])}  [dim]job {row['id']}[/]")
    for name, value in looks.result_lines(row["result"]):
        state.out.print(f"  {name:14} {value}")


def _print_enqueued(state: State, repository_id: UUID, job_id: UUID, *, as_json: bool) -> None:
    if as_json:
        print_json({"repository_id": repository_id, "job_id": job_id, "status": "queued"})
    else:
        state.out.print(f"Enqueued job {job_id}.")

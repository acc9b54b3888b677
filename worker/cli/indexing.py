"""index: register a repository, enqueue its index job, follow it, print what came of it."""

from typing import Annotated, Any
from uuid import UUID

import typer

from worker.catalog import repositories
from worker.catalog.branches import load_repository
from worker.cli import looks
from worker.cli.follow import follow_job
from worker.cli.looks import print_json
from worker.cli.own import own_worker
from worker.cli.repositories import check_branches, parse_url, register
from worker.cli.state import Json, State, open_state
from worker.errors import BranchNotFound
from worker.job import FULL_INDEX, Status
from worker.queue.enqueue import NewJob, enqueue, index_coalesce_key
from worker.queue.look import has_live_worker


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(index)


def index(
    place: Annotated[str, typer.Argument(metavar="PATH_OR_URL", help="A local repository or an https URL.")],
    branch: Annotated[
        str | None, typer.Option(help="Branch to index, and to track as well from now on; default: the main one.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Do it again even if nothing changed.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Enqueue only, do not wait.")] = False,
    json: Json = False,
) -> None:
    """Index a repository and wait for it. Starts a worker of its own when none is running.

    Example: worker index .
    """
    check_branches([branch] if branch is not None else ())
    with open_state(quiet=json) as state:
        repository_id, created = register(state, parse_url(state, place), name=None)
        is_new = branch is not None and _track(state, repository_id, branch, is_main=created, quiet=json)
        job_id = enqueue_index(state, repository_id, rebuild=rebuild, branch=branch)
        if detach:
            _print_enqueued(state, repository_id, job_id, as_json=json)
            return
        row = _wait(state, job_id, quiet=json)
        if branch is not None and is_new and row["error_class"] == BranchNotFound.code:
            with state.connection() as connection:
                repositories.forget_branch(connection, repository_id, branch)
        if json:
            facts = {name: row[name] for name in ("status", "error_class", "error_message")}
            print_json({"repository_id": repository_id, "job_id": row["id"], **facts, **(row["result"] or {})})
        else:
            print_result(state, row)
        if row["status"] != Status.COMPLETED:
            raise typer.Exit(1)


def _track(state: State, repository_id: UUID, branch: str, *, is_main: bool, quiet: bool) -> bool:
    """A new repository's main branch; one more of a known repository. Answers whether it was not tracked before."""
    with state.connection() as connection:
        if is_main:
            repositories.choose_main(connection, repository_id, branch)
            return True
        is_new = repositories.track(connection, repository_id, branch)
        if is_new and not quiet:
            remark = f"{branch} is tracked beside the main branch; `worker repo add URL --branch` chooses that."
            state.aside.print(looks.text(remark), style="dim")
        return is_new


def enqueue_index(state: State, repository_id: UUID, *, rebuild: bool = False, branch: str | None = None) -> UUID:
    """Enqueue a full index, of the main branch if none is named; a push to that branch joins it while it waits."""
    with state.connection() as connection:
        repository = load_repository(connection, repository_id)
    chosen = branch or repository.branch
    branch = chosen or repository.default_branch
    ref = f"refs/heads/{branch}" if branch else None
    job = NewJob(
        FULL_INDEX,
        repository_id,
        {"ref": ref if chosen else None, "rebuild": rebuild},  # the default branch may be another by then
        priority=10,
        coalesce_key=index_coalesce_key(repository_id, ref or "tracked"),
        max_attempts=state.settings.worker_max_attempts,
    )
    job_id = state.ask(enqueue, job).job_id
    state.announce(FULL_INDEX)
    return job_id


def _wait(state: State, job_id: UUID, *, quiet: bool) -> dict[str, Any]:
    """The row of the ended job. Whoever stops waiting is told what becomes of it."""
    others = state.ask(has_live_worker, state.settings.worker_lease_seconds)
    try:
        if others:
            return follow_job(state, job_id, quiet=quiet)
        with own_worker() as own:
            return follow_job(state, job_id, quiet=quiet, check=own.check)
    except (KeyboardInterrupt, SystemExit):
        fate = "goes on without us" if others else "is back in the queue for `worker run` or `worker index`"
        state.aside.print(f"Job {job_id} {fate}; `worker cancel {job_id}` ends it.", style="dim")
        raise


def print_result(state: State, row: dict[str, Any]) -> None:
    """What came of an index job; a failure on stderr."""
    if row["status"] != Status.COMPLETED:
        reason = f"{looks.text(row['error_message'])} [dim]({looks.text(row['error_class'])})[/]"
        state.aside.print(f"{looks.status(row['status'])}: {reason}")
        state.aside.print(f"[dim]`worker logs {row['id']}` tells more.[/]")
        return
    name, status = looks.text(row["repository"]), looks.status(row["status"])
    state.out.print(f"{name} {status}  [dim]job {row['id']}[/]", soft_wrap=True)
    for label, value in looks.result_lines(row["result"]):
        state.out.print(f"  {label:11} {value}", soft_wrap=True)


def _print_enqueued(state: State, repository_id: UUID, job_id: UUID, *, as_json: bool) -> None:
    if as_json:
        print_json({"repository_id": repository_id, "job_id": job_id, "status": "queued"})
    else:
        state.out.print(f"Enqueued job {job_id}.", soft_wrap=True)

"""What becomes of an index job whose branch the server does not have: its paths go, unless it is the main branch."""

from datetime import timedelta
from typing import Any

from worker.catalog.branches import find_branch, load_repository, remove_branch
from worker.errors import JobError, Snooze
from worker.handlers.index_run import Run
from worker.handlers.payloads import IndexPayload
from worker.queue.finish import complete_in_transaction

NEW_BRANCH_LAG = timedelta(seconds=60)


def remove_missing(run: Run, payload: IndexPayload, missing: JobError) -> dict[str, Any]:
    """Take a branch out of the index that the server no longer has, whether or not somebody said that it was deleted.

    The main branch keeps its last state, and one never indexed has nothing to remove: `missing` is raised again.
    """
    repository = load_repository(run.connection, run.context.job.repository_id)
    name = payload.branch
    if name is None or name in repository.main_names:
        raise missing
    _wait_for_replica(run, payload)
    branch = find_branch(run.connection, repository.id, name)
    if branch is None and not payload.deleted:
        raise missing
    with run.connection.transaction():
        run.hold_job()
        files = remove_branch(run.connection, repository, branch) if branch else 0
        result = {"branch": name, "commit": None, "removed": True, "files": 0, "files_removed": files}
        complete_in_transaction(run.connection, run.context.job, result)
    run.context.log.info("removed", branch=name, files=files)
    run.context.published(result)
    return result


def _wait_for_replica(run: Run, payload: IndexPayload) -> None:
    """A push that made the branch is known before the server shows it."""
    job = run.context.job
    is_young = job.started_at - (payload.asked_at or job.queued_at) < NEW_BRANCH_LAG
    if is_young and payload.after is not None and not payload.deleted:
        raise Snooze(f"The server does not show branch {payload.branch} yet.", seconds=5)

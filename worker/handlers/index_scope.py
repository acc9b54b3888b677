"""Who may read a repository decides where its contents are kept, and that may change."""

from worker.catalog.branches import PUBLIC_SCOPE, Repository
from worker.catalog.publish import limit_transaction
from worker.catalog.rescope import rescope
from worker.handlers.index_run import Run
from worker.queue.finish import hold

SHARE_OF_LEASE = 0.45


def settle_scope(run: Run, repository: Repository, scope: int) -> None:
    """Before anything else is done: bring what is stored of the repository, of all its branches, into this scope."""
    was_made_public = scope == PUBLIC_SCOPE and repository.visibility == "private"
    if repository.content_scope is None or (repository.content_scope == scope and not was_made_public):
        return

    def hold_job() -> None:
        limit_transaction(run.connection, run.settings.worker_lease_seconds * SHARE_OF_LEASE)
        hold(run.connection, run.context.job)

    moved = rescope(run.connection, repository, scope, hold=hold_job)
    run.context.log.info("moved", contents=moved, public=scope == PUBLIC_SCOPE)

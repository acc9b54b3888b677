"""Who may read a repository decides where its contents are kept, and that may change."""

from worker.catalog.branches import PUBLIC_SCOPE, Repository
from worker.catalog.rescope import rescope
from worker.handlers.index_run import Run


def settle_scope(run: Run, repository: Repository, scope: int) -> None:
    """Before anything else is done: bring what is stored of the repository, of all its branches, into this scope."""
    was_made_public = scope == PUBLIC_SCOPE and repository.visibility == "private"
    if repository.content_scope is None or (repository.content_scope == scope and not was_made_public):
        return
    moved = rescope(run.connection, repository, scope, hold=run.hold_job)
    run.context.log.info("moved", contents=moved, public=scope == PUBLIC_SCOPE)

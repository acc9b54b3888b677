"""reconcile: one ls-remote, compared with what is indexed; what no webhook told becomes index jobs.

Here and not in maintenance: a private repository's token is only ever in its own job's child.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from worker.catalog.branches import PUBLIC_SCOPE, Repository, indexed_commits, load_repository
from worker.catalog.tracking import patterns_of, tracks
from worker.errors import AccessDenied, JobError, RepositoryNotFound, Snooze
from worker.git.resolve import DETACHED, Heads, resolve_heads
from worker.git.url import parse_repository_url
from worker.handlers.index_fetch import ask_as_stranger_first, is_public
from worker.handlers.payloads import ReconcilePayload
from worker.handlers.registry import handler
from worker.job import INCREMENTAL_UPDATE, RECONCILE, JobContext
from worker.queue.enqueue import NewJob, enqueue_with, index_coalesce_key
from worker.queue.reconcile import Moved, compared, put_off, without_failed

Connection = psycopg.Connection[dict[str, Any]]
DEFAULT_SECONDS = 3600.0  # of a job that somebody enqueued by hand where reconcile is off


@handler(RECONCILE, payload=ReconcilePayload)
def reconcile(context: JobContext, payload: ReconcilePayload) -> Mapping[str, Any]:
    """Compare a repository's tracked branches with its server."""
    with context.connect() as connection:
        repository = load_repository(connection, context.job.repository_id)
        try:
            heads, public = _ask(context, repository)
        except (AccessDenied, RepositoryNotFound) as refusal:
            shared = repository.content_scope == PUBLIC_SCOPE
            return _put_off(context, connection, repository, refusal, _main(repository) if shared else [])
        except JobError as problem:
            return _put_off(context, connection, repository, problem, [])
        indexed = indexed_commits(connection, repository.id)
        moved = without_failed(connection, repository.id, _moved(repository, indexed, heads))
        if not moved and _is_in_wrong_scope(repository, public):
            moved = _main(repository, heads)
        _enqueue(context, connection, repository, moved)
        compared(connection, repository.id, seconds=_seconds(context), missed=len(moved))
    missed = [one.name for one in moved]
    context.log.info("compared", branches=len(heads.commits), missed=missed)
    return {"reachable": True, "missed": missed}


def _put_off(
    context: JobContext, connection: Connection, repository: Repository, problem: JobError, moved: list[Moved]
) -> dict[str, Any]:
    """The server gave no answer: asked again ever later. `moved`: what an index job can act on all the same."""
    _enqueue(context, connection, repository, moved)
    least = problem.seconds if isinstance(problem, Snooze) else 0
    due = put_off(connection, repository.id, str(problem), seconds=_seconds(context), at_least=least)
    context.log.warning("not compared", reason=str(problem), due=str(due))
    return {"reachable": False, "missed": [one.name for one in moved], "problem": str(problem)}


def _seconds(context: JobContext) -> float:
    return context.settings.worker_reconcile_seconds or DEFAULT_SECONDS


def _enqueue(context: JobContext, connection: Connection, repository: Repository, moved: list[Moved]) -> None:
    for one in moved:
        enqueue_with(connection, _index_job(context, repository, one))


def _ask(context: JobContext, repository: Repository) -> tuple[Heads, bool]:
    """Where the tracked branches stand, and whether strangers may know."""
    settings = context.settings
    url = parse_repository_url(
        repository.git_url,
        allow_local=settings.allows_local_repositories,
        allow_private_hosts=settings.worker_allow_private_hosts,
    )
    names = [name for name in (repository.branch, *patterns_of(repository.branches)) if name]
    url, heads = ask_as_stranger_first(context, url, lambda known: resolve_heads(known, names))
    return heads, is_public(url)


def _moved(repository: Repository, indexed: Mapping[str, str | None], heads: Heads) -> list[Moved]:
    """Tracked branches whose commit is not the indexed one, and further ones that are gone."""
    main = repository.branch or heads.default_branch or DETACHED
    patterns = patterns_of(repository.branches)
    here = [name for name in sorted(heads.commits) if tracks(name, main=[main], patterns=patterns)]
    moved = [Moved(name, indexed.get(name), heads.commits[name]) for name in here]
    gone = [
        name
        for name in sorted(indexed.keys() - heads.commits.keys() - {main, *repository.main_names})
        if tracks(name, main=[], patterns=patterns)
    ]
    return [one for one in moved if one.before != one.after] + [Moved(name, indexed[name], None) for name in gone]


def _is_in_wrong_scope(repository: Repository, public: bool) -> bool:
    """A change of visibility that no event told: an index job moves the contents, above all out of the public pool."""
    return repository.content_scope is not None and (repository.content_scope == PUBLIC_SCOPE) != public


def _main(repository: Repository, heads: Heads | None = None) -> list[Moved]:
    name = repository.branch or (heads.default_branch if heads else repository.default_branch) or DETACHED
    return [Moved(name, None, heads.commits.get(name) if heads else None)]


def _index_job(context: JobContext, repository: Repository, moved: Moved) -> NewJob:
    payload = {
        "ref": None if moved.name == DETACHED else moved.ref,
        "before": moved.before,
        "after": moved.after,
        "deleted": moved.after is None and moved.before is not None,
        "hints": "unknown",
        "rebuild": False,
        "found_by": RECONCILE,
    }
    key = index_coalesce_key(repository.id, "tracked" if moved.name == DETACHED else moved.ref)
    attempts = context.settings.worker_max_attempts
    return NewJob(INCREMENTAL_UPDATE, repository.id, payload, coalesce_key=key, max_attempts=attempts)

"""The fetch steps: the tip's trees, and after the comparison those contents that are not stored yet."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from worker.catalog.blobs import known_blobs
from worker.catalog.oversize import oversize
from worker.errors import AccessDenied, GitNetworkError, RepositoryNotFound
from worker.git.cache import kept_repository
from worker.git.download import Download, FetchLimits
from worker.git.resolve import Tip, resolve_tip
from worker.git.url import RepositoryUrl
from worker.handlers.index_run import Plan, Run, Target
from worker.indexing.classify import Skip
from worker.indexing.compare import Changes, Version
from worker.indexing.languages import PARSER_VERSION, Language
from worker.job import JobContext

Answer = TypeVar("Answer")


def ask_for_tip(context: JobContext, url: RepositoryUrl, branch: str | None) -> tuple[RepositoryUrl, Tip]:
    """Where the branch stands, and the URL to fetch it by."""
    return ask_as_stranger_first(context, url, lambda known: resolve_tip(known, branch))


def ask_as_stranger_first(
    context: JobContext, url: RepositoryUrl, question: Callable[[RepositoryUrl], Answer]
) -> tuple[RepositoryUrl, Answer]:
    """The server's answer, and the URL that got it: as a stranger if that will do, else with the job's token.

    A repository that strangers may read is public whoever asks; so this question alone decides what may be shared.
    """
    try:
        return url, question(url)
    except (AccessDenied, RepositoryNotFound):
        known = context.git_token
        if known is None:
            raise
        if known.token is None:
            raise (GitNetworkError if known.passes else AccessDenied)(str(known.problem)) from None
        url = url.with_token(known.host, known.token)
        return url, question(url)


def is_public(url: RepositoryUrl) -> bool:
    """Whether strangers can read what this URL was just asked for: only then may owners share what is stored of it."""
    return url.scheme == "https" and url.authorization is None and not url.private_hosts


def kept_objects(run: Run, target: Target) -> AbstractContextManager[Path]:
    """Where to fetch to, for the length of the job: a repository of the scope's own, where one is kept."""
    settings = run.settings
    return kept_repository(
        settings.worker_git_cache_dir,
        f"{target.scope} {target.url.url}",
        max_bytes=settings.worker_git_cache_mb * 2**20,
        otherwise=run.context.workdir / "objects.git",
    )


def fetch_tree(run: Run, target: Target, git_dir: Path) -> Download:
    """The commit with its trees; with its contents as well, where nothing of the repository is indexed yet."""
    settings = run.settings
    limits = FetchLimits(
        bytes=settings.worker_max_fetch_mb * 2**20,
        seconds=settings.worker_timeout_seconds,
        file_bytes=settings.worker_max_file_bytes,
    )
    download = Download(
        target.url,
        target.tip.commit,
        git_dir,
        limits,
        on_bytes=lambda count: run.context.progress("fetch", count),
    )
    if target.repository.is_new:
        download.bring_whole()
    else:
        download.bring_trees()
    run.context.log.info("fetched", bytes=download.fetched, commit=target.tip.commit, whole=download.is_whole)
    return download


def fetch_contents(run: Run, target: Target, plan: Plan, download: Download) -> Plan:
    """Fetch what is not stored yet; the plan, with what turned out to be too large left out."""
    wanted = {(v.oid, v.lang) for path, v in plan.changes.write.items() if path not in plan.skips}
    if not download.is_whole:  # else they are here already
        wanted -= known_blobs(run.connection, target.scope, wanted, PARSER_VERSION).keys()
    oids = {oid for oid, _ in wanted}
    limit = run.settings.worker_max_file_bytes
    known = {} if download.is_whole else oversize(run.connection, target.scope, oids)
    large = {oid for oid, size in known.items() if size > limit}
    before = download.fetched
    sizes = download.bring_contents(oids - large)
    large |= {oid for oid in oids - large if sizes.get(oid, limit + 1) > limit}
    run.context.log.info("fetched", bytes=download.fetched - before, contents=len(sizes), too_large=len(large))
    return _without(plan, large, limit)


def _without(plan: Plan, large: set[bytes], limit: int) -> Plan:
    """Their size is "more than the limit": a server that leaves them out does not say how much more."""
    if not large:
        return plan
    write = dict(plan.changes.write)
    skips, sizes = dict(plan.skips), dict(plan.sizes)
    for path, version in plan.changes.write.items():
        if version.oid in large and path not in skips:
            write[path] = Version(version.oid, version.mode, int(Language.NONE), int(Skip.TOO_LARGE))
            skips[path], sizes[path] = Skip.TOO_LARGE, limit + 1
    changes = Changes(write, plan.changes.remove, plan.changes.unchanged)
    return replace(plan, changes=changes, skips=skips, sizes=sizes)

"""full_index and incremental_update: one pipeline of named steps, because the stored tree decides what is new.

resolve → fetch → compare → extract and store → publish. Each step takes what the last one found and hands on its own;
publish is one transaction with usage and the job's completion, guarded by the lease token.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from worker.catalog.blobs import BlobKey, NewBlob, known_blobs, store_blobs
from worker.catalog.branches import (
    PUBLIC_SCOPE,
    Branch,
    Repository,
    load_branch,
    load_repository,
    owner_scope,
)
from worker.catalog.files import stored_files, totals
from worker.catalog.publish import PublishedFile, advance, bill_blobs, limit_transaction, write_paths
from worker.errors import LeaseLost, Snooze
from worker.git.blobs import read_blobs
from worker.git.fetch import fetch_commit
from worker.git.resolve import Tip, resolve_tip
from worker.git.tree import TreeEntry, read_tree
from worker.git.url import RepositoryUrl, parse_repository_url
from worker.handlers.payloads import IndexPayload
from worker.handlers.registry import handler
from worker.indexing.classify import Skip, classify_entry
from worker.indexing.compare import Changes, Version, compare
from worker.indexing.languages import PARSER_VERSION, Language, language_of
from worker.indexing.pool import ExtractorPool
from worker.indexing.records import Extract, Task
from worker.indexing.tokens import TOKENIZER
from worker.job import FULL_INDEX, INCREMENTAL_UPDATE, JobContext
from worker.queue.finish import complete_in_transaction, hold
from worker.settings import Settings
from worker.usage.tokens import record_tokens

Connection = psycopg.Connection[dict[str, Any]]
BATCH_BYTES = 4_000_000
BATCH_BLOBS = 500
REPLICA_LAG = timedelta(seconds=60)


@dataclass(slots=True)
class Run:
    """What every step of one attempt shares: its surroundings and its stop watch."""

    context: JobContext
    settings: Settings
    connection: Connection
    pool: ExtractorPool
    _seconds: dict[str, float] = field(default_factory=dict)
    _now: tuple[str, float] | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a step and say that it runs."""
        self.context.progress(name)
        self._now = (name, time.perf_counter())
        yield
        self._seconds, self._now = self.seconds(), None

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, the running one as far as it has come: publish tells its own inside its transaction."""
        if self._now is None:
            return self._seconds
        name, started = self._now
        return {**self._seconds, name: round(time.perf_counter() - started, 3)}


@dataclass(frozen=True, slots=True)
class Target:
    """What to index: where from, which commit, into which branch and scope."""

    repository: Repository
    branch: Branch
    url: RepositoryUrl
    tip: Tip
    scope: int
    rebuild: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the tree comparison found. `sizes` in bytes and `skips` by path of the whole tree."""

    changes: Changes
    sizes: Mapping[str, int]
    skips: Mapping[str, Skip]
    git_dir: Path


@dataclass(frozen=True, slots=True)
class Stored:
    """Blob ids for every content the changes need, and what had to be parsed for them."""

    ids: Mapping[BlobKey, int]
    parsed: int
    symbols: int
    references: int


@handler(FULL_INDEX, payload=IndexPayload)
@handler(INCREMENTAL_UPDATE, payload=IndexPayload)
def index(context: JobContext, payload: IndexPayload) -> Mapping[str, Any]:
    """Make the index of a branch equal to the tree at its tip."""
    # The extractors are forked before anything asks for secrets: what parses foreign content holds none.
    with ExtractorPool(context.processes) as pool, context.connect() as connection:
        run = Run(context, context.settings, connection, pool)
        with run.phase("resolve"):
            target = _resolve(run, payload)
        if _is_current(target):
            return _publish_nothing_new(run, target)
        with run.phase("fetch"):
            git_dir, fetched = _fetch(run, target)
        with run.phase("compare"):
            plan = _compare(run, target, git_dir)
        with run.phase("extract"):
            stored = _extract(run, target, plan)
        with run.phase("publish"):
            return _publish(run, target, plan, stored, fetched)


def _resolve(run: Run, payload: IndexPayload) -> Target:
    """The branch's tip decides; the push's own commit is a hint."""
    repository = load_repository(run.connection, run.context.job.repository_id)
    url = parse_repository_url(
        repository.git_url,
        allow_local=run.settings.allows_local_repositories,
        allow_private_hosts=run.settings.worker_allow_private_hosts,
    )
    tip = resolve_tip(url, payload.branch or repository.branch)
    _wait_for_replica(run, payload, tip)
    branch = load_branch(run.connection, repository.id, tip.branch)
    # Everything is fetched without credentials here, so whatever a public host shows is public.
    is_public = url.scheme == "https" and not run.settings.worker_allow_private_hosts
    scope = PUBLIC_SCOPE if is_public else owner_scope(run.connection, repository.user_id)
    run.context.log.info("resolved", branch=tip.branch, commit=tip.commit, indexed=branch.commit)
    return Target(repository, branch, url, tip, scope, payload.rebuild)


def _wait_for_replica(run: Run, payload: IndexPayload, tip: Tip) -> None:
    """The push is known before the server shows it: come back, but not for long."""
    is_young = datetime.now(UTC) - run.context.job.queued_at < REPLICA_LAG
    if is_young and payload.before is not None and tip.commit == payload.before != payload.after:
        raise Snooze(f"The server still shows {payload.before[:12]}, not the pushed commit.", seconds=5)


def _is_current(target: Target) -> bool:
    branch = target.branch
    return branch.commit == target.tip.commit and branch.parser_version == PARSER_VERSION and not target.rebuild


def _fetch(run: Run, target: Target) -> tuple[Path, int]:
    git_dir = run.context.workdir / "objects.git"
    fetched = fetch_commit(
        target.url,
        target.tip.commit,
        git_dir,
        max_bytes=run.settings.worker_max_fetch_mb * 2**20,
        timeout=run.settings.worker_timeout_seconds,
        on_bytes=lambda count: run.context.progress("fetch", count),
    )
    run.context.log.info("fetched", bytes=fetched, commit=target.tip.commit)
    return git_dir, fetched


def _compare(run: Run, target: Target, git_dir: Path) -> Plan:
    """The tree against the stored map: only what differs is looked at again."""
    tree: dict[str, Version] = {}
    sizes: dict[str, int] = {}
    skips: dict[str, Skip] = {}
    for entry in read_tree(git_dir, target.tip.commit, max_paths=run.settings.worker_max_files):
        path, skip = _path_and_skip(entry, run.settings.worker_max_file_bytes)
        language = language_of(path) if skip is Skip.NONE else Language.NONE
        tree[path] = Version(entry.oid, entry.mode, int(language))
        sizes[path] = entry.size or 0
        if skip is not Skip.NONE:
            skips[path] = skip
    changes = compare(tree, _stored_versions(run, target))
    facts = {"write": len(changes.write), "remove": len(changes.remove), "unchanged": changes.unchanged}
    run.context.log.info("compared", paths=len(tree), **facts)
    return Plan(changes, sizes, skips, git_dir)


def _stored_versions(run: Run, target: Target) -> dict[str, Version]:
    """What is stored; after a parser change, or for a rebuild, nothing counts as stored but paths to remove."""
    stored = stored_files(run.connection, target.repository.repo_no, target.branch.branch_no)
    if target.branch.parser_version == PARSER_VERSION and not target.rebuild:
        return {path: Version(file.oid, file.mode, file.lang) for path, file in stored.items()}
    return dict.fromkeys(stored, Version(b"", 0, 0))


def _path_and_skip(entry: TreeEntry, max_file_bytes: int) -> tuple[str, Skip]:
    """A path that text cannot hold is shown escaped and not read."""
    if entry.path is None:
        return entry.raw_path.decode("ascii", "backslashreplace").replace("\0", ""), Skip.BAD_PATH
    return entry.path, classify_entry(entry.path, entry.mode, entry.size, max_file_bytes=max_file_bytes)


def _extract(run: Run, target: Target, plan: Plan) -> Stored:
    """Read, parse and store every content that is not stored yet, in small committed batches."""
    wanted: dict[BlobKey, str] = {(v.oid, v.lang): path for path, v in plan.changes.write.items()}
    ids = dict(known_blobs(run.connection, target.scope, wanted, PARSER_VERSION))
    missing = {key: path for key, path in wanted.items() if key not in ids}
    unread = [_unread(key, path, plan) for key, path in missing.items() if path in plan.skips]
    for start in range(0, len(unread), BATCH_BLOBS):
        ids |= store_blobs(run.connection, target.scope, PARSER_VERSION, unread[start : start + BATCH_BLOBS])
    to_read = {key: path for key, path in missing.items() if path not in plan.skips}
    counts: Counter[str] = Counter()
    for batch in _batches(run.pool.extract(_tasks(plan.git_dir, to_read))):
        ids |= store_blobs(run.connection, target.scope, PARSER_VERSION, [_new_blob(extract) for extract in batch])
        counts["parsed"] += len(batch)
        counts["symbols"] += sum(len(extract.symbols) for extract in batch)
        counts["references"] += sum(len(extract.references) for extract in batch)
        _tell_what_was_left_out(run, to_read, batch)
        run.context.progress("extract", counts["parsed"], len(to_read))
    run.context.log.info("extracted", **counts, reused=len(wanted) - len(missing))
    return Stored(ids, counts["parsed"], counts["symbols"], counts["references"])


def _unread(key: BlobKey, path: str, plan: Plan) -> NewBlob:
    """A row for an object nobody read, so that nothing is silently left out."""
    oid, language = key
    return NewBlob(oid, language, int(plan.skips[path]), plan.sizes[path])


def _tasks(git_dir: Path, to_read: Mapping[BlobKey, str]) -> Iterator[Task]:
    keys = list(to_read)
    for (oid, language), (_, content) in zip(keys, read_blobs(git_dir, [key[0] for key in keys]), strict=True):
        yield Task(oid, to_read[oid, language], Language(language), content)


def _batches(extracts: Iterator[Extract]) -> Iterator[list[Extract]]:
    """Batches by bytes and by count: bounded memory here, bounded transactions there."""
    batch: list[Extract] = []
    size = 0
    for extract in extracts:
        batch.append(extract)
        size += extract.size
        if size >= BATCH_BYTES or len(batch) >= BATCH_BLOBS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _new_blob(extract: Extract) -> NewBlob:
    return NewBlob(
        oid=extract.oid,
        lang=int(extract.lang),
        skip=int(extract.skip),
        size=extract.size,
        sha256=extract.sha256,
        tokens=extract.tokens,
        line_count=extract.line_count,
        content=extract.content,
        note=extract.reason,
        symbols=[(s.line, s.end_line, int(s.kind), s.parent, s.name, s.qualname, s.signature) for s in extract.symbols],
        references=[(int(r.kind), r.name, r.lines) for r in extract.references],
    )


def _tell_what_was_left_out(run: Run, paths: Mapping[BlobKey, str], batch: list[Extract]) -> None:
    for extract in batch:
        if extract.skip is Skip.POISON or extract.reason:
            path = paths[extract.oid, int(extract.lang)]
            run.context.log.warning("left out", path=path, skip=extract.skip.name.lower(), reason=extract.reason)


def _publish(run: Run, target: Target, plan: Plan, stored: Stored, fetched: int) -> dict[str, Any]:
    """One transaction, guarded by the lease token: paths, commit, usage, deliveries and the job's completion."""
    changes, connection, job = plan.changes, run.connection, run.context.job
    files = {
        path: PublishedFile(stored.ids[version.oid, version.lang], version.mode, int(plan.skips.get(path, Skip.NONE)))
        for path, version in changes.write.items()
    }
    with connection.transaction():
        limit_transaction(connection, run.settings.worker_lease_seconds * 0.45)
        hold(connection, job)
        write_paths(connection, target.repository, target.branch, write=files, remove=changes.remove)
        tokens = bill_blobs(connection, job.id, [file.blob_id for file in files.values()])
        record_tokens(connection, job, tokens, api_key_id=target.repository.api_key_id, tokenizer=TOKENIZER)
        _advance(run, target, size_bytes=sum(plan.sizes.values()))
        facts = {
            "files_changed": len(changes.write) + len(changes.remove),
            "files_removed": len(changes.remove),
            "files_parsed": stored.parsed,
            "symbols_parsed": stored.symbols,
            "references_parsed": stored.references,
            "tokens_billed": tokens,
            "bytes_fetched": fetched,
        }
        result = _result(run, target, facts)
        complete_in_transaction(connection, job, result)
    run.context.published(result)
    return result


def _publish_nothing_new(run: Run, target: Target) -> dict[str, Any]:
    """The branch stands where it stood: nothing is written but the job's completion."""
    facts = dict.fromkeys(
        ["files_changed", "files_removed", "files_parsed", "symbols_parsed", "references_parsed", "tokens_billed"], 0
    )
    with run.connection.transaction():
        limit_transaction(run.connection, run.settings.worker_lease_seconds * 0.45)
        hold(run.connection, run.context.job)
        result = _result(run, target, {**facts, "bytes_fetched": 0, "unchanged": True})
        complete_in_transaction(run.connection, run.context.job, result)
    run.context.published(result)
    return result


def _advance(run: Run, target: Target, *, size_bytes: int) -> None:
    moved = advance(
        run.connection,
        target.repository,
        target.branch,
        commit=target.tip.commit,
        parser_version=PARSER_VERSION,
        size_bytes=size_bytes,
        default_branch=target.tip.default_branch,
        visibility="public" if target.scope == PUBLIC_SCOPE else None,
    )
    if not moved:
        raise LeaseLost("Another attempt has published this branch meanwhile; nothing was published.")


def _result(run: Run, target: Target, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the job's row, the command line and the log say of a finished index job."""
    count = totals(run.connection, target.repository.repo_no, target.branch.branch_no)
    return {
        "commit": target.tip.commit,
        "branch": target.branch.name,
        "files": count.files,
        "skipped": count.skipped,
        "symbols": count.symbols,
        "references": count.references,
        "tokens": count.tokens,
        "size_bytes": count.size_bytes,
        **facts,
        "seconds": run.seconds(),
    }

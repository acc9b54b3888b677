"""full_index and incremental_update: one pipeline of named steps, because the stored tree decides what is new.

resolve → fetch trees → compare → fetch contents → extract and store → link → publish. Each step takes what the last one
found and hands on its own; publish is one transaction with usage and the job's completion, guarded by the lease token.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from worker.catalog.branches import PUBLIC_SCOPE, load_branch, load_repository, owner_scope
from worker.catalog.files import StoredFile, stored_files, stored_texts
from worker.errors import AccessDenied, BranchNotFound, EmptyRepository, RepositoryNotFound, Snooze
from worker.git.blobs import read_blobs
from worker.git.download import Download
from worker.git.resolve import Tip
from worker.git.tree import TreeEntry
from worker.git.url import parse_repository_url
from worker.handlers.index_extract import extract_and_store
from worker.handlers.index_fetch import ask_for_tip, fetch_contents, fetch_tree, is_public, kept_objects
from worker.handlers.index_link import link
from worker.handlers.index_publish import publish, publish_nothing_new
from worker.handlers.index_remove import remove_missing
from worker.handlers.index_run import Plan, Run, Target
from worker.handlers.index_scope import settle_scope
from worker.handlers.payloads import IndexPayload
from worker.handlers.registry import handler
from worker.indexing.attributes import NAME as ATTRIBUTES
from worker.indexing.attributes import Attributes
from worker.indexing.classify import Skip, classify_entry
from worker.indexing.compare import Version, compare
from worker.indexing.languages import PARSER_VERSION, Language, language_of
from worker.indexing.pool import ExtractorPool
from worker.job import FULL_INDEX, INCREMENTAL_UPDATE, JobContext

REPLICA_LAG = timedelta(seconds=60)
REGULAR_MODES = (0o100644, 0o100755, 0o100664)
MOST_ATTRIBUTE_FILES = 200
MOST_ATTRIBUTE_BYTES = 200_000


@handler(FULL_INDEX, payload=IndexPayload)
@handler(INCREMENTAL_UPDATE, payload=IndexPayload)
def index(context: JobContext, payload: IndexPayload) -> Mapping[str, Any]:
    """Make the index of a branch equal to the tree at its tip."""
    # The extractors are forked before anything asks for secrets: what parses foreign content holds none.
    with ExtractorPool(context.processes) as pool, context.connect() as connection:
        run = Run(context, context.settings, connection, pool)
        try:
            with run.phase("resolve"):
                target = _resolve(run, payload)
        except (BranchNotFound, EmptyRepository) as missing:
            return remove_missing(run, payload, missing)
        if _is_current(target):
            return publish_nothing_new(run, target)
        with kept_objects(run, target) as git_dir:
            with run.phase("fetch"):
                download = fetch_tree(run, target, git_dir)
            with run.phase("compare"):
                plan = _compare(run, target, download)
            with run.phase("fetch"):
                plan = fetch_contents(run, target, plan, download)
            with run.phase("extract"):
                stored = extract_and_store(run, target, plan)
        with run.phase("link"):
            edges = link(run, target, plan, stored)
        with run.phase("publish"):
            return publish(run, target, plan, stored, edges, download)


def _resolve(run: Run, payload: IndexPayload) -> Target:
    """The branch's tip decides; the push's own commit is a hint."""
    repository = load_repository(run.connection, run.context.job.repository_id)
    url = parse_repository_url(
        repository.git_url,
        allow_local=run.settings.allows_local_repositories,
        allow_private_hosts=run.settings.worker_allow_private_hosts,
    )
    try:
        url, tip = ask_for_tip(run.context, url, payload.branch or repository.branch)
    except (AccessDenied, RepositoryNotFound):
        settle_scope(run, repository, owner_scope(run.connection, repository.user_id))
        raise
    _wait_for_replica(run, payload, tip)
    scope = PUBLIC_SCOPE if is_public(url) else owner_scope(run.connection, repository.user_id)
    settle_scope(run, repository, scope)
    branch = load_branch(run.connection, repository.id, tip.branch)
    run.context.log.info("resolved", branch=tip.branch, commit=tip.commit, indexed=branch.commit)
    return Target(repository, branch, url, tip, scope, payload.rebuild)


def _wait_for_replica(run: Run, payload: IndexPayload, tip: Tip) -> None:
    """The push is known before the server shows it: come back, but not for long."""
    job = run.context.job
    is_young = job.started_at - (payload.asked_at or job.queued_at) < REPLICA_LAG  # all by the clock of Postgres
    is_moved = payload.after not in (None, tip.commit) or payload.deleted
    is_stale = is_moved and tip.commit in (payload.before, *payload.befores)
    if is_young and is_stale:
        raise Snooze(f"The server still shows {tip.commit[:12]}, not the pushed commit.", seconds=5)


def _is_current(target: Target) -> bool:
    branch = target.branch
    return branch.commit == target.tip.commit and branch.parser_version >= PARSER_VERSION and not target.rebuild


def _compare(run: Run, target: Target, download: Download) -> Plan:
    """The tree against the stored map: only what differs is looked at again."""
    tree: dict[str, Version] = {}
    sizes: dict[str, int] = {}
    skips: dict[str, Skip] = {}
    stored = stored_files(run.connection, target.repository.repo_no, target.branch.branch_no)
    known_sizes = {file.oid: file.size for file in stored.values()}
    entries = download.entries(max_paths=run.settings.worker_max_files)
    attributes = _attributes(run, target, download, entries)
    for entry in entries:
        size = known_sizes.get(entry.oid)
        path, skip = _path_and_skip(entry, size, run.settings.worker_max_file_bytes, attributes)
        language = language_of(path) if skip is Skip.NONE else Language.NONE
        tree[path] = Version(entry.oid, entry.mode, int(language), int(skip))
        if skip is not Skip.NONE:
            skips[path] = skip
            sizes[path] = known_sizes[entry.oid] if skip is Skip.TOO_LARGE else 0
    changes = compare(tree, _versions(stored, target))
    facts = {"write": len(changes.write), "remove": len(changes.remove), "unchanged": changes.unchanged}
    run.context.log.info("compared", paths=len(tree), **facts)
    return Plan(changes, sizes, skips, download.git_dir)


def _versions(stored: Mapping[str, StoredFile], target: Target) -> dict[str, Version]:
    """What is stored; after a parser change, or for a rebuild, nothing counts as stored but paths to remove."""
    if target.branch.parser_version >= PARSER_VERSION and not target.rebuild:
        return {path: Version(file.oid, file.mode, file.lang, file.skip) for path, file in stored.items()}
    return dict.fromkeys(stored, Version(b"", 0, 0))


def _attributes(run: Run, target: Target, download: Download, entries: Sequence[TreeEntry]) -> Attributes:
    """What the tree's .gitattributes say; most are stored already, the others are fetched."""
    files = {
        entry.path: entry.oid
        for entry in entries
        if entry.path is not None and entry.path.rpartition("/")[2] == ATTRIBUTES and entry.mode in REGULAR_MODES
    }
    oids = {files[path] for path in sorted(files, key=lambda path: (path.count("/"), path))[:MOST_ATTRIBUTE_FILES]}
    texts = stored_texts(run.connection, target.scope, oids, max_bytes=MOST_ATTRIBUTE_BYTES)
    sizes = download.bring_contents(oids - texts.keys())
    small = [oid for oid, size in sizes.items() if oid not in texts and size <= MOST_ATTRIBUTE_BYTES]
    texts |= {oid: content.decode("utf-8", "replace") for oid, content in read_blobs(download.git_dir, small)}
    return Attributes({path: texts[oid] for path, oid in files.items() if oid in texts})


def _path_and_skip(entry: TreeEntry, size: int | None, max_file_bytes: int, attributes: Attributes) -> tuple[str, Skip]:
    """A path that text cannot hold is shown escaped and not read; a size nobody knows yet is judged after the fetch."""
    if entry.path is None:
        return _shown(entry.raw_path), Skip.BAD_PATH
    return entry.path, classify_entry(
        entry.path, entry.mode, size, max_file_bytes=max_file_bytes, attributes=attributes
    )


def _shown(raw_path: bytes) -> str:
    """At most 2,000 characters: an index entry holds 2,704 bytes. The hash keeps two long ones apart."""
    text = raw_path.decode("ascii", "backslashreplace").replace("\0", "")
    return text if len(text) <= 2_000 else f"{text[:1_900]}...{hashlib.sha256(raw_path).hexdigest()}"

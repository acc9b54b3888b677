"""The part of publish that belongs to schema idx: paths, commit and generation, and what the job has to pay for.

Everything here runs inside the one transaction in which the handler also records usage and completes the job.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.catalog.branches import PUBLIC_SCOPE, Branch, Repository
from worker.catalog.files import Totals
from worker.errors import ContentGone

Connection = psycopg.Connection[dict[str, Any]]
Row = TypeVar("Row")
PATHS_A_STATEMENT = 20_000
"""So many rows a statement: each has a time limit, which those of a large repository at once would not keep."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One path to write: the blob it shows, its mode, and why it was not read (0: it was)."""

    blob_id: int
    mode: int
    skip: int


_LIMITS = """
select set_config('statement_timeout', %(ms)s, true), set_config('lock_timeout', %(ms)s, true),
       set_config('idle_in_transaction_session_timeout', %(ms)s, true)"""
_REMOVE = "delete from idx.files where repo_no = %s and branch_no = %s and path = any (%s)"
_WRITE = """
insert into idx.files (repo_no, branch_no, path, blob_id, mode, skip)
select %s, %s, w.* from unnest(%s::text[], %s::bigint[], %s::int[], %s::smallint[]) w
on conflict (repo_no, branch_no, path) do update
    set blob_id = excluded.blob_id, mode = excluded.mode, skip = excluded.skip"""
# Key share is what the foreign key of idx.files takes as well: publishes that share blobs do not wait for each other,
# and the collector does not take what is held.
_PIN = """
select count(*) as held from (
    select from idx.blobs where id = any (%s) and scope = %s order by id for key share
) x"""
_SHOWN = "select distinct blob_id from idx.files where repo_no = %s and branch_no = %s and path = any (%s)"
_LEFT = """
update idx.upkeep set touched_at = now()
where blob_id in (select blob_id from idx.upkeep where blob_id = any (%s) order by blob_id for no key update)"""
_BILL = """
with billed as (
    update idx.upkeep set billed_by = %s
    where blob_id in (
        select u.blob_id from idx.upkeep u join idx.blobs b on b.id = u.blob_id
        where u.blob_id = any (%s) and u.billed_by is null and b.billed_by is null
        order by u.blob_id for no key update of u)
    returning blob_id
)
select coalesce(sum(b.tokens), 0)::bigint as tokens from billed join idx.blobs b on b.id = billed.blob_id"""
_ADVANCE_BRANCH = """
update public.repository_branches
set commit = %(commit)s, generation = generation + 1, parser_version = %(parser_version)s, indexed_at = now(),
    totals = %(totals)s
where repository_id = %(repository)s and branch_no = %(branch_no)s and generation = %(generation)s"""
_ADVANCE_REPOSITORY = """
update public.repositories
set default_branch = coalesce(%(default_branch)s, default_branch),
    last_indexed_commit = case when %(is_main)s then %(commit)s else last_indexed_commit end,
    last_indexed_at = case when %(is_main)s then now() else last_indexed_at end,
    size_bytes = case when %(is_main)s then %(size)s else size_bytes end,
    index_generation = index_generation + 1, content_scope = %(scope)s,
    visibility = coalesce(%(visibility)s, visibility), updated_at = now()
where id = %(repository)s"""


def limit_transaction(connection: Connection, seconds: float) -> None:
    """SET LOCAL time-outs: a paused worker or a half-open pooler cannot hold the job's row against a rescue."""
    connection.execute(_LIMITS, {"ms": str(int(seconds * 1000))})


def pin(connection: Connection, scope: int, blob_ids: Collection[int]) -> None:
    """Hold these blobs for the rest of the transaction; raises ContentGone when one is not in the scope now."""
    held = 0
    for some in _slices(sorted(blob_ids)):
        row = connection.execute(_PIN, (some, scope)).fetchone()
        held += row["held"] if row else 0
    if held != len(blob_ids):
        raise ContentGone("Contents that this job was going to use went away meanwhile; the next attempt reads them.")


def write_paths(
    connection: Connection,
    repository: Repository,
    branch: Branch,
    *,
    write: Mapping[str, PublishedFile],
    remove: Sequence[str],
) -> None:
    """Make the branch's paths what the new tree says."""
    where = (repository.repo_no, branch.branch_no)
    if branch.commit is not None:  # a content that loses its last path here has its grace time from now on
        _begin_grace(connection, where, [*write, *remove])
    for some in _slices(remove):
        connection.execute(_REMOVE, (*where, list(some)))
    for some in _slices(sorted(write)):
        files = [write[path] for path in some]
        blob_ids, modes = [file.blob_id for file in files], [file.mode for file in files]
        connection.execute(_WRITE, (*where, list(some), blob_ids, modes, [file.skip for file in files]))


def _begin_grace(connection: Connection, where: tuple[int, int], paths: Sequence[str]) -> None:
    """For what these paths show now; by id, as everybody locks these rows."""
    shown: set[int] = set()
    for some in _slices(paths):
        shown |= {row["blob_id"] for row in connection.execute(_SHOWN, (*where, list(some))).fetchall()}
    for some in _slices(sorted(shown)):
        connection.execute(_LEFT, (list(some),))


def bill_blobs(connection: Connection, job_id: UUID, blob_ids: Sequence[int]) -> int:
    """Mark these blobs as paid for by this job where nobody has paid yet; answers the tokens it pays for."""
    tokens = 0
    for some in _slices(sorted(set(blob_ids))):
        row = connection.execute(_BILL, (job_id, list(some))).fetchone()
        assert row is not None
        tokens += row["tokens"]
    return tokens


def advance(
    connection: Connection,
    repository: Repository,
    branch: Branch,
    *,
    commit: str,
    parser_version: int,
    totals: Totals,
    default_branch: str | None,
    scope: int,
) -> bool:
    """Set the indexed commit, of the repository too if this is its main branch.

    False when somebody else has published this branch since it was loaded.
    """
    facts = {
        "repository": repository.id,
        "branch_no": branch.branch_no,
        "generation": branch.generation,
        "commit": commit,
        "parser_version": parser_version,
        "size": totals.size_bytes,
        "totals": Jsonb({**asdict(totals), "generation": branch.generation + 1}),
        "default_branch": default_branch,
        "scope": scope,
        "visibility": "public" if scope == PUBLIC_SCOPE else None,
        "is_main": branch.name == (repository.branch or default_branch or branch.name),
    }
    if connection.execute(_ADVANCE_BRANCH, facts).rowcount == 0:
        return False
    connection.execute(_ADVANCE_REPOSITORY, facts)
    return True


def _slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), PATHS_A_STATEMENT):
        yield rows[start : start + PATHS_A_STATEMENT]

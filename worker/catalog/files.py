"""The path → version map of an indexed branch, as stored."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One indexed path: its object's id, mode in the tree and size; the language number it was read as, or why not."""

    oid: bytes
    mode: int
    lang: int
    skip: int
    size: int


_FILES = """
select f.path, b.oid, f.mode, b.lang, f.skip, b.size
from idx.files f join idx.blobs b on b.id = f.blob_id
where f.repo_no = %s and f.branch_no = %s"""
# Counted by reason first: a branch has thousands of paths and eleven reasons.
_TOTALS = """
with counted as materialized (
    select case when f.skip <> 0 then f.skip else b.skip end as skip, count(*) as files,
           sum(b.symbol_count) as symbols, sum(b.ref_count) as refs, sum(b.size) as bytes, sum(b.tokens) as tokens
    from idx.files f join idx.blobs b on b.id = f.blob_id
    where f.repo_no = %s and f.branch_no = %s
    group by 1
)
select coalesce(sum(c.files), 0)::bigint as files, coalesce(sum(c.symbols), 0)::bigint as symbols,
       coalesce(sum(c.refs), 0)::bigint as refs, coalesce(sum(c.tokens), 0)::bigint as tokens,
       coalesce(sum(c.bytes), 0)::bigint as bytes,
       coalesce(jsonb_object_agg(s.name, c.files) filter (where c.skip <> 0), '{}') as skipped
from counted c join idx.skip_reasons s on s.skip = c.skip"""
_TEXTS = """
select oid, content from idx.blobs
where scope = %s and oid = any (%s) and lang = 0 and skip = 0 and content is not null and size <= %s"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a branch holds: counts, bytes of all objects, and files left out by reason."""

    files: int
    symbols: int
    references: int
    tokens: int
    size_bytes: int
    skipped: dict[str, int]


def stored_files(connection: Connection, repo_no: int, branch_no: int) -> dict[str, StoredFile]:
    """Every indexed path of a branch."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_FILES, (repo_no, branch_no), binary=True)
        return {path: StoredFile(*file) for path, *file in cursor}


def totals(connection: Connection, repo_no: int, branch_no: int) -> Totals:
    """Count a branch as it stands, inside a publish as it will stand."""
    row = connection.execute(_TOTALS, (repo_no, branch_no)).fetchone()
    assert row is not None
    skipped = dict(sorted(row["skipped"].items()))
    return Totals(row["files"], row["symbols"], row["refs"], row["tokens"], row["bytes"], skipped)


def stored_texts(connection: Connection, scope: int, oids: Collection[bytes], *, max_bytes: int) -> dict[bytes, str]:
    """The texts of those contents that are stored as plain text in this scope, and are no longer than that."""
    rows = connection.execute(_TEXTS, (scope, sorted(oids), max_bytes)).fetchall() if oids else []
    return {row["oid"]: row["content"] for row in rows}

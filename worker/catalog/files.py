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
_TOTALS = """
select count(*) as files, coalesce(sum(b.symbol_count), 0)::bigint as symbols,
       coalesce(sum(b.ref_count), 0)::bigint as refs, coalesce(sum(b.size), 0)::bigint as bytes,
       coalesce(sum(b.tokens), 0)::bigint as tokens
from idx.files f join idx.blobs b on b.id = f.blob_id
where f.repo_no = %s and f.branch_no = %s"""
_SKIPPED = """
select s.name, count(*) as files
from idx.files f
join idx.blobs b on b.id = f.blob_id
join idx.skip_reasons s on s.skip = case when f.skip <> 0 then f.skip else b.skip end
where f.repo_no = %s and f.branch_no = %s and s.skip <> 0
group by s.name order by s.name"""


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
    skipped = {line["name"]: line["files"] for line in connection.execute(_SKIPPED, (repo_no, branch_no))}
    return Totals(row["files"], row["symbols"], row["refs"], row["tokens"], row["bytes"], skipped)


def stored_texts(connection: Connection, scope: int, oids: Collection[bytes], *, max_bytes: int) -> dict[bytes, str]:
    """The texts of those contents that are stored as plain text in this scope, and are no longer than that."""
    rows = connection.execute(_TEXTS, (scope, sorted(oids), max_bytes)).fetchall() if oids else []
    return {row["oid"]: row["content"] for row in rows}

"""Import edges of a branch: which file leads to which. Read before a publish, written inside it."""

import marshal
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import tuple_row

Connection = psycopg.Connection[dict[str, Any]]
Edge = tuple[str, str | None, str, int]
"""Source path, target path (None: outside of the repository), module as written, line."""

ROWS_A_STATEMENT = 10_000
BLOBS_A_STATEMENT = 5_000

_PATHS = """
select f.path, f.blob_id, b.lang from idx.files f join idx.blobs b on b.id = f.blob_id
where f.repo_no = %s and f.branch_no = %s"""
_IMPORTS = "select blob_id, line, module, names from idx.imports where blob_id = any (%s)"
_TEXTS = "select id, content from idx.blobs where id = any (%s) and content is not null"
_EDGES = """
select src, dst, module, line from idx.import_edges
where repo_no = %s and branch_no = %s and src = any (%s)"""
_REMOVE = """
delete from idx.import_edges e
using unnest(%s::text[], %s::text[], %s::text[], %s::int[]) o (src, dst, module, line)
where e.repo_no = %s and e.branch_no = %s and e.src = o.src and e.dst is not distinct from o.dst
  and e.module = o.module and e.line = o.line"""
_REMOVE_SOURCES = "delete from idx.import_edges where repo_no = %s and branch_no = %s and src = any (%s)"
_COPY = "copy idx.import_edges (repo_no, branch_no, src, dst, module, line) from stdin"


class PackedEdges:
    """Very many edges in little memory: a large repository has half a million, each of which would take 300 bytes."""

    def __init__(self, edges: Collection[Edge] = ()) -> None:
        self._packed: list[bytes] = []
        self._count = 0
        self.append(edges)

    def append(self, edges: Collection[Edge]) -> None:
        """Behind those that are here."""
        if edges:
            self._packed.append(zlib.compress(marshal.dumps(list(edges)), 1))
            self._count += len(edges)

    def __len__(self) -> int:
        return self._count

    def slices(self, size: int) -> Iterator[Sequence[Edge]]:
        """All of them in their order, at most so many at a time."""
        for packed in self._packed:
            yield from _slices(marshal.loads(zlib.decompress(packed)), size)  # noqa: S302  (our own bytes)


@dataclass(frozen=True, slots=True)
class EdgeChanges:
    """What makes the stored edges those of the new tree. `gone`: files that are no more, with all their edges."""

    add: PackedEdges = field(default_factory=PackedEdges)
    remove: PackedEdges = field(default_factory=PackedEdges)
    gone: Sequence[str] = ()


def stored_blobs(connection: Connection, repo_no: int, branch_no: int) -> dict[str, tuple[int, int]]:
    """Path → (blob id, language number) of a branch as it stands."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_PATHS, (repo_no, branch_no), binary=True)
        return {path: (blob_id, lang) for path, blob_id, lang in cursor}


def imports_of(connection: Connection, blob_ids: Iterable[int]) -> dict[int, list[tuple[int, str, list[str]]]]:
    """Blob id → its imports: line, module, names."""
    found: dict[int, list[tuple[int, str, list[str]]]] = {}
    with connection.cursor(row_factory=tuple_row) as cursor:
        for some in _slices(sorted(set(blob_ids)), BLOBS_A_STATEMENT):
            cursor.execute(_IMPORTS, (some,), binary=True)
            for blob_id, line, module, names in cursor:
                found.setdefault(blob_id, []).append((line, module, names))
    return found


def texts_of(connection: Connection, blob_ids: Iterable[int]) -> dict[int, str]:
    """Blob id → text, of those that have one."""
    rows = connection.execute(_TEXTS, (sorted(set(blob_ids)),)).fetchall()
    return {row["id"]: row["content"] for row in rows}


def stored_edges(connection: Connection, repo_no: int, branch_no: int, sources: Sequence[str]) -> set[Edge]:
    """The edges of these files."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_EDGES, (repo_no, branch_no, list(sources)), binary=True)
        return {(src, dst, module, line) for src, dst, module, line in cursor}


def write_edges(connection: Connection, repo_no: int, branch_no: int, changes: EdgeChanges) -> None:
    """Take away and add; nothing that stays is touched.

    Few rows a statement: inside a publish each has a time limit, which half a million at once would not keep.
    """
    for some in _slices(changes.gone, ROWS_A_STATEMENT):
        connection.execute(_REMOVE_SOURCES, (repo_no, branch_no, list(some)))
    for some in changes.remove.slices(ROWS_A_STATEMENT):
        connection.execute(_REMOVE, (*map(list, zip(*some, strict=True)), repo_no, branch_no))
    for some in changes.add.slices(ROWS_A_STATEMENT):
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for edge in some:
                copy.write_row((repo_no, branch_no, *edge))


def _slices(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

"""Blobs: one content by git oid, scope and language, immutable, stored in small committed batches.

A crash keeps what was stored; a second job that meets the same content reuses it. Rows are inserted sorted by oid, so
that two jobs that meet never deadlock, and only the winner of a row inserts its symbols and references.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg

Connection = psycopg.Connection[dict[str, Any]]
BlobKey = tuple[bytes, int]
"""(oid, language number): what names a blob within a scope."""


SymbolRow = tuple[int, int, int, str | None, str, str | None, str | None, str | None]
"""A definition: line, end line, kind number, parent, name, qualified name, signature, documentation's first line.
Without a qualified name it is parent and name, joined by a dot."""

ImportRow = tuple[int, str, Sequence[str]]
"""A line that brings names in: line, module, names."""

ReferenceRow = tuple[int, str, Sequence[int]]
"""All lines of one blob that refer to one name: kind number, name, lines."""


@dataclass(frozen=True, slots=True)
class NewBlob:
    """One content with everything read out of it. `skip` is a number of idx.skip_reasons; 0: nothing left out."""

    oid: bytes
    lang: int
    skip: int
    size: int
    sha256: bytes | None = None
    tokens: int = 0
    line_count: int = 0
    content: str | None = None
    note: str | None = None
    symbols: Sequence[SymbolRow] = ()
    references: Sequence[ReferenceRow] = ()
    imports: Sequence[ImportRow] = ()


Record = TypeVar("Record")

REFUSALS = (
    psycopg.DataError,
    psycopg.errors.CheckViolation,
    psycopg.errors.NotNullViolation,
    psycopg.errors.ProgramLimitExceeded,  # an entry too long for its index
    UnicodeEncodeError,
)
"""What Postgres, or psycopg before it, says to a value that cannot be stored; trying again would not help."""

POISON = 9
"""The skip reason of a content that Postgres refused."""

_KNOWN = """
with found as (
    select b.oid, b.lang, b.id, u.touched_at < now() - interval '1 hour' as is_due
    from unnest(%s::bytea[], %s::smallint[]) w (oid, lang)
    join idx.blobs b on b.scope = %s and b.oid = w.oid and b.lang = w.lang
    join idx.upkeep u on u.blob_id = b.id
    where b.parser_version >= %s
      and (%s or b.scope <> 0 or not exists (
            select from public.repositories r join idx.files f on f.repo_no = r.repo_no and f.blob_id = b.id
            where r.visibility = 'private' and r.content_scope = 0))
), touched as (
    update idx.upkeep set touched_at = now()
    where blob_id in (select blob_id from idx.upkeep where blob_id in (select id from found where is_due)
                      order by blob_id for no key update)
)
select oid, lang, id from found"""
# Contents and ids go in binary: written as an array's text, each letter would be looked at three times.
_INSERT = """
insert into idx.blobs (scope, parser_version, oid, lang, skip, size, sha256, tokens, line_count, content, note,
                       symbol_count, ref_count)
select %s, %s, w.*
from unnest(%b::bytea[], %s::smallint[], %s::smallint[], %s::bigint[], %b::bytea[], %s::int[], %s::int[], %b::text[],
            %s::text[], %s::int[], %s::int[]) w
order by 1, 3, 4
on conflict (scope, oid, lang) do update set
    parser_version = excluded.parser_version, skip = excluded.skip, tokens = excluded.tokens,
    line_count = excluded.line_count, content = excluded.content, note = excluded.note,
    symbol_count = excluded.symbol_count, ref_count = excluded.ref_count
    where blobs.parser_version < excluded.parser_version
returning id, oid, lang, (xmax <> 0) as replaced"""
_COPY_SYMBOLS = """
copy idx.symbols (blob_id, line, end_line, kind, parent, name, qualname, signature, doc) from stdin"""
_COPY_IMPORTS = "copy idx.imports (blob_id, line, module, names) from stdin"
_COPY_REFS = "copy idx.refs (blob_id, kind, name, lines) from stdin"


def known_blobs(
    connection: Connection, scope: int, keys: Iterable[BlobKey], parser_version: int, *, has_read: bool = False
) -> dict[BlobKey, int]:
    """Which of these contents are stored already, by this parser or a newer one; keeps them from being collected.

    A content in the public pool whose repository has turned private is known only to a job that `has_read` it in
    its own repository: until it is moved, its id alone must not open it to others.
    """
    found: dict[BlobKey, int] = {}
    for some in _chunks(keys, 20_000):
        oids, langs = [key[0] for key in some], [key[1] for key in some]
        rows = connection.execute(_KNOWN, (oids, langs, scope, parser_version, has_read)).fetchall()
        found |= {(row["oid"], row["lang"]): row["id"] for row in rows}
    return found


def store_blobs(
    connection: Connection, scope: int, parser_version: int, blobs: Sequence[NewBlob]
) -> dict[BlobKey, int]:
    """Store a batch in one transaction and answer every blob's id, whoever stored it.

    What Postgres refuses takes nothing else with it: the batch is halved down to the one blob, and its records down to
    the bad ones, which are left out with a note. A content that is refused itself is stored as poison.
    """
    try:
        with connection.transaction():
            _store(connection, scope, parser_version, blobs)
    except REFUSALS as refusal:
        if len(blobs) == 1:
            accepted = _without_refused(connection, scope, parser_version, blobs[0], refusal)
            with connection.transaction():
                _store(connection, scope, parser_version, [accepted])
        else:
            half = len(blobs) // 2
            first = store_blobs(connection, scope, parser_version, blobs[:half])
            return first | store_blobs(connection, scope, parser_version, blobs[half:])
    keys = [(blob.oid, blob.lang) for blob in blobs]
    return known_blobs(connection, scope, keys, parser_version, has_read=True)


def _without_refused(
    connection: Connection, scope: int, parser_version: int, blob: NewBlob, refusal: Exception
) -> NewBlob:
    def is_accepted(candidate: NewBlob) -> bool:
        try:
            with connection.transaction(force_rollback=True):
                _store(connection, scope, parser_version, [candidate])
        except REFUSALS:
            return False
        return True

    reason = f"Postgres refused it: {str(refusal).splitlines()[0][:200]}".replace("\0", "")
    alone = replace(blob, symbols=(), references=(), imports=())
    if not is_accepted(alone):
        return NewBlob(blob.oid, blob.lang, POISON, blob.size, blob.sha256, note=reason)
    symbols = _accepted(blob.symbols, lambda some: is_accepted(replace(alone, symbols=some)))
    references = _accepted(blob.references, lambda some: is_accepted(replace(alone, references=some)))
    imports = _accepted(blob.imports, lambda some: is_accepted(replace(alone, imports=some)))
    note = f"Some of what was read out of it is left out. {reason}"
    return replace(blob, symbols=symbols, references=references, imports=imports, note=note)


def _accepted(records: Sequence[Record], is_accepted: Callable[[Sequence[Record]], bool]) -> Sequence[Record]:
    """Those that are accepted, found by halving: a few bad ones among many cost few tries."""
    if not records or is_accepted(records):
        return records
    if len(records) == 1:
        return ()
    half = len(records) // 2
    return [*_accepted(records[:half], is_accepted), *_accepted(records[half:], is_accepted)]


def _store(connection: Connection, scope: int, parser_version: int, blobs: Sequence[NewBlob]) -> None:
    columns = (
        [blob.oid for blob in blobs],
        [blob.lang for blob in blobs],
        [blob.skip for blob in blobs],
        [blob.size for blob in blobs],
        [blob.sha256 for blob in blobs],
        [blob.tokens for blob in blobs],
        [blob.line_count for blob in blobs],
        [blob.content for blob in blobs],
        [blob.note for blob in blobs],
        [len(blob.symbols) for blob in blobs],
        [len(blob.references) for blob in blobs],
    )
    rows = connection.execute(_INSERT, (scope, parser_version, *columns)).fetchall()
    won = {(row["oid"], row["lang"]): row["id"] for row in rows}
    replaced = [row["id"] for row in rows if row["replaced"]]
    if replaced:
        connection.execute("delete from idx.symbols where blob_id = any (%s)", (replaced,))
        connection.execute("delete from idx.refs where blob_id = any (%s)", (replaced,))
        connection.execute("delete from idx.imports where blob_id = any (%s)", (replaced,))
    _copy_records(connection, [(won[blob.oid, blob.lang], blob) for blob in blobs if (blob.oid, blob.lang) in won])


def _copy_records(connection: Connection, blobs: Sequence[tuple[int, NewBlob]]) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY_SYMBOLS) as copy:
        for blob_id, blob in blobs:
            for symbol in blob.symbols:
                copy.write_row((blob_id, *as_stored(symbol)))
    with connection.cursor() as cursor, cursor.copy(_COPY_REFS) as copy:
        for blob_id, blob in blobs:
            for kind, name, lines in blob.references:
                copy.write_row((blob_id, kind, name, ",".join(map(str, lines))))
    if any(blob.imports for _, blob in blobs):
        with connection.cursor() as cursor, cursor.copy(_COPY_IMPORTS) as copy:
            for blob_id, blob in blobs:
                for line, module, names in blob.imports:
                    copy.write_row((blob_id, line, module, list(names)))


def as_stored(symbol: SymbolRow) -> SymbolRow:
    """The row as it is stored: without a qualified name that follows from parent and name, see idx.qualname_of."""
    parent, name, qualname = symbol[3:6]
    follows = name if parent is None else f"{parent}.{name}"
    return symbol if qualname != follows else (*symbol[:5], None, *symbol[6:])


def _chunks(keys: Iterable[BlobKey], size: int) -> Iterable[list[BlobKey]]:
    """itertools.batched, which Python 3.11 does not have."""
    some: list[BlobKey] = []
    for key in keys:
        some.append(key)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some

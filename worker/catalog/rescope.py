"""Moving a repository's contents between the public pool and its owner's scope, when who may read it has changed.

Contents are copied with all that was read out of them, the repository's paths are turned to the copies, and what nobody
else's path shows is deleted at once, without a grace time. A few contents a transaction: an attempt that dies half-way
leaves every path readable, and the next one goes on. Nothing is parsed, and nothing is billed: a copy is as paid for as
its original.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from worker.catalog.branches import Repository

Connection = psycopg.Connection[dict[str, Any]]
BLOBS_A_TRANSACTION = 200

_ELSEWHERE = """
select distinct f.blob_id as id from idx.files f join idx.blobs b on b.id = f.blob_id
where f.repo_no = %s and b.scope <> %s order by f.blob_id limit %s"""
_COPY = """
insert into idx.blobs (scope, oid, lang, skip, parser_version, size, sha256, tokens, line_count, symbol_count,
                       ref_count, note, content, billed_by)
select %s, oid, lang, skip, parser_version, size, sha256, tokens, line_count, symbol_count,
       ref_count, note, content, (select coalesce(u.billed_by, b.billed_by) from idx.upkeep u where u.blob_id = b.id)
from idx.blobs b where id = any (%s) order by oid, lang
on conflict (scope, oid, lang) do nothing
returning id"""
_TWINS = """
select old.id as old_id, new.id as new_id, new.parser_version
from idx.blobs old join idx.blobs new on new.scope = %s and new.oid = old.oid and new.lang = old.lang
where old.id = any (%s)"""
_COPY_SYMBOLS = """
insert into idx.symbols (blob_id, line, end_line, kind, parent, name, qualname, signature, doc)
select t.new_id, s.line, s.end_line, s.kind, s.parent, s.name, s.qualname, s.signature, s.doc
from unnest(%s::bigint[], %s::bigint[]) t (old_id, new_id) join idx.symbols s on s.blob_id = t.old_id"""
_COPY_REFS = """
insert into idx.refs (blob_id, kind, name, lines)
select t.new_id, x.kind, x.name, x.lines
from unnest(%s::bigint[], %s::bigint[]) t (old_id, new_id) join idx.refs x on x.blob_id = t.old_id"""
_COPY_IMPORTS = """
insert into idx.imports (blob_id, line, module, names)
select t.new_id, i.line, i.module, i.names
from unnest(%s::bigint[], %s::bigint[]) t (old_id, new_id) join idx.imports i on i.blob_id = t.old_id"""
# What was there before may be an older parser's work: then the branches are due for the next one.
_AGE = "update public.repository_branches set parser_version = least(parser_version, %s) where repository_id = %s"
_TURN = """
update idx.files f set blob_id = t.new_id from unnest(%s::bigint[], %s::bigint[]) t (old_id, new_id)
where f.blob_id = t.old_id and f.repo_no = %s"""
_LOCK = "select id from idx.blobs where id = any (%s) order by id for update skip locked"
_DELETE = "delete from idx.blobs b where id = any (%s) and not exists (select from idx.files f where f.blob_id = b.id)"
_SETTLE = """
update public.repositories
set content_scope = %(scope)s,
    visibility = case when %(scope)s = 0 then 'public' when content_scope = 0 then 'private' else visibility end
where id = %(repository)s"""


def rescope(connection: Connection, repository: Repository, scope: int, *, hold: Callable[[], None]) -> int:
    """Bring all contents of a repository into this scope; answers how many were moved.

    `hold` is called first in every transaction: it locks the job by its lease token, or raises.
    """
    moved = 0
    while rows := connection.execute(_ELSEWHERE, (repository.repo_no, scope, BLOBS_A_TRANSACTION)).fetchall():
        ids = [row["id"] for row in rows]
        with connection.transaction():
            hold()
            _move(connection, repository, scope, ids)
        moved += len(ids)
    connection.execute(_SETTLE, {"repository": repository.id, "scope": scope})
    return moved


def _move(connection: Connection, repository: Repository, scope: int, ids: list[int]) -> None:
    copied = {row["id"] for row in connection.execute(_COPY, (scope, ids)).fetchall()}
    twins = connection.execute(_TWINS, (scope, ids)).fetchall()
    new_ones = [(row["old_id"], row["new_id"]) for row in twins if row["new_id"] in copied]
    pairs = ([old for old, _ in new_ones], [new for _, new in new_ones])
    for statement in (_COPY_SYMBOLS, _COPY_REFS, _COPY_IMPORTS):
        connection.execute(statement, pairs)
    connection.execute(_AGE, (min(row["parser_version"] for row in twins), repository.id))
    old, new = [row["old_id"] for row in twins], [row["new_id"] for row in twins]
    connection.execute(_TURN, (old, new, repository.repo_no))
    unused = [row["id"] for row in connection.execute(_LOCK, (ids,)).fetchall()]
    connection.execute(_DELETE, (unused,))

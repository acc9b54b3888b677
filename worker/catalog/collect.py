"""The collector: contents that no file has used for a grace time go, with their symbols, references and imports.

It can take nothing that a job relies on. A job that reuses a content touches it, so that its grace time begins again,
and publish holds what it is about to show; what it can no longer hold, it does not publish.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

BLOBS_A_TRANSACTION = 200
BLOBS_A_LOOK = 10_000

LOOK = """
with looked_at as (select id from idx.blobs where id > %(after)s order by id limit %(window)s)
select (select max(id) from looked_at) as last,
       array(select u.blob_id from looked_at l join idx.upkeep u on u.blob_id = l.id
             where u.touched_at < now() - %(grace)s and not exists (select from idx.files f where f.blob_id = l.id)
             order by u.blob_id) as unused"""
# What somebody else holds now is in use, or will be looked at next time.
LOCK = "select id from idx.blobs where id = any (%s) order by id for update skip locked"
# A statement of its own, after the locks: it sees whatever was published before they were had, and no more can be.
DELETE = """
delete from idx.blobs b using idx.upkeep u
where b.id = any (%(ids)s) and u.blob_id = b.id and u.touched_at < now() - %(grace)s
  and not exists (select from idx.files f where f.blob_id = b.id)
returning b.size"""


@dataclass(frozen=True, slots=True)
class Collected:
    """How many contents went, and their bytes as files."""

    blobs: int
    size_bytes: int


async def collect(connection: Connection, *, grace: timedelta) -> Collected:
    """Walk along all contents and delete the unused ones, few at a time, each few in a transaction of its own."""
    after: int | None = 0
    sizes: list[int] = []
    while after is not None:
        facts = {"after": after, "window": BLOBS_A_LOOK, "grace": grace}
        row = await (await connection.execute(LOOK, facts)).fetchone()
        after, unused = (row["last"], row["unused"]) if row else (None, [])
        for start in range(0, len(unused), BLOBS_A_TRANSACTION):
            sizes += await _delete(connection, unused[start : start + BLOBS_A_TRANSACTION], grace)
    return Collected(len(sizes), sum(sizes))


async def _delete(connection: Connection, unused: list[int], grace: timedelta) -> list[int]:
    async with connection.transaction():
        held = await (await connection.execute(LOCK, (unused,))).fetchall()
        facts = {"ids": [row["id"] for row in held], "grace": grace}
        return [row["size"] for row in await (await connection.execute(DELETE, facts)).fetchall()]

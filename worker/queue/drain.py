"""drain: ask running workers, through the database, to claim no more, end what they run, and stop."""

from typing import Any
from uuid import UUID

import psycopg

from worker.errors import NotFound

Connection = psycopg.AsyncConnection[dict[str, Any]]
SHORTEST_ID = 4

_ALIVE = """
select id, hostname, pid, state, slots, drain_requested_at, last_seen_at,
       (select count(*) from queue.running r where r.worker_id = w.id) as running
from public.workers w
where state in ('running', 'draining') and last_seen_at > clock_timestamp() - interval '1 minute' order by started_at"""
_REQUEST = """
update public.workers set drain_requested_at = coalesce(drain_requested_at, clock_timestamp())
where id = any (%s) and state in ('running', 'draining')"""
_STATES = "select id, state, last_seen_at < clock_timestamp() - interval '1 minute' as silent from public.workers"


async def living(connection: Connection) -> list[dict[str, Any]]:
    """The workers that have been seen within the last minute, the oldest first."""
    return await (await connection.execute(_ALIVE)).fetchall()


async def find_workers(connection: Connection, texts: list[str]) -> list[dict[str, Any]]:
    """Each living worker that is named: by its id, four or more characters of its beginning or end, or its host.

    A host names all its workers, `host:pid` one of them. Raises NotFound for a name that fits none, and for a piece of
    an id that fits several.
    """
    alive = await living(connection)
    found: dict[UUID, dict[str, Any]] = {}
    for text in texts:
        found.update((worker["id"], worker) for worker in _named(alive, text))
    return list(found.values())


def _named(alive: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    by_host = [row for row in alive if text in (row["hostname"], f"{row['hostname']}:{row['pid']}")]
    if by_host:
        return by_host
    piece = text.lower()
    by_id = [row for row in alive if len(piece) >= SHORTEST_ID and _is_end(str(row["id"]), piece)]
    if len(by_id) == 1:
        return by_id
    problem = "More than one worker has an id like" if by_id else "No living worker is called"
    raise NotFound(f"{problem} {text!r}.", hint="`worker status` lists them with their ids and hosts.")


def _is_end(whole: str, piece: str) -> bool:
    return whole.startswith(piece) or whole.endswith(piece)


async def request_drain(connection: Connection, workers: list[UUID]) -> int:
    """Ask these workers to drain; they learn of it with their next renewal. Answers how many are there to be asked."""
    return (await connection.execute(_REQUEST, (workers,))).rowcount


async def still_there(connection: Connection, workers: list[UUID]) -> int:
    """How many of these have not stopped, been given up or fallen silent."""
    rows = await (await connection.execute(_STATES)).fetchall()
    return sum(row["id"] in workers and row["state"] in ("running", "draining") and not row["silent"] for row in rows)

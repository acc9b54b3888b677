"""rescue: jobs of workers that no longer renew go back to queued, one by one, so that one bad row stops no other."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

PATIENCE_MS = 2000
"""How long one row is waited for that somebody holds."""

_ORPHANS = "select * from queue.orphans(%s, %s, %s)"
_GIVE_BACK = "select queue.give_back_within(%s, %s, %s, 'rescue', %s, 'worker_lost', %s, %s) as verb"
# A worker whose jobs are not all taken back keeps its state: 'draining' is what excuses the others.
_MARK_LOST = """
update public.workers set state = 'lost'
where id in (
    select w.id from public.workers w
    where w.state in ('running', 'draining') and w.last_seen_at < clock_timestamp() - %s
      and not exists (select from queue.running r where r.worker_id = w.id)
      and exists (select from public.workers me where me.id = %s and me.state = 'running'
                    and me.renewing_since <= clock_timestamp() - %s)
    for no key update skip locked)"""


@dataclass(frozen=True, slots=True)
class Rescued:
    """One job taken back; `verb` is rescue, or fail, cancel or supersede where that came of it."""

    job_id: UUID
    verb: str


async def rescue(
    connection: Connection,
    worker_id: UUID,
    *,
    lease_seconds: float,
    crash_limit: int,
    on_error: Callable[[UUID, psycopg.Error], None],
    at_most: int = 1000,
) -> list[Rescued]:
    """Take back the jobs of silent workers. Does nothing until this worker has itself renewed for a whole lease.

    A worker that had marked itself draining or fenced is excused: its jobs spend no crash. A job whose row is held by
    somebody, or raises, is told to `on_error` and left to the next call.
    """
    lease = timedelta(seconds=lease_seconds)
    orphans = await (await connection.execute(_ORPHANS, (worker_id, lease, at_most))).fetchall()
    rescued: list[Rescued] = []
    stuck = 0
    for orphan in orphans:
        try:
            # Ever shorter: a session that holds a thousand rows must not keep the others from their rescue.
            verb = await _give_back(connection, orphan, crash_limit, PATIENCE_MS // (1 + stuck))
        except psycopg.Error as failure:
            if connection.closed:
                raise
            stuck += 1
            on_error(orphan["job_id"], failure)
            continue
        if verb is not None:
            rescued.append(Rescued(orphan["job_id"], verb))
    await connection.execute(_MARK_LOST, (lease, worker_id, lease))
    return rescued


async def _give_back(connection: Connection, orphan: dict[str, Any], crash_limit: int, patience_ms: int) -> str | None:
    """What came of the job; None when it was no longer that attempt's."""
    spends = "none" if orphan["excused"] else "crash"
    message = f"worker {orphan['worker_id']} stopped answering"
    parameters = (patience_ms, orphan["job_id"], orphan["lease_token"], spends, message, crash_limit)
    row = await (await connection.execute(_GIVE_BACK, parameters)).fetchone()
    return row["verb"] if row is not None else None

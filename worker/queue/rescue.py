"""rescue: jobs of workers that no longer renew go back to queued, one by one, so that one bad row stops no other."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_ORPHANS = "select * from queue.orphans(%s, %s)"
_GIVE_BACK = "select queue.give_back(%s, %s, 'rescue', %s, '0', 'worker_lost', %s, %s) as verb"
_MARK_LOST = """
update public.workers w set state = 'lost'
where w.state in ('running', 'draining') and w.last_seen_at < clock_timestamp() - %s
  and exists (select from public.workers me where me.id = %s and me.state = 'running'
                and me.renewing_since <= clock_timestamp() - %s)"""


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
) -> list[Rescued]:
    """Take back every job of silent workers. Does nothing until this worker has itself renewed for a whole lease.

    A worker that had marked itself draining or fenced is excused: its jobs spend no crash.
    """
    lease = timedelta(seconds=lease_seconds)
    orphans = await (await connection.execute(_ORPHANS, (worker_id, lease))).fetchall()
    rescued: list[Rescued] = []
    for orphan in orphans:
        spends = "none" if orphan["excused"] else "crash"
        message = f"worker {orphan['worker_id']} stopped answering"
        parameters = (orphan["job_id"], orphan["lease_token"], spends, message, crash_limit)
        try:
            row = await (await connection.execute(_GIVE_BACK, parameters)).fetchone()
        except (
            psycopg.errors.IntegrityError,
            psycopg.errors.DataError,
            psycopg.errors.InternalError,
        ) as failure:
            on_error(orphan["job_id"], failure)
            continue
        if row is not None and row["verb"] is not None:
            rescued.append(Rescued(orphan["job_id"], row["verb"]))
    await connection.execute(_MARK_LOST, (lease, worker_id, lease))
    return rescued

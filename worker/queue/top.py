"""What runs now: what `worker top` shows."""

from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_RUNNING = """
select j.id, j.job_type, j.user_id, j.attempt, j.progress, j.timeout_seconds,
       j.cancel_requested_at is not null as cancelled,
       r.claimed_at, extract(epoch from clock_timestamp() - r.claimed_at)::float8 as seconds,
       r.worker_id, w.hostname, w.pid, p.name as repository
from queue.running r
join public.indexing_jobs j on j.id = r.job_id
left join public.workers w on w.id = r.worker_id
left join public.repositories p on p.id = r.repository_id
where %(user)s::uuid is null or j.user_id = %(user)s
order by r.claimed_at, r.token limit %(limit)s"""


async def running_jobs(connection: Connection, *, user_id: UUID | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Jobs in progress with who runs them, those that have run longest first."""
    return await (await connection.execute(_RUNNING, {"user": user_id, "limit": limit})).fetchall()

"""How much work waits: what health, metrics and the command line show."""

from typing import Any, NamedTuple

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]


class Depth(NamedTuple):
    """Jobs of one type and status; `oldest_seconds` since the oldest of them was enqueued."""

    job_type: str
    status: str
    jobs: int
    oldest_seconds: float


_DEPTH = """
select job_type, status, sum(jobs)::bigint as jobs,
       extract(epoch from clock_timestamp() - min(oldest_queued_at))::float8 as oldest_seconds
from public.queue_depth group by job_type, status order by job_type, status"""


async def depth(connection: Connection) -> list[Depth]:
    """Queued and running jobs by type, all tenants together."""
    rows = await (await connection.execute(_DEPTH)).fetchall()
    return [Depth(row["job_type"], row["status"], row["jobs"], max(row["oldest_seconds"], 0.0)) for row in rows]

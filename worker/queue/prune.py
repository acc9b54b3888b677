"""prune: finished jobs past their retention, and worker rows nobody needs, in small batches."""

from datetime import timedelta
from typing import Any

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_PRUNE = "select queue.prune(array['completed', 'failed', 'cancelled'], %s, %s) as gone"
_PRUNE_DELIVERIES = """
delete from public.webhook_deliveries where id in (
    select id from public.webhook_deliveries
    where status in ('processed', 'failed', 'ignored') and received_at < now() - %s and job_id is null
    order by received_at limit %s for update skip locked)"""
_FORGET_WORKERS = """
delete from public.workers w
where w.last_seen_at < now() - interval '1 day'
  and not exists (select from public.indexing_jobs j where j.worker_id = w.id and j.status = 'in_progress')"""


async def prune(connection: Connection, *, retention_days: float, batch: int = 1000) -> int:
    """Delete finished jobs older than the retention, with their events; answers how many. Logs are sealed before."""
    age = timedelta(days=retention_days)
    total = 0
    while True:
        row = await (await connection.execute(_PRUNE, (age, batch))).fetchone()
        gone = row["gone"] if row else 0
        total += gone
        if gone < batch:
            break
    while (await connection.execute(_PRUNE_DELIVERIES, (age, batch))).rowcount == batch:
        pass
    return total


async def forget_workers(connection: Connection) -> None:
    """Delete the rows of workers silent for a day that hold nothing."""
    await connection.execute(_FORGET_WORKERS)

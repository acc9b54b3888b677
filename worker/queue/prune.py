"""prune: finished jobs past their retention, and worker rows nobody needs, in small batches."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_STEP = "select last, gone from queue.prune_step(%s, %s, %s, %s, %s)"
_FIRST = UUID(int=0)
_PRUNE_DELIVERIES = """
delete from public.webhook_deliveries where id in (
    select id from public.webhook_deliveries
    where status in ('processed', 'failed', 'ignored') and received_at < now() - %s and job_id is null
    order by received_at limit %s for update skip locked)"""
_FORGET_WORKERS = """
delete from public.workers w
where w.last_seen_at < now() - interval '1 day'
  and not exists (select from queue.running r where r.worker_id = w.id)"""


async def prune(connection: Connection, *, completed_days: float, failed_days: float, window: int = 1000) -> int:
    """Delete finished jobs older than their status's retention, with their events; answers how many.

    Walks along the ids, `window` jobs a transaction. Cancelled jobs go with the completed ones; a job whose log is not
    sealed stays.
    """
    completed, failed = timedelta(days=completed_days), timedelta(days=failed_days)
    total, last = 0, _FIRST
    while last is not None:
        row = await (await connection.execute(_STEP, (last, window, completed, failed, completed))).fetchone()
        last, gone = (row["last"], row["gone"]) if row else (None, 0)
        total += gone
    age = max(completed, failed)
    while (await connection.execute(_PRUNE_DELIVERIES, (age, window))).rowcount == window:
        pass
    return total


async def forget_workers(connection: Connection) -> None:
    """Delete the rows of workers silent for a day that hold nothing."""
    await connection.execute(_FORGET_WORKERS)

"""Maintenance without a leader: each task is a row with next_run_at, taken by whichever worker comes first."""

from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_TAKE = """
update public.maintenance_tasks t
set next_run_at = clock_timestamp() + t.every, last_run_at = clock_timestamp(), last_worker_id = %(worker)s,
    last_error = null
from (
    select name from public.maintenance_tasks
    where next_run_at <= clock_timestamp() and name = any (%(names)s)
    order by next_run_at limit 1 for update skip locked
) due
where t.name = due.name
returning t.name"""
_COMPLAIN = "update public.maintenance_tasks set last_error = %s where name = %s and last_worker_id = %s"
_MAY_RESCUE = """
select exists (select from public.workers where id = %s and state = 'running'
    and renewing_since <= clock_timestamp() - make_interval(secs => %s)) as may"""


async def take_due(connection: Connection, worker_id: UUID, names: list[str]) -> str | None:
    """Take the task that has been due longest, of these; None when none is due. Its next run is set at once."""
    row = await (await connection.execute(_TAKE, {"worker": worker_id, "names": names})).fetchone()
    return row["name"] if row else None


async def complain(connection: Connection, worker_id: UUID, name: str, problem: str) -> None:
    """Keep what went wrong in a task's last run."""
    await connection.execute(_COMPLAIN, (problem, name, worker_id))


async def may_rescue(connection: Connection, worker_id: UUID, lease_seconds: float) -> bool:
    """Whether this worker has itself renewed for a whole lease; until then it leaves rescues to others."""
    row = await (await connection.execute(_MAY_RESCUE, (worker_id, lease_seconds))).fetchone()
    return row is not None and row["may"]

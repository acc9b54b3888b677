"""Events and progress of a running attempt, fenced by its lease token; and reading a job's events."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.job import Job

Connection = psycopg.AsyncConnection[dict[str, Any]]

_TELL = "select queue.tell(%s, %s, %s, %s, %s) as told"
_PROGRESS = "select queue.progress(%s, %s, %s) as written"
_EVENTS = """
select id, event_type, message, context, created_at from public.indexing_job_events
where job_id = %s order by id"""


async def tell(connection: Connection, job: Job, verb: str, message: str | None, context: Mapping[str, Any]) -> bool:
    """Write an event of this attempt; false when the token is no longer the job's."""
    parameters = (job.id, job.lease_token, verb, message, Jsonb(dict(context)))
    row = await (await connection.execute(_TELL, parameters)).fetchone()
    return row is not None and row["told"]


async def progress(connection: Connection, job: Job, where: Mapping[str, Any]) -> bool:
    """Write where this attempt is; false when the token is no longer the job's."""
    row = await (await connection.execute(_PROGRESS, (job.id, job.lease_token, Jsonb(dict(where))))).fetchone()
    return row is not None and row["written"]


async def events_of(connection: Connection, job_id: UUID) -> list[dict[str, Any]]:
    """A job's events, oldest first."""
    return await (await connection.execute(_EVENTS, (job_id,))).fetchall()

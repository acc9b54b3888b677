"""Which jobs: what a person says of many jobs at once, and a walk along them in small steps."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from worker.job import Status

Connection = psycopg.AsyncConnection[dict[str, Any]]
JOBS_A_STEP = 5000
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Filter:
    """Jobs of one status. The times are those since when they have it: queued, running (claimed) or ended.

    Superseded jobs, whose follow-up did their work, are among the cancelled ones only when asked for by error class.
    """

    status: Status
    before: datetime
    after: datetime | None = None
    user_id: UUID | None = None
    job_type: str | None = None
    repository_id: UUID | None = None
    error_class: str | None = None


_NOW = "select clock_timestamp() as now"

# Each reads a bounded number of rows, in the order of the ids; `last` is null at the end. No index knows an ended job's
# status, so the walk goes by the primary key, or by the index of a tenant's or a repository's jobs.
_ENDED = """
with step as materialized (
    select id, status, job_type, error_class, finished_at from public.indexing_jobs
    where id > %(last)s and (%(user)s::uuid is null or user_id = %(user)s)
      and (%(repository)s::uuid is null or repository_id = %(repository)s)
    order by id limit %(step)s
)
select (array_agg(id order by id))[%(step)s] as last,
       array_agg(id order by id) filter (
           where status = %(status)s and finished_at <= %(before)s
             and (%(after)s::timestamptz is null or finished_at > %(after)s)
             and (%(job_type)s::text is null or job_type = %(job_type)s)
             and case when %(error_class)s::text is null then error_class is distinct from 'superseded'
                      else error_class = %(error_class)s end) as found
from step"""
_QUEUED = """
with step as materialized (
    select job_id, user_id, job_type, repository_id, queued_at from queue.waiting
    where job_id > %(last)s order by job_id limit %(step)s
)
select (array_agg(job_id order by job_id))[%(step)s] as last,
       array_agg(job_id order by job_id) filter (
           where queued_at <= %(before)s and (%(after)s::timestamptz is null or queued_at > %(after)s)
             and (%(user)s::uuid is null or user_id = %(user)s)
             and (%(repository)s::uuid is null or repository_id = %(repository)s)
             and (%(job_type)s::text is null or job_type = %(job_type)s)
             and (%(error_class)s::text is null or exists (
                 select from public.indexing_jobs j
                 where j.id = step.job_id and j.error_class = %(error_class)s))) as found
from step"""
_RUNNING = """
with step as materialized (
    select r.job_id, r.user_id, r.repository_id, r.claimed_at, j.job_type, j.error_class
    from queue.running r join public.indexing_jobs j on j.id = r.job_id
    where r.job_id > %(last)s order by r.job_id limit %(step)s
)
select (array_agg(job_id order by job_id))[%(step)s] as last,
       array_agg(job_id order by job_id) filter (
           where claimed_at <= %(before)s and (%(after)s::timestamptz is null or claimed_at > %(after)s)
             and (%(user)s::uuid is null or user_id = %(user)s)
             and (%(repository)s::uuid is null or repository_id = %(repository)s)
             and (%(job_type)s::text is null or job_type = %(job_type)s)
             and (%(error_class)s::text is null or error_class = %(error_class)s)) as found
from step"""


async def database_time(connection: Connection) -> datetime:
    """The moment that "older than" counts from."""
    row = await (await connection.execute(_NOW)).fetchone()
    assert row is not None
    return row["now"]


async def count(connection: Connection, wanted: Filter, *, limit: int | None = None) -> int:
    """How many jobs fit; counting ends at `limit`."""
    found = 0
    async for ids in walk(connection, wanted):
        found += len(ids)
        if limit is not None and found >= limit:
            return limit
    return found


async def walk(connection: Connection, wanted: Filter, *, step: int = JOBS_A_STEP) -> AsyncIterator[list[UUID]]:
    """The ids of jobs that fit, oldest first, in pieces; the caller may change jobs it has been given."""
    facts: dict[str, Any] = {
        "status": wanted.status, "before": wanted.before, "after": wanted.after, "user": wanted.user_id,
        "job_type": wanted.job_type, "repository": wanted.repository_id, "error_class": wanted.error_class,
        "step": step,
    }  # fmt: skip
    last: UUID | None = _FIRST
    while last is not None:
        row = await (await connection.execute(_statement(wanted.status), {**facts, "last": last})).fetchone()
        assert row is not None
        if row["found"]:
            yield row["found"]
        last = row["last"]


def _statement(status: Status) -> LiteralString:
    if status is Status.QUEUED:
        return _QUEUED
    return _RUNNING if status is Status.IN_PROGRESS else _ENDED

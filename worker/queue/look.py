"""Looking at jobs, workers and deliveries: what the command line shows."""

from typing import Any
from uuid import UUID

import psycopg

from worker.errors import NotFound
from worker.job import Status

Connection = psycopg.AsyncConnection[dict[str, Any]]
SHORTEST_ID = 4

_FIND = """
select id from public.indexing_jobs
where (%(user)s::uuid is null or user_id = %(user)s)
  and (starts_with(id::text, %(text)s) or starts_with(reverse(id::text), reverse(%(text)s)))
order by id desc limit 2"""
_JOB = """
select j.*, r.name as repository, r.git_url
from public.indexing_jobs j left join public.repositories r on r.id = j.repository_id where j.id = %s"""
_COLUMNS = """
select j.id, j.job_type, j.status, j.attempt, j.errors, j.crashes, j.priority, j.progress, j.error_class,
       j.error_message, j.queued_at, j.started_at, j.finished_at, j.result, r.name as repository"""
_WANTED = """
where (%(user)s::uuid is null or j.user_id = %(user)s)
  and (%(status)s::text is null or j.status = %(status)s)
  and (%(repository)s::uuid is null or j.repository_id = %(repository)s)"""
_JOBS = f"""{_COLUMNS}
from public.indexing_jobs j left join public.repositories r on r.id = j.repository_id {_WANTED}
order by j.id desc limit %(limit)s"""
# Few jobs among many have these statuses, and no index of theirs knows it: the narrow tables do.
_QUEUED = f"""{_COLUMNS}
from queue.waiting w join public.indexing_jobs j on j.id = w.job_id
left join public.repositories r on r.id = j.repository_id {_WANTED}
  and (%(user)s::uuid is null or w.user_id = %(user)s)
  and (%(repository)s::uuid is null or w.repository_id = %(repository)s)
order by w.job_id desc limit %(limit)s"""
_RUNNING = f"""{_COLUMNS}
from queue.running n join public.indexing_jobs j on j.id = n.job_id
left join public.repositories r on r.id = j.repository_id {_WANTED}
order by n.job_id desc limit %(limit)s"""
_DELIVERIES = """
select id, delivery_id, event_type, status, received_at, processed_at, error_message
from public.webhook_deliveries where job_id = %s order by id"""
_USAGE = "select usage_type, tokens_used, metadata from public.token_usage where job_id = %s order by usage_type"
_WORKERS = """
select id, hostname, pid, version, state, slots, started_at, last_seen_at,
       extract(epoch from clock_timestamp() - last_seen_at)::float8 as seconds_since_seen,
       (select count(*) from queue.running r where r.worker_id = w.id) as running
from public.workers w
where w.last_seen_at > clock_timestamp() - interval '10 minutes' order by w.started_at"""
_LIVE = """
select exists (select from public.workers
    where state = 'running' and last_seen_at > clock_timestamp() - make_interval(secs => %s)) as live"""


async def find_job(connection: Connection, text: str, *, user_id: UUID | None = None) -> UUID:
    """A job by its id, or four or more characters of its beginning or end; raises NotFound unless exactly one fits.

    The ends tell jobs apart: ids of jobs made close together begin alike.
    """
    if len(text) < SHORTEST_ID:
        raise NotFound(f"There is no job {text!r}.", hint=f"Give at least {SHORTEST_ID} characters of its id.")
    rows = await (await connection.execute(_FIND, {"user": user_id, "text": text.lower()})).fetchall()
    if len(rows) != 1:
        problem = "More than one job has an id like" if rows else "There is no job"
        raise NotFound(f"{problem} {text!r}.", hint="`worker jobs` lists them with their ids.")
    return rows[0]["id"]


async def job_row(connection: Connection, job_id: UUID) -> dict[str, Any]:
    """A job's row with its repository's name; raises NotFound."""
    row = await (await connection.execute(_JOB, (job_id,))).fetchone()
    if row is None:
        raise NotFound(f"There is no job {job_id}.", hint="`worker jobs` lists them.")
    return row


async def list_jobs(
    connection: Connection,
    *,
    user_id: UUID | None = None,
    status: Status | None = None,
    repository_id: UUID | None = None,
    limit: int = 20,
) -> list[dict[str, Any]]:
    """The newest jobs first."""
    facts = {"user": user_id, "status": status, "repository": repository_id, "limit": limit}
    statement = _QUEUED if status is Status.QUEUED else _RUNNING if status is Status.IN_PROGRESS else _JOBS
    return await (await connection.execute(statement, facts)).fetchall()


async def deliveries_of(connection: Connection, job_id: UUID) -> list[dict[str, Any]]:
    """The webhook deliveries that a job answers."""
    return await (await connection.execute(_DELIVERIES, (job_id,))).fetchall()


async def usage_of(connection: Connection, job_id: UUID) -> list[dict[str, Any]]:
    """What a job was billed."""
    return await (await connection.execute(_USAGE, (job_id,))).fetchall()


async def workers(connection: Connection) -> list[dict[str, Any]]:
    """Workers seen in the last ten minutes; how long ago by the database's clock."""
    return await (await connection.execute(_WORKERS)).fetchall()


async def has_live_worker(connection: Connection, lease_seconds: float) -> bool:
    """Whether any worker takes jobs at this moment."""
    row = await (await connection.execute(_LIVE, (lease_seconds,))).fetchone()
    return row is not None and row["live"]

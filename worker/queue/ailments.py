"""What may be wrong with a queue: what `worker doctor` asks of it."""

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

Connection = psycopg.Connection[dict[str, Any]]

_SILENT = """
select w.id, w.hostname, w.pid, w.state, extract(epoch from clock_timestamp() - w.last_seen_at)::float8 as seconds,
       (select count(*) from queue.running r where r.worker_id = w.id) as jobs
from public.workers w
where w.state in ('running', 'draining', 'fenced') and w.last_seen_at < clock_timestamp() - interval '1 minute'
order by w.last_seen_at"""
_OVERLONG = """
select j.id, j.job_type, extract(epoch from clock_timestamp() - r.claimed_at)::float8 as seconds
from queue.running r join public.indexing_jobs j on j.id = r.job_id
where r.claimed_at < clock_timestamp() - make_interval(secs => coalesce(j.timeout_seconds, %(timeout)s) + 60)
order by r.claimed_at limit 100"""
_OWNERLESS = """
select j.id, j.job_type, extract(epoch from clock_timestamp() - r.claimed_at)::float8 as seconds
from queue.running r join public.indexing_jobs j on j.id = r.job_id left join public.workers w on w.id = r.worker_id
where (w.id is null or w.last_seen_at < clock_timestamp() - make_interval(secs => %(lease)s + 30))
  and r.claimed_at < clock_timestamp() - make_interval(secs => %(lease)s + 30)
order by r.claimed_at limit 100"""
_UNKNOWN_TYPES = """
select w.job_type, count(*) as jobs from queue.waiting w
where not exists (select from public.workers k where w.job_type = any (k.job_types) and k.state = 'running'
                  and k.last_seen_at > clock_timestamp() - interval '1 minute')
group by w.job_type order by 2 desc"""
# The narrow tables and the jobs disagree: somebody changed one of them by hand.
_TORN = """
select (select count(*) from queue.running r left join public.indexing_jobs j on j.id = r.job_id
        where j.status is distinct from 'in_progress' or j.lease_token is distinct from r.token)
     + (select count(*) from queue.waiting w left join public.indexing_jobs j on j.id = w.job_id
        where j.status is distinct from 'queued') as torn"""
# Nobody writes the row of `schedules` while none is due: how late it is, the schedules say.
_TASKS = """
select name, last_error, extract(epoch from clock_timestamp() - due)::float8 as late
from (select name, last_error, every, case when name <> 'schedules' then next_run_at
          else (select min(s.next_run_at) from public.job_schedules s where not s.paused) end as due
      from public.maintenance_tasks) tasks
where last_error is not null or due < clock_timestamp() - greatest(every, interval '5 minutes')
order by name"""
_IN_PROGRESS = """
select log_token from public.indexing_jobs where id = %s and status = 'in_progress'"""


class Long(NamedTuple):
    """A running job, and for how many seconds it has run."""

    id: UUID
    job_type: str
    seconds: float


def silent_workers(connection: Connection) -> list[dict[str, Any]]:
    """Workers that should be there and have not been seen for a minute, with how many jobs they hold."""
    return connection.execute(_SILENT).fetchall()


def overlong_jobs(connection: Connection, *, timeout_seconds: float) -> list[Long]:
    """Running jobs that their worker should have ended a minute ago."""
    return [Long(**row) for row in connection.execute(_OVERLONG, {"timeout": timeout_seconds}).fetchall()]


def ownerless_jobs(connection: Connection, *, lease_seconds: float) -> list[Long]:
    """Running jobs that somebody should have taken back from a dead worker."""
    return [Long(**row) for row in connection.execute(_OWNERLESS, {"lease": lease_seconds}).fetchall()]


def types_without_worker(connection: Connection) -> dict[str, int]:
    """Job types that wait and that no living worker takes, with their number of jobs."""
    return {row["job_type"]: row["jobs"] for row in connection.execute(_UNKNOWN_TYPES).fetchall()}


def torn_jobs(connection: Connection) -> int:
    """Rows of the queue's tables that contradict their job."""
    row = connection.execute(_TORN).fetchone()
    return row["torn"] if row else 0


def bad_tasks(connection: Connection) -> list[dict[str, Any]]:
    """Maintenance tasks that failed the last time (`last_error`) or are `late` by so many seconds."""
    return connection.execute(_TASKS).fetchall()


def is_attempt_running(connection: Connection, job_id: UUID, token: int) -> bool:
    """Whether this attempt of the job still goes on somewhere."""
    row = connection.execute(_IN_PROGRESS, (job_id,)).fetchone()
    return row is not None and row["log_token"] == token

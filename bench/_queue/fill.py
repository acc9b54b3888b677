"""Jobs for the benchmark, put straight into the tables: enqueuing is measured elsewhere, if at all."""

from typing import LiteralString

import psycopg

TENANTS = 50
REPOSITORIES = 2_000

_REPOSITORIES = """
insert into auth.users (id) select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
from generate_series(1, %(tenants)s) n on conflict do nothing;
"""
_REPOSITORY_ROWS = """
insert into public.repositories (id, user_id, name, git_url)
select gen_random_uuid(), ('00000000-0000-4000-8000-' || lpad((1 + n %% %(tenants)s)::text, 12, '0'))::uuid,
       'r' || n, 'https://example.org/' || n
from generate_series(1, %(repositories)s) n"""

_JOBS = """
with repository as (
    select id, user_id, row_number() over (order by id) - 1 as n from public.repositories r
    where %(busy)s = exists (select from queue.running b where b.repository_id = r.id)
), many as materialized (
    -- Ids in order of arrival, as the program makes them.
    select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || lpad(to_hex(g / 65536), 3, '0') || '8' || lpad(to_hex(g %% 65536), 4, '0')
            || substr(md5(g::text || %(type)s), 1, 11))::uuid as id,
           g, r.id as repository_id, r.user_id
    from generate_series(1, %(jobs)s) g join repository r on r.n = g %% (select count(*) from repository)
    order by g
), made as (
    insert into public.indexing_jobs (id, repository_id, user_id, job_type, run_after)
    select id, repository_id, user_id, %(type)s, now() + make_interval(secs => %(delay)s) from many
), waiting as (
    insert into queue.waiting (job_id, user_id, job_type, rank, repository_id, run_after, queued_at, hold)
    select id, user_id, %(type)s, queue.rank(0, now()) + g, repository_id, now() + make_interval(secs => %(delay)s),
           now(), %(hold)s from many
)
insert into public.indexing_job_events (job_id, event_type) select id, 'enqueue' from many"""

_LANES = """
insert into public.queue_lanes (user_id, active) select distinct user_id, true from public.repositories
on conflict (user_id) do update set active = true"""
_TIDY: tuple[LiteralString, ...] = (
    "vacuum analyze public.indexing_jobs",
    "vacuum analyze queue.waiting",
    "vacuum analyze public.indexing_job_events",
    "vacuum analyze public.repositories",
)


# Running jobs of a worker that lives for ever.
_BUSY = """
with worker as (
    insert into public.workers (id, hostname, pid, version, slots, last_seen_at)
    values (gen_random_uuid(), 'bench', 1, '0', 1, now() + interval '1 day') returning id
)
insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
select nextval('public.lease_tokens'), gen_random_uuid(), w.id, r.user_id, r.id, now()
from worker w cross join (select id, user_id from public.repositories order by id limit %(repositories)s / 10) r"""


def fill(
    url: str, jobs: int, job_type: str, *, hold: str | None = None, delay_seconds: float = 0, busy: bool = False
) -> None:
    """Queue no-op jobs, spread over tenants and repositories (those where a job runs, or all others), each with its
    enqueue event; freshly vacuumed.
    """
    facts = {
        "tenants": TENANTS, "repositories": REPOSITORIES, "jobs": jobs, "type": job_type, "hold": hold,
        "delay": delay_seconds, "busy": busy,
    }  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit to off")
        if connection.execute("select 1 from public.repositories limit 1").fetchone() is None:
            connection.execute(_REPOSITORIES.replace(";", ""), facts)
            connection.execute(_REPOSITORY_ROWS, facts)
        with connection.transaction():
            # No triggers: each row would be put into the waiting table on its own, and foreign keys asked a row each.
            connection.execute("set local session_replication_role to replica")
            connection.execute(_JOBS, facts)
        connection.execute(_LANES)
        for statement in _TIDY:
            connection.execute(statement)


def pause_type(url: str) -> str:
    """Pause a job type, and answer its name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select queue.set_paused('bench_paused', true)")
    return "bench_paused"


def fill_busy(url: str, jobs: int, job_type: str) -> None:
    """Queue jobs of repositories where a job runs that does not end; they have been put aside."""
    fill(url, 1, "bench_paused")  # tenants and repositories
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_BUSY, {"repositories": REPOSITORIES})
    fill(url, jobs, job_type, hold="repository", busy=True)


def clear(url: str) -> None:
    """Take away what is completed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("delete from public.indexing_jobs where status = 'completed'")
        for statement in _TIDY:
            connection.execute(statement)

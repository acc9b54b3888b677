"""The raw limit: one loop that does to the same tables what a batch of claims and completions must do, and no more.

No tenants' turns, no repositories looked at, no types, no worker: SKIP LOCKED, the rows and both events.
"""

import random
import time
import uuid

import psycopg

_CLAIM = """
with picked as (
    select w.job_id, w.user_id, w.repository_id from queue.waiting w
    join public.indexing_jobs j on j.id = w.job_id
    where w.hold is null order by w.user_id, w.job_type, w.rank, w.job_id limit %(batch)s
    for update of w, j skip locked
), leased as materialized (
    select *, nextval('public.lease_tokens') as token from picked
), gone as (
    delete from queue.waiting w using leased where w.job_id = leased.job_id
), run as (
    insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
    -- Any repository once: the unique index is paid for, and never in the way.
    select token, job_id, %(worker)s, user_id, job_id, clock_timestamp() from leased
), claimed as (
    update public.indexing_jobs j
    set status = 'in_progress', attempt = j.attempt + 1, lease_token = leased.token, log_token = leased.token,
        worker_id = %(worker)s, started_at = clock_timestamp(), updated_at = now()
    from leased where j.id = leased.job_id
    returning j.id, j.lease_token, j.job_type, j.payload, j.attempt
), events as (
    insert into public.indexing_job_events (job_id, event_type, context)
    select id, 'claim', jsonb_build_object('lease_token', lease_token) from claimed
)
select * from claimed"""

_COMPLETE = """
with ended as (
    update public.indexing_jobs j
    set status = 'completed', result = '{}', lease_token = null, finished_at = clock_timestamp(), updated_at = now()
    from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) g (id, token) where j.id = g.id and j.lease_token = g.token
    returning j.id, g.token
), gone as (
    delete from queue.running r using ended where r.token = ended.token
), events as (
    insert into public.indexing_job_events (job_id, event_type, context)
    select id, 'complete', jsonb_build_object('lease_token', token) from ended
)
select count(*) from ended"""


def drain(url: str, jobs: int, batch: int = 500) -> float:
    """Jobs a second of one connection that claims and completes in turn."""
    worker = uuid.uuid4()
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("set enable_hashjoin to off")
        connection.execute("set enable_mergejoin to off")
        started, done = time.perf_counter(), 0
        while rows := connection.execute(_CLAIM, {"batch": batch, "worker": worker}).fetchall():
            ended = {"ids": [row[0] for row in rows], "tokens": [row[1] for row in rows]}
            answer = connection.execute(_COMPLETE, ended).fetchone()
            assert answer is not None
            assert answer[0] == len(rows)
            done += len(rows)
        seconds = time.perf_counter() - started
    assert done == jobs, f"{done} of {jobs} jobs were done"
    return jobs / seconds


def listen_pickup(url: str, times: int) -> list[float]:
    """The limit of a pickup: milliseconds from a NOTIFY's statement to the listener's wake-up, sorted, with the pauses
    of a real pickup between two: processors that have gone to sleep are a large part of it.
    """
    took: list[float] = []
    with psycopg.connect(url, autocommit=True) as hears, psycopg.connect(url, autocommit=True) as tells:
        hears.execute("listen bench")
        for _ in range(times):
            sent = time.perf_counter()
            tells.execute("notify bench")
            for _message in hears.notifies(stop_after=1):
                took.append((time.perf_counter() - sent) * 1000)
            time.sleep(random.uniform(0.01, 0.04))
    return sorted(took)

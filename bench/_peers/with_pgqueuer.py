"""PgQueuer at its fastest, found by trying: interleaved rounds of 20,000 jobs, medians."""

import asyncio
import importlib
import time
from typing import Any

import psycopg

from bench._peers.producer import Pickup, one_at_a_time

# The libraries of the peers are not in our own environment, where this file is type-checked too.
asyncpg = importlib.import_module("asyncpg")
database = importlib.import_module("pgqueuer.db")
queries = importlib.import_module("pgqueuer.queries")
workers = importlib.import_module("pgqueuer.qm")

# asyncpg is over three times as fast as psycopg, whose driver holds one connection for listening and for queries.
# A pool of four beats one connection by a fifth or more: claiming the next batch overlaps with finishing the last.
# Batches of 250 to 1000 are alike, 100 and 2000 slower; so are its own benchmark's five workers with batches of 10
# (a third of the speed). More workers in the process, a larger pool, vacuum settings and max_concurrent_tasks change
# nothing. The tables stay logged, as ours are, and heartbeats on: without either it would not survive a crash.
BATCH = 500
POOL = 4
BULK = 5_000


async def drain(url: str, jobs: int) -> float:
    """Jobs a second from the worker's start until its tables say that all are done."""
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:
        queue = await _installed(pool)
        for size in [BULK] * (jobs // BULK) + [jobs % BULK]:
            await queue.enqueue(["noop"] * size, [None] * size, [0] * size)
        await pool.execute("ANALYZE")
        seconds = await _drained(workers.QueueManager(queue), jobs)
        await _assert_all_done(pool, jobs)
        return jobs / seconds


async def pickup(url: str, jobs: int) -> list[float]:
    """Milliseconds each job waited for its handler."""
    seen = Pickup(jobs)
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool, asyncio.TaskGroup() as group:
        worker = workers.QueueManager(await _installed(pool))

        @worker.entrypoint("noop", accepts_context=False)
        async def noop(job: Any) -> None:
            seen.start(int(job.payload))

        group.create_task(worker.run(batch_size=1))  # a finished job is written at once, not after 0.1 s
        waited = await seen.milliseconds("pgqueuer", url)
        worker.shutdown.set()
    return waited


def enqueue(url: str, jobs: int) -> list[int]:
    """The producer of a pickup."""
    with psycopg.connect(url, autocommit=True) as connection:
        queue = queries.SyncQueries(database.SyncPsycopgDriver(connection))
        return one_at_a_time(lambda job: queue.enqueue("noop", str(job).encode()), jobs)


async def _installed(pool: Any) -> Any:
    queue = queries.Queries(database.AsyncpgPoolDriver(pool))
    await queue.install()
    return queue


async def _drained(worker: Any, jobs: int) -> float:
    """Seconds of one worker; told to stop by the last job, it writes what is finished before it ends."""
    handled = 0

    @worker.entrypoint("noop", accepts_context=False)
    async def noop(_job: Any) -> None:
        nonlocal handled
        handled += 1
        if handled == jobs:
            worker.shutdown.set()

    started = time.perf_counter()
    await worker.run(batch_size=BATCH)
    return time.perf_counter() - started


async def _assert_all_done(pool: Any, jobs: int) -> None:
    """A finished job leaves the queue's table for the log."""
    left = await pool.fetchval("SELECT count(*) FROM pgqueuer")
    done = await pool.fetchval("SELECT count(DISTINCT job_id) FROM pgqueuer_log WHERE status = 'successful'")
    assert (left, done) == (0, jobs), f"{left} jobs left and {done} of {jobs} done"

"""Procrastinate at its fastest, found by trying: interleaved rounds, medians."""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import psycopg_pool

from bench._peers.producer import Pickup, one_at_a_time

# The libraries of the peers are not in our own environment, where this file is type-checked too.
procrastinate = importlib.import_module("procrastinate")

# A worker fetches one job at a time, so one alone waits for Postgres most of the time: four in the process are half as
# fast again (eight are alike). With a single one, 5 and 10 jobs at once are best, 20 and 50 slower. Deleting finished
# jobs gains nothing, so history is kept, as ours is. Nothing to be notified of here: listening costs a connection only.
WORKERS = 4
CONCURRENCY = 5
POOL = WORKERS * CONCURRENCY + 2
BULK = 1_000


async def drain(url: str, jobs: int) -> float:
    """Jobs a second from the worker's start until its table says that all are done."""
    async with _opened(url) as app:
        task = _noop(app)
        for size in [BULK] * (jobs // BULK) + [jobs % BULK]:
            await task.batch_defer_async(*[{"job": 0}] * size)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as watcher:
            await watcher.execute("ANALYZE")
            seconds = await _drained(app)
            await _assert_all_done(watcher, jobs)
        return jobs / seconds


async def pickup(url: str, jobs: int) -> list[float]:
    """Milliseconds each job waited for its handler."""
    seen = Pickup(jobs)
    async with _opened(url) as app, asyncio.TaskGroup() as group:
        _noop(app, seen)
        worker = group.create_task(app.run_worker_async(concurrency=CONCURRENCY))
        waited = await seen.milliseconds("procrastinate", url)
        worker.cancel()
    return waited


def enqueue(url: str, jobs: int) -> list[int]:
    """The producer of a pickup."""
    with procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url)).open() as app:
        task = _noop(app)
        return one_at_a_time(lambda job: task.defer(job=job), jobs)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Any]:
    """An app on an installed schema, with a pool of our own making: it spares both round trips that the usual one adds.

    The usual pool asks each connection whether it is alive before lending it, and opens a transaction for each of
    Procrastinate's statements, all of which stand alone.
    """
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(configure=_commit_each))
    pool = psycopg_pool.AsyncConnectionPool(url, min_size=POOL, max_size=POOL, open=False, configure=_commit_each)
    async with pool, app.open_async(pool):
        await pool.wait()
        await app.schema_manager.apply_schema_async()
        yield app


async def _drained(app: Any) -> float:
    """Seconds of the workers of one process; each ends when it finds no job and has finished its own."""
    settings = {"concurrency": CONCURRENCY, "wait": False, "listen_notify": False, "install_signal_handlers": False}
    started = time.perf_counter()
    await asyncio.gather(*(app.run_worker_async(**settings) for _ in range(WORKERS)))
    return time.perf_counter() - started


async def _commit_each(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


def _noop(app: Any, seen: Pickup | None = None) -> Any:
    @app.task(name="noop")
    async def noop(job: int) -> None:
        if seen:
            seen.start(job)

    return noop


async def _assert_all_done(watcher: psycopg.AsyncConnection[Any], jobs: int) -> None:
    found = await watcher.execute("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status")
    done = dict(await found.fetchall())
    assert done == {"succeeded": jobs}, f"{done} of {jobs}"

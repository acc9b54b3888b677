"""Maintenance says what it made ready to claim, so that nobody waits for a poll."""

import asyncio
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from worker.database.connect import connect, connect_async
from worker.database.pool import make_pool
from worker.job import new_job_id
from worker.metrics import REGISTRY
from worker.queue import lease
from worker.queue.schedule import NewSchedule, add
from worker.runtime.maintenance import Maintenance
from worker.settings import Settings

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def worker_id(database_url: str) -> uuid.UUID:
    """A registered worker."""
    worker_id = uuid.uuid4()
    with connect(database_url, name="test") as connection:
        lease.register(connection, lease.WorkerIdentity(worker_id, "test", 1, "0", None, 1, ["nothing"]))
    return worker_id


def first_announced(url: str, worker_id: uuid.UUID) -> str:
    """Let maintenance work until it announces something; that."""
    settings = Settings(_env_file=None, database_url=url)  # type: ignore[call-arg]
    heartbeat, logs = SimpleNamespace(worker_id=worker_id), SimpleNamespace(seal_abandoned=_idle, sweep=_idle)

    async def run() -> str:
        told = asyncio.Queue[str]()
        async with make_pool(url, size=3, name="test") as pool:
            maintenance = Maintenance(pool, settings, cast(Any, heartbeat), cast(Any, logs), on_ready=told.put_nowait)
            running = asyncio.create_task(maintenance.run())
            try:
                return await asyncio.wait_for(told.get(), 20)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    return asyncio.run(run())


async def _idle() -> None:
    return


def test_a_schedule_that_fires_is_announced(database_url: str, db: Database, worker_id: uuid.UUID) -> None:
    """With its job type."""

    async def make() -> None:
        async with await connect_async(database_url, name="test") as connection:
            await add(connection, NewSchedule("often", "* * * * *", "nothing"))

    asyncio.run(make())
    db.execute("update job_schedules set next_run_at = date_trunc('minute', now())")
    assert first_announced(database_url, worker_id) == "nothing"


def test_rescued_jobs_are_announced(database_url: str, db: Database, worker_id: uuid.UUID) -> None:
    """Whoever is idle takes them at once."""
    db.execute("select queue.enqueue(%s, null, 'nothing', '{}')", (new_job_id(),))
    assert db.execute("select id from queue.claim(%s, '{nothing}', 1)", (worker_id,)).rowcount == 1
    db.execute("update workers set state = 'lost' where id = %s", (worker_id,))
    with connect(database_url, name="test") as connection:
        lease.register(connection, lease.WorkerIdentity(mine := uuid.uuid4(), "test", 1, "0", None, 1, ["nothing"]))
    db.execute("update workers set renewing_since = now() - interval '1 hour' where id = %s", (mine,))
    assert first_announced(database_url, mine) == ""


def test_a_job_that_nobody_would_have_woken_is_found(
    database_url: str, db: Database, worker_id: uuid.UUID, make_repository: Callable[..., uuid.UUID]
) -> None:
    """It is woken, counted and announced."""
    before = REGISTRY.get_sample_value("indexing_worker_mended_total") or 0
    db.execute("select queue.enqueue(%s, %s, 'nothing', '{}')", (new_job_id(), make_repository()))
    db.execute("update queue.waiting set hold = 'repository'")
    assert first_announced(database_url, worker_id) == ""
    assert db.execute("select hold from queue.waiting").fetchone() == {"hold": None}
    assert REGISTRY.get_sample_value("indexing_worker_mended_total") == before + 1

"""The worker's part in job logs: flushing goes on, whatever else is done with logs."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.workers import eventually
from worker.job import Ending, Job, Outcome
from worker.joblog.stores.local import LocalStore
from worker.runtime.joblogs import STORE_THREADS, JobLogs
from worker.runtime.settle import Settler
from worker.settings import load_settings


@pytest.fixture
def slow_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is not set, sweeps wait in the store."""
    over = threading.Event()
    monkeypatch.setattr(LocalStore, "ensure_retention", lambda *_: over.wait(60))
    yield over
    over.set()


def a_job() -> Job:
    """A claimed job."""
    now = datetime.now(UTC)
    return Job(uuid.uuid4(), "nothing", 1, 1, 5, {}, now, now, now)


def test_long_calls_of_the_store_keep_no_running_job_waiting(tmp_path: Path, slow_calls: threading.Event) -> None:
    """While large logs are sealed or swept, as many as may be at once, what running jobs log is uploaded in time."""
    settings = load_settings(worker_state_dir=tmp_path, worker_log_flush_interval=0.2, worker_log_backend="local")
    logs = JobLogs(settings, pool=None)  # pyright: ignore[reportArgumentType]
    live = tmp_path / "logs" / "worker-logs" / "live"

    async def run() -> None:
        await logs.prepare()
        long = [asyncio.create_task(logs.sweep()) for _ in range(STORE_THREADS + 1)]
        logs.open(a_job(), "w")
        await asyncio.to_thread(eventually, lambda: list(live.glob("*/*/*")), seconds=30, what="a segment")
        slow_calls.set()
        assert await asyncio.gather(*long) == [0] * len(long)
        await logs.close(0)

    asyncio.run(run())


@pytest.mark.parametrize("logged", ["little, behind others", "much"])
def test_promise_7_the_last_lines_leave_the_machine_before_a_seal_that_takes_long(
    tmp_path: Path, slow_calls: threading.Event, monkeypatch: pytest.MonkeyPatch, logged: str
) -> None:
    """A job has ended and its log cannot be sealed soon: what was not flushed is in the store all the same."""
    settings = load_settings(worker_state_dir=tmp_path, worker_log_flush_interval=60, worker_log_backend="local")
    logs = JobLogs(settings, pool=None)  # pyright: ignore[reportArgumentType]
    live = tmp_path / "logs" / "worker-logs" / "live"

    async def wait(*_: object) -> bool:
        await asyncio.to_thread(slow_calls.wait, 60)
        return False

    monkeypatch.setattr(Settler, "settle", wait)

    def end_one(lines: int) -> None:
        job = a_job()
        opened = logs.open(job, "w")
        for number in range(lines):
            opened.log.info("line", n=number, pad="x" * 10_000)
        logs.end(job, Outcome(Ending.COMPLETE), "complete")

    async def run() -> None:
        await logs.prepare()
        for _ in range(1 if logged == "much" else STORE_THREADS):
            end_one(1)
        await asyncio.sleep(0.3)
        assert list(live.glob("*/*/*")) == []
        end_one(900 if logged == "much" else 1)
        await asyncio.to_thread(eventually, lambda: list(live.glob("*/*/*")), seconds=30, what="a segment")
        slow_calls.set()
        await logs.close(5)

    asyncio.run(run())

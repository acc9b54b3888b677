"""One worker process: claims jobs into free slots, runs their attempts, records how they ended, drains when told."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import Any

from worker import __version__, metrics
from worker.backoff import poll_delay
from worker.database.connect import connect
from worker.database.pool import make_pool
from worker.errors import WorkerError
from worker.handlers import job_types, load_modules
from worker.job import Job
from worker.logging import get_logger
from worker.queue.claim import claim
from worker.runtime import tree
from worker.runtime.channel import Secrets
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.http import HealthServer
from worker.runtime.joblogs import JobLogs
from worker.runtime.launch import Launcher
from worker.runtime.limits import watch_memory
from worker.runtime.maintenance import Maintenance
from worker.runtime.scratch import Scratch
from worker.runtime.slots import DATABASE_TROUBLE, Slots
from worker.settings import Settings

SECONDS_TO_HAND_BACK = 15
"""Longest wait for killing trees and recording releases; a database that is away longer finds them by rescue."""


class Worker:
    """The parent of all attempts of this process."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        load_modules(settings.handler_modules)
        metrics.announce_job_types(job_types())
        self.settings = settings
        self.heartbeat = Heartbeat(
            lambda: connect(database_url, name="indexing-worker heartbeat"),
            lease_seconds=settings.worker_lease_seconds,
            every_seconds=settings.worker_heartbeat_seconds,
            slots=settings.worker_slots,
            job_types=job_types(),
        )
        self.pool = make_pool(database_url, size=settings.database_pool_size, name="indexing-worker")
        self.launcher = Launcher(Secrets(settings, database_url), settings.handler_modules)
        self.scratch = Scratch(settings.scratch_dir)
        self.logs = JobLogs(settings, self.pool)
        self.maintenance = Maintenance(self.pool, settings, self.heartbeat, self.logs)
        self.slots = Slots(
            settings, self.pool, self.heartbeat, launcher=self.launcher, scratch=self.scratch, logs=self.logs
        )
        self.draining = asyncio.Event()
        self._at_once = asyncio.Event()
        self._log = get_logger()

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until a signal ends it, or with `until_idle` until the queue holds nothing to do."""
        tree.become_subreaper()
        self._listen_to_signals()
        await asyncio.to_thread(self.launcher.warm_up)
        await self.pool.open()
        self.heartbeat.start()
        await self._recover_logs()
        background = [
            asyncio.create_task(watch_memory(self.slots.running.values, self.settings.worker_memory_mb * 2**20)),
            asyncio.create_task(self._watch_heartbeat()),
            asyncio.create_task(self.maintenance.run()),
        ]
        try:
            await self._claim_until_drained(until_idle)
            await self._drain()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.to_thread(self.heartbeat.end)
            await self.pool.close()
            self.scratch.close()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process does its work, and the facts; called from the health thread."""
        age = self.heartbeat.renewal_age
        worker_id = self.heartbeat.worker_id
        facts = {
            "worker": str(worker_id) if worker_id else None,
            "version": __version__,
            "state": "draining" if self.draining.is_set() else "running",
            "slots": self.settings.worker_slots,
            "running": len(self.slots.running),
            "renewal_age_seconds": round(age, 3),
        }
        return worker_id is not None and age < self.settings.worker_lease_seconds, facts

    async def _recover_logs(self) -> None:
        try:
            await self.logs.prepare()
        except (WorkerError, *DATABASE_TROUBLE) as failure:
            self._log.warning("left-over logs wait for the next start", reason=str(failure))

    # Claiming

    async def _claim_until_drained(self, until_idle: bool) -> None:
        while not self.draining.is_set():
            self.slots.changed.clear()  # before the look: what becomes free during it is not missed
            jobs = await self._claim(self.slots.free) if self.slots.free > 0 else []
            for job in jobs:
                self.slots.start(job)
            if until_idle and not jobs and not self.slots.running and self.heartbeat.worker_id is not None:
                return
            if not jobs or self.slots.free <= 0:
                await self._wait_for_change()

    async def _claim(self, limit: int) -> list[Job]:
        worker_id = self.heartbeat.worker_id
        if worker_id is None:
            return []
        try:
            async with self.pool.connection() as connection:
                jobs = await claim(connection, worker_id, job_types(), limit)
        except DATABASE_TROUBLE as failure:
            self._log.warning("cannot claim", reason=str(failure))
            return []
        metrics.claimed(len(jobs))
        return jobs

    async def _wait_for_change(self) -> None:
        """Until a slot becomes free, a drain begins, or it is time to look again."""
        waits = [asyncio.create_task(self.slots.changed.wait()), asyncio.create_task(self.draining.wait())]
        pause = 0.05 if self.heartbeat.worker_id is None else poll_delay(self.settings.worker_poll_seconds)
        _, pending = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    # Drain

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread: a test's worker
                loop.add_signal_handler(number, self.drain, signal.Signals(number).name)

    def drain(self, why: str = "asked") -> None:
        """First call: claim no more and wait for what runs. Second call: stop what runs at once."""
        if self.draining.is_set():
            self._log.warning("stopping at once", signal=why)
            self._at_once.set()
            return
        self._log.info(
            "draining", signal=why, running=len(self.slots.running), seconds=self.settings.worker_drain_seconds
        )
        self.draining.set()
        self.heartbeat.drain()

    async def _drain(self) -> None:
        """Until nothing runs, the deadline, or the second signal; what runs then is handed back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.worker_drain_seconds):
                await self._empty_or_at_once()
        if self.slots.running:
            self._log.warning("handing jobs back", jobs=len(self.slots.running))
            self.slots.release_all()
            await self.slots.wait_until_empty(SECONDS_TO_HAND_BACK)

    async def _empty_or_at_once(self) -> None:
        waits = [asyncio.create_task(self.slots.wait_until_empty(None)), asyncio.create_task(self._at_once.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch_heartbeat(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            metrics.renewal_age(self.heartbeat.renewal_age)
            await asyncio.to_thread(self.heartbeat.check)


async def run_worker(
    settings: Settings,
    database_url: str,
    *,
    until_idle: bool = False,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Run one worker process to its end. `on_ready` gets the port of its health and metrics."""
    worker = Worker(settings, database_url)
    health = HealthServer(settings.worker_http_host, settings.worker_metrics_port, worker.health)
    try:
        get_logger().info("worker starts", slots=settings.worker_slots, metrics_port=health.port)
        if on_ready is not None:
            on_ready(health.port)
        await worker.run(until_idle=until_idle)
        get_logger().info("worker ended")
    finally:
        health.close()

"""What somebody must do now and then, without a leader: rescue, schedules, mending, sealing, pruning."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker import metrics
from worker.backoff import poll_delay
from worker.catalog.collect import collect
from worker.credentials.github_app import app_of
from worker.indexing.languages import PARSER_VERSION
from worker.job import INCREMENTAL_UPDATE, RECONCILE
from worker.logging import get_logger
from worker.queue.maintenance import complain, may_rescue, take_due
from worker.queue.mend import mend
from worker.queue.prune import forget_workers, prune
from worker.queue.reconcile import reconcile
from worker.queue.refresh import refresh
from worker.queue.rescue import rescue
from worker.queue.schedule import Schedule, any_due, fire_due
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.joblogs import JobLogs
from worker.runtime.redeliver import redeliver
from worker.settings import Settings

Connection = psycopg.AsyncConnection[dict[str, Any]]
Pool = AsyncConnectionPool[Connection]
SECONDS_BETWEEN_LOOKS = 2.0


class Maintenance:
    """Takes due tasks one by one; each is a row that the first worker to come takes."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        heartbeat: Heartbeat,
        logs: JobLogs,
        *,
        on_ready: Callable[[str], None],
    ) -> None:
        """`on_ready` learns of which type jobs were made ready to claim; an empty one: of any."""
        self._pool = pool
        self._settings = settings
        self._heartbeat = heartbeat
        self._logs = logs
        self._on_ready = on_ready
        self._tasks: dict[str, Callable[[UUID], Awaitable[None]]] = {
            "rescue": self._rescue,
            "schedules": self._schedules,
            "mend": self._mend,
            "seal_logs": self._seal_logs,
            "prune": self._prune,
            "sweep_logs": self._sweep_logs,
            "forget_workers": self._forget_workers,
            "collect": self._collect,
            "refresh": self._refresh,
            "reconcile": self._reconcile,
            "redeliver": self._redeliver,
        }

    async def run(self) -> None:
        """Work until cancelled; a task that fails says so in its row and is tried again at its time."""
        prompt = ["rescue", "schedules"]
        others = [name for name in self._tasks if name not in prompt]
        # These have a loop of their own: they must not wait behind a slow store or a long prune.
        await asyncio.gather(self._keep_house(prompt), self._keep_house(others))

    async def _keep_house(self, names: list[str]) -> None:
        while True:
            try:
                while self._heartbeat.worker_id is not None and await self._run_one(self._heartbeat.worker_id, names):
                    pass
            except (psycopg.Error, PoolTimeout) as failure:
                get_logger().warning("maintenance waits: Postgres does not answer", reason=str(failure))
            await asyncio.sleep(poll_delay(SECONDS_BETWEEN_LOOKS))

    async def _run_one(self, worker_id: UUID, names: list[str]) -> bool:
        async with self._pool.connection() as connection:
            wanted = [name for name in names if await self._is_wanted(name, connection, worker_id)]
            name = await take_due(connection, worker_id, wanted) if wanted else None
        if name is None:
            return False
        try:
            await self._tasks[name](worker_id)
        except Exception as failure:  # whatever it was: without this loop nobody rescues
            get_logger().error("maintenance task failed", task=name, reason=str(failure))
            async with self._pool.connection() as connection:
                await complain(connection, worker_id, name, str(failure))
        return True

    async def _is_wanted(self, name: str, connection: Connection, worker_id: UUID) -> bool:
        """Two are worth a look before anything is written."""
        if name == "rescue":
            return await may_rescue(connection, worker_id, self._settings.worker_lease_seconds)
        return name != "schedules" or await any_due(connection)

    async def _rescue(self, worker_id: UUID) -> None:
        def complain_of(job_id: UUID, failure: psycopg.Error) -> None:
            get_logger().error("a job cannot be rescued", job=str(job_id), reason=str(failure))

        async with self._pool.connection() as connection:
            rescued = await rescue(
                connection,
                worker_id,
                lease_seconds=self._settings.worker_lease_seconds,
                crash_limit=self._settings.worker_crash_limit,
                on_error=complain_of,
            )
        metrics.rescued(len(rescued))
        for job in rescued:
            get_logger().warning("rescue", job=str(job.job_id), verb=job.verb)
        if rescued:  # they, and what waited for their repositories
            self._on_ready("")

    async def _schedules(self, _: UUID) -> None:
        def complain_of(schedule: Schedule, reason: str) -> None:
            get_logger().error("a schedule cannot fire", schedule=schedule.name, reason=reason)

        async with self._pool.connection() as connection:
            attempts = self._settings.worker_max_attempts
            for fired in await fire_due(connection, max_attempts=attempts, on_error=complain_of):
                jobs = [str(job_id) for job_id in fired.job_ids]
                get_logger().info("schedule", schedule=fired.schedule.name, due=fired.ticks[0].isoformat(), jobs=jobs)
                self._on_ready(fired.schedule.job_type)

    async def _mend(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            found = await mend(connection)
        if found:
            metrics.mended(found)
            get_logger().warning("mend: jobs waited that nobody would have woken", found=found)
            self._on_ready("")

    async def _seal_logs(self, _: UUID) -> None:
        await self._logs.seal_abandoned()

    async def _prune(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            gone = await prune(
                connection,
                completed_days=self._settings.worker_job_retention_days,
                failed_days=self._settings.worker_failed_job_retention_days,
            )
        if gone:
            get_logger().info("prune", jobs=gone)

    async def _sweep_logs(self, _: UUID) -> None:
        await self._logs.sweep()

    async def _forget_workers(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            await forget_workers(connection)

    async def _collect(self, _: UUID) -> None:
        grace = timedelta(days=self._settings.worker_blob_grace_days)
        async with self._pool.connection() as connection:
            gone = await collect(connection, grace=grace)
        metrics.collected(gone.blobs)
        if gone.blobs:
            get_logger().info("collect", blobs=gone.blobs, bytes=gone.size_bytes)

    async def _refresh(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            attempts = self._settings.worker_max_attempts
            jobs = await refresh(connection, parser_version=PARSER_VERSION, max_attempts=attempts)
        if jobs:
            get_logger().info("refresh", jobs=[str(job_id) for job_id in jobs])
            self._on_ready(INCREMENTAL_UPDATE)

    async def _reconcile(self, _: UUID) -> None:
        seconds, budget = self._settings.worker_reconcile_seconds, self._settings.worker_reconcile_per_minute
        if seconds == 0:
            return
        async with self._pool.connection() as connection:
            jobs = await reconcile(connection, seconds=seconds, budget=budget)
        if jobs:
            get_logger().info("reconcile", jobs=len(jobs))
            self._on_ready(RECONCILE)

    async def _redeliver(self, _: UUID) -> None:
        app = app_of(self._settings)
        if app is None or not self._settings.worker_github_app_secret:
            return
        done = await redeliver(app)
        if done.asked:
            get_logger().warning("redeliver: GitHub is asked for deliveries that failed", **asdict(done))

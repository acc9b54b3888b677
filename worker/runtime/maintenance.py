"""What somebody must do now and then, without a leader: rescue, sealing, pruning; and the gauges of the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker import metrics
from worker.backoff import poll_delay
from worker.logging import get_logger
from worker.queue.depth import depth
from worker.queue.maintenance import complain, may_rescue, take_due
from worker.queue.prune import forget_workers, prune
from worker.queue.rescue import rescue
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.joblogs import JobLogs
from worker.settings import Settings

Connection = psycopg.AsyncConnection[dict[str, Any]]
Pool = AsyncConnectionPool[Connection]
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_GAUGES = 10.0


class Maintenance:
    """Takes due tasks one by one; each is a row that the first worker to come takes."""

    def __init__(self, pool: Pool, settings: Settings, heartbeat: Heartbeat, logs: JobLogs) -> None:
        self._pool = pool
        self._settings = settings
        self._heartbeat = heartbeat
        self._logs = logs
        self._tasks: dict[str, Callable[[UUID], Awaitable[None]]] = {
            "rescue": self._rescue,
            "seal_logs": self._seal_logs,
            "prune": self._prune,
            "sweep_logs": self._sweep_logs,
            "forget_workers": self._forget_workers,
        }

    async def run(self) -> None:
        """Work until cancelled; a task that fails says so in its row and is tried again at its time."""
        rescue = ["rescue"]
        others = [name for name in self._tasks if name not in rescue]
        # Rescue has a loop of its own: it must not wait behind a slow store or a long prune.
        await asyncio.gather(self._keep_house(rescue), self._keep_house(others), self._keep_gauges())

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
            if "rescue" in names and not await may_rescue(connection, worker_id, self._settings.worker_lease_seconds):
                return False
            name = await take_due(connection, worker_id, names)
        if name is None:
            return False
        try:
            await self._tasks[name](worker_id)
        except Exception as failure:  # whatever it was: without this loop nobody rescues
            get_logger().error("maintenance task failed", task=name, reason=str(failure))
            async with self._pool.connection() as connection:
                await complain(connection, worker_id, name, str(failure))
        return True

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

    async def _seal_logs(self, _: UUID) -> None:
        await self._logs.seal_abandoned()

    async def _prune(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            gone = await prune(connection, retention_days=self._settings.worker_job_retention_days)
        if gone:
            get_logger().info("prune", jobs=gone)

    async def _sweep_logs(self, _: UUID) -> None:
        await self._logs.sweep()

    async def _forget_workers(self, _: UUID) -> None:
        async with self._pool.connection() as connection:
            await forget_workers(connection)

    async def _keep_gauges(self) -> None:
        while True:
            try:
                async with self._pool.connection() as connection:
                    metrics.queue_depth(await depth(connection))
            except (psycopg.Error, PoolTimeout) as failure:
                get_logger().debug("cannot read the queue's depth", reason=str(failure))
            await asyncio.sleep(SECONDS_BETWEEN_GAUGES)

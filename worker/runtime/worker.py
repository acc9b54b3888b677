"""One worker process: claims jobs into free slots, runs their attempts, records how they ended, drains when told."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from worker import __version__, metrics
from worker.backoff import poll_delay
from worker.database.connect import connect
from worker.database.pool import make_pool
from worker.errors import LeaseLost, LogStoreError
from worker.handlers import job_types, load_modules
from worker.job import Ending, Job, Outcome
from worker.logging import get_logger
from worker.queue.claim import claim
from worker.queue.finish import finish, has_completed
from worker.runtime import tree
from worker.runtime.attempt import Attempt, Stop
from worker.runtime.channel import Secrets
from worker.runtime.child import ChildOrder
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.http import HealthServer
from worker.runtime.joblogs import JobLogs
from worker.runtime.launch import Launcher
from worker.runtime.limits import watch_memory
from worker.runtime.maintenance import Maintenance
from worker.runtime.reporter import Reporter
from worker.runtime.scratch import Scratch
from worker.settings import Settings

DATABASE_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


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
        self.running: dict[int, Attempt] = {}
        self.draining = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slot_free = asyncio.Event()
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
            asyncio.create_task(watch_memory(self.running.values, self.settings.worker_memory_mb * 2**20)),
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
            "running": len(self.running),
            "renewal_age_seconds": round(age, 3),
        }
        return worker_id is not None and age < self.settings.worker_lease_seconds, facts

    async def _recover_logs(self) -> None:
        try:
            await self.logs.prepare()
        except (LogStoreError, *DATABASE_TROUBLE) as failure:
            self._log.warning("left-over logs wait for the next start", reason=str(failure))

    # Claiming

    async def _claim_until_drained(self, until_idle: bool) -> None:
        while not self.draining.is_set():
            free = self.settings.worker_slots - len(self.running)
            jobs = await self._claim(free) if free > 0 else []
            for job in jobs:
                self._start(job)
            if until_idle and not jobs and not self.running and self.heartbeat.worker_id is not None:
                return
            if not jobs or len(self.running) >= self.settings.worker_slots:
                await self._wait_for_change()

    async def _claim(self, limit: int) -> list[Job]:
        worker_id = self.heartbeat.worker_id
        if worker_id is None:
            return []
        try:
            async with self.pool.connection() as connection:
                jobs = await claim(connection, worker_id, job_types(), limit)
        except DATABASE_TROUBLE as failure:
            self._log.warning("cannot claim: Postgres does not answer", reason=str(failure))
            return []
        metrics.claimed(len(jobs))
        return jobs

    async def _wait_for_change(self) -> None:
        """Until a slot becomes free, a drain begins, or it is time to look again."""
        self._slot_free.clear()
        waits = [asyncio.create_task(self._slot_free.wait()), asyncio.create_task(self.draining.wait())]
        pause = 0.05 if self.heartbeat.worker_id is None else poll_delay(self.settings.worker_poll_seconds)
        _, pending = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    # One job

    def _start(self, job: Job) -> None:
        attempt = Attempt(
            job,
            lambda: self.launcher.start(self._order(job)),
            timeout_seconds=job.timeout_seconds or self.settings.worker_timeout_seconds,
            first_backoff=self.settings.worker_backoff_seconds,
            on_message=lambda message: reporter.take(message),  # noqa: PLW0108  (the two know each other)
        )
        reporter = Reporter(self.pool, job, on_lost=lambda: self._lose(attempt))
        self.heartbeat.hold(job.lease_token, attempt.stop)
        self.running[job.lease_token] = attempt
        metrics.slots(running=len(self.running), free=self.settings.worker_slots - len(self.running))
        metrics.picked_up(job.job_type, (job.started_at - job.queued_at).total_seconds())
        task = asyncio.create_task(self._run(attempt, reporter), name=f"job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _order(self, job: Job) -> ChildOrder:
        return ChildOrder(
            job=job,
            workdir=self.scratch.folder(job),
            spool_root=self.logs.spool_root,
            log_level=self.settings.worker_log_level,
            memory_bytes=self.settings.worker_memory_mb * 2**20 * 4,
            file_bytes=self.settings.worker_max_fetch_mb * 2**20 * 2,
            processes=self.settings.worker_extractors,
        )

    async def _run(self, attempt: Attempt, reporter: Reporter) -> None:
        """The whole story of one attempt; the one place that sees it from claim to sealed log."""
        job, started = attempt.job, time.monotonic()
        reporting = asyncio.create_task(reporter.run())
        try:
            outcome = await self._outcome(attempt)
            await reporter.flush()
            verb = await self._finish(attempt, outcome)
            self._tell(job, outcome, verb, time.monotonic() - started)
            await self.logs.end(job, outcome, verb)
        except Exception:
            self._log.exception("the end of an attempt could not be recorded", job=str(job.id))
        finally:
            reporting.cancel()
            shutil.rmtree(self.scratch.folder(job, create=False), ignore_errors=True)
            self.heartbeat.let_go(job.lease_token)
            self.running.pop(job.lease_token, None)
            metrics.slots(running=len(self.running), free=self.settings.worker_slots - len(self.running))
            self._slot_free.set()

    async def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            await self.logs.begin(attempt.job, str(self.heartbeat.worker_id))
            return await attempt.run()
        except (OSError, EOFError) as failure:  # no process to be had: not the job's fault
            self._log.error("cannot start a child process", job=str(attempt.job.id), reason=str(failure))
            message = "the worker could not start a process"
            return Outcome(Ending.RELEASE, error_class="no_process", message=message, delay_seconds=5)
        except Exception as failure:  # our own bug: counted as a crash, so that it cannot go round for ever
            self._log.exception("an attempt broke the worker's own code", job=str(attempt.job.id))
            attempt.stop(Stop.LOST)
            message = f"the worker failed: {type(failure).__name__}"
            return Outcome(Ending.CRASH, error_class="worker_failed", message=message, delay_seconds=5)

    async def _finish(self, attempt: Attempt, outcome: Outcome) -> str:
        """Record the outcome, however long Postgres is away; answers the verb, or 'lost'."""
        job = attempt.job
        while True:
            try:
                async with self.pool.connection() as connection:
                    try:
                        return await finish(connection, job, outcome, crash_limit=self.settings.worker_crash_limit)
                    except LeaseLost:
                        # A publish whose reply was lost, or a kill that came right after it.
                        if await has_completed(connection, job):
                            return "complete"
                        metrics.write_rejected(str(outcome.ending))
                        return "lost"
            except DATABASE_TROUBLE as failure:
                self._log.warning("cannot record an outcome: Postgres does not answer", reason=str(failure))
                if attempt.stopped is Stop.LOST:
                    return "lost"
                await asyncio.sleep(poll_delay(1.0))

    def _lose(self, attempt: Attempt) -> None:
        metrics.write_rejected("progress")
        asyncio.get_running_loop().run_in_executor(None, attempt.stop, Stop.LOST)

    def _tell(self, job: Job, outcome: Outcome, verb: str, seconds: float) -> None:
        metrics.attempt_ended(job.job_type, verb, outcome.error_class, seconds)
        if outcome.ending is Ending.PUBLISHED:
            _count_work(job, outcome.result)
        facts = {
            "job": str(job.id),
            "job_type": job.job_type,
            "attempt": job.attempt,
            "seconds": round(seconds, 3),
        }
        write = self._log.info if verb in ("complete", "cancel", "release") else self._log.warning
        write(verb, **facts, error_class=outcome.error_class, reason=outcome.message)

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
            self._release_all()
            return
        self._log.info("draining", signal=why, running=len(self.running), seconds=self.settings.worker_drain_seconds)
        self.draining.set()
        self.heartbeat.drain()

    async def _drain(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.settings.worker_drain_seconds)
            if late:
                self._log.warning("drain deadline reached: handing jobs back", jobs=len(late))
                self._release_all()
                await asyncio.wait(late, timeout=30)

    def _release_all(self) -> None:
        loop = asyncio.get_running_loop()
        for attempt in list(self.running.values()):
            loop.run_in_executor(None, attempt.stop, Stop.RELEASE)

    async def _watch_heartbeat(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            metrics.renewal_age(self.heartbeat.renewal_age)
            await asyncio.to_thread(self.heartbeat.check)


def _count_work(job: Job, result: Mapping[str, Any]) -> None:
    """Metrics of published work, from the result that was committed with it."""
    metrics.tokens_billed(result.get("tokens_billed", 0))
    metrics.bytes_fetched(result.get("bytes_fetched", 0))
    for phase, seconds in result.get("seconds", {}).items():
        metrics.phase_ended(job.job_type, phase, seconds)


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

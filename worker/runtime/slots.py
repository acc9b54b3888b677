"""The slots of a worker: one attempt each, from the claimed job to its recorded end and its log handed on."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker import metrics
from worker.backoff import poll_delay
from worker.errors import LeaseLost
from worker.job import Ending, Job, Outcome
from worker.logging import get_logger
from worker.queue.finish import finish, has_completed
from worker.runtime.attempt import Attempt, Stop
from worker.runtime.child import ChildOrder
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.joblogs import JobLogs
from worker.runtime.launch import Launcher
from worker.runtime.reporter import Reporter
from worker.runtime.scratch import Scratch
from worker.settings import Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
DATABASE_TROUBLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a failover in progress; an InternalError by its class
    PoolTimeout,
)

UNSTORABLE = "unstorable"
"""The error class of an attempt whose result or message Postgres cannot hold (a NUL, for one)."""


class Slots:
    """Runs attempts. `running` is by lease token; `changed` is set when a slot becomes free."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        heartbeat: Heartbeat,
        *,
        launcher: Launcher,
        scratch: Scratch,
        logs: JobLogs,
    ) -> None:
        self.running: dict[int, Attempt] = {}
        self.changed = asyncio.Event()
        self._settings = settings
        self._pool = pool
        self._heartbeat = heartbeat
        self._launcher = launcher
        self._scratch = scratch
        self._logs = logs
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger()

    @property
    def free(self) -> int:
        """How many more jobs may be started."""
        return self._settings.worker_slots - len(self.running)

    async def wait_until_empty(self, seconds: float | None) -> bool:
        """Wait for everything that runs (None: however long); false when that took longer."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            return not late
        return True

    def release_all(self) -> None:
        """Stop what runs; its jobs go back at no cost."""
        loop = asyncio.get_running_loop()
        for attempt in list(self.running.values()):
            loop.run_in_executor(None, attempt.stop, Stop.RELEASE)

    def start(self, job: Job) -> None:
        """Put a claimed job into a free slot."""
        attempt = Attempt(
            job,
            lambda: self._launcher.start(self._order(job)),
            timeout_seconds=job.timeout_seconds or self._settings.worker_timeout_seconds,
            first_backoff=self._settings.worker_backoff_seconds,
            on_message=lambda message: reporter.take(message),  # noqa: PLW0108  (the two know each other)
        )
        reporter = Reporter(self._pool, job, on_lost=lambda: self._lose(attempt))
        self._heartbeat.hold(job.lease_token, attempt.stop)
        self.running[job.lease_token] = attempt
        self._show()
        metrics.picked_up(job.job_type, (job.started_at - job.queued_at).total_seconds())
        task = asyncio.create_task(self._run(attempt, reporter), name=f"job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _order(self, job: Job) -> ChildOrder:
        return ChildOrder(
            job=job,
            workdir=self._scratch.folder(job),
            spool_root=self._logs.spool_root,
            log_level=self._settings.worker_log_level,
            memory_bytes=self._settings.worker_memory_mb * 2**20 * 4,
            file_bytes=self._settings.worker_max_fetch_mb * 2**20 * 2,
            processes=self._settings.worker_extractors,
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
            await self._logs.end(job, outcome, verb)
        except Exception:
            self._log.exception("the end of an attempt could not be recorded", job=str(job.id))
        finally:
            reporting.cancel()
            await asyncio.to_thread(shutil.rmtree, self._scratch.folder(job, create=False), True)
            self._heartbeat.let_go(job.lease_token)
            self.running.pop(job.lease_token, None)
            self._show()
            self.changed.set()

    async def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            await self._logs.begin(attempt.job, str(self._heartbeat.worker_id))
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
                async with self._pool.connection() as connection:
                    try:
                        return await finish(connection, job, outcome, crash_limit=self._settings.worker_crash_limit)
                    except LeaseLost:
                        # A publish whose reply was lost, or a kill that came right after it.
                        if await has_completed(connection, job):
                            return "complete"
                        metrics.write_rejected(str(outcome.ending))
                        return "lost"
            except (psycopg.DataError, UnicodeError) as failure:  # Postgres refuses its text: say so in our own words
                if outcome.error_class == UNSTORABLE:
                    raise
                cause = type(failure).__name__
                message = f"The attempt ended with {outcome.ending}, but Postgres refused what it said ({cause})."
                outcome = Outcome(Ending.FAIL, error_class=UNSTORABLE, message=message)
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

    def _show(self) -> None:
        metrics.slots(running=len(self.running), free=self.free)


def _count_work(job: Job, result: Mapping[str, Any]) -> None:
    """Metrics of published work, from the result that was committed with it."""
    metrics.tokens_billed(result.get("tokens_billed", 0))
    metrics.bytes_fetched(result.get("bytes_fetched", 0))
    for phase, seconds in result.get("seconds", {}).items():
        metrics.phase_ended(job.job_type, phase, seconds)

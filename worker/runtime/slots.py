"""The slots of a worker: one attempt each, from the claimed job to its recorded end and its log handed on."""

import asyncio
import shutil
import time
from collections.abc import Callable

from worker import metrics, tracing
from worker.credentials.git_token import GitTokens
from worker.job import Ending, Job, Outcome
from worker.logging import get_logger
from worker.runtime.attempt import Attempt, Message, Stop
from worker.runtime.child import ChildOrder
from worker.runtime.endings import DATABASE_TROUBLE, Endings, Pool
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.joblogs import JobLogs
from worker.runtime.launch import Launcher
from worker.runtime.reporter import Reporter
from worker.runtime.scratch import Scratch
from worker.runtime.trace import AttemptTrace
from worker.settings import Settings


class Slots:
    """Runs attempts. `running` is by lease token; `on_room` is called when a slot becomes free."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        heartbeat: Heartbeat,
        *,
        launcher: Launcher,
        git_tokens: GitTokens,
        scratch: Scratch,
        logs: JobLogs,
        endings: Endings,
        on_room: Callable[[], None],
    ) -> None:
        self.running: dict[int, Attempt] = {}
        self._endings = endings
        self._on_room = on_room
        self._settings = settings
        self._pool = pool
        self._heartbeat = heartbeat
        self._launcher = launcher
        self._git_tokens = git_tokens
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

        def heard(message: Message) -> None:
            if not trace.take(message):
                reporter.take(message)

        attempt = Attempt(
            job,
            lambda git_token: self._launcher.start(self._order(job), git_token),
            timeout_seconds=job.timeout_seconds or self._settings.worker_timeout_seconds,
            first_backoff=self._settings.worker_backoff_seconds,
            on_message=heard,
        )
        trace = AttemptTrace(job)
        reporter = Reporter(self._pool, job, on_lost=lambda: self._lose(attempt))
        self._heartbeat.hold(job.lease_token, attempt.stop)
        self.running[job.lease_token] = attempt
        self._show()
        metrics.picked_up(job.job_type, (job.started_at - job.queued_at).total_seconds())
        task = asyncio.create_task(self._run(attempt, reporter, trace), name=f"job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _order(self, job: Job) -> ChildOrder:
        return ChildOrder(
            job=job,
            workdir=self._scratch.folder(job),
            spool_root=self._logs.spool_root,
            log_level=self._settings.worker_log_level,
            log_limits=self._logs.limits,
            memory_bytes=self._settings.worker_memory_mb * 2**20 * 4,
            # The attempt's log is a file of the child's too.
            file_bytes=max(self._settings.worker_max_fetch_mb, self._settings.worker_log_max_mb) * 2**20 * 2,
            processes=self._settings.worker_extractors,
            traced=tracing.is_on(),
        )

    async def _run(self, attempt: Attempt, reporter: Reporter, trace: AttemptTrace) -> None:
        """The whole story of one attempt; the one place that sees it from claim to sealed log."""
        job, started = attempt.job, time.monotonic()
        reporting = asyncio.create_task(reporter.run())
        try:
            outcome = await self._outcome(attempt)
            await reporter.flush()
            verb = await self._endings.record(job, outcome, is_lost=lambda: attempt.stopped is Stop.LOST)
            self._endings.tell(job, outcome, verb, time.monotonic() - started)
            trace.end(outcome, verb)
            self._logs.end(job, outcome, verb)
        except Exception:
            self._log.exception("the end of an attempt could not be recorded", job=str(job.id))
        finally:
            reporting.cancel()
            await asyncio.to_thread(shutil.rmtree, self._scratch.folder(job, create=False), True)
            self._heartbeat.let_go(job.lease_token)
            self.running.pop(job.lease_token, None)
            self._show()
            self._on_room()

    async def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            await self._logs.begin(attempt.job, str(self._heartbeat.worker_id))
            attempt.git_token = await self._git_tokens.find(attempt.job)
            return await attempt.run()
        except DATABASE_TROUBLE as failure:
            self._log.warning("cannot look for the job's git token", job=str(attempt.job.id), reason=str(failure))
            message = "Postgres did not answer; the job comes back at no cost."
            return Outcome(Ending.RELEASE, error_class="database_unavailable", message=message, delay_seconds=5)
        except (OSError, EOFError) as failure:  # no process to be had: not the job's fault
            self._log.error("cannot start a child process", job=str(attempt.job.id), reason=str(failure))
            message = "the worker could not start a process"
            return Outcome(Ending.RELEASE, error_class="no_process", message=message, delay_seconds=5)
        except Exception as failure:  # our own bug: counted as a crash, so that it cannot go round for ever
            self._log.exception("an attempt broke the worker's own code", job=str(attempt.job.id))
            attempt.stop(Stop.LOST)
            message = f"the worker failed: {type(failure).__name__}"
            return Outcome(Ending.CRASH, error_class="worker_failed", message=message, delay_seconds=5)

    def _lose(self, attempt: Attempt) -> None:
        metrics.write_rejected("progress")
        asyncio.get_running_loop().run_in_executor(None, attempt.stop, Stop.LOST)

    def _show(self) -> None:
        metrics.slots("child", running=len(self.running), free=self.free)

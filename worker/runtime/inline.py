"""Light jobs: async handlers that run in the worker's own loop, claimed ahead a little and completed in batches.

Each job still has its lease token, its time limit and its two events. One that writes a log line or an event, or that
fails, goes the longer way of a child's job; all others end together, a statement a batch.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import psycopg

from worker import metrics
from worker.backoff import poll_delay
from worker.database.patience import PATIENCE_SECONDS, patient
from worker.database.session import Session
from worker.errors import TimedOut
from worker.handlers.registry import find, parse_payload
from worker.job import Ending, Job, JobLog, Outcome
from worker.logging import get_logger, redactor
from worker.queue.finish import complete_many, release_many
from worker.runtime.attempt import Stop
from worker.runtime.endings import DATABASE_TROUBLE, Endings, Pool
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.joblogs import JobLogs
from worker.runtime.reporter import Reporter
from worker.runtime.verdict import outcome_of, to_retry, verdict
from worker.settings import Settings

LARGEST_BATCH = 500
SECONDS_AHEAD = 0.2
"""Jobs are claimed ahead for this long at the rate of late, so that no job waits here while another worker idles."""

MOST_SECONDS_WAITING = 1.0
"""What was claimed ahead and has not begun by then goes back: handlers have become slower."""

SECONDS_BETWEEN_LOOKS = 0.25
"""So much later than its time limit a handler may be stopped."""

SECONDS_BEFORE_OTHERS = 0.02
"""Handlers that never wait give way to the rest of the loop this often."""


class Inline:
    """The light jobs of this worker, by lease token, from claim to recorded end."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        session: Session,
        heartbeat: Heartbeat,
        *,
        logs: JobLogs,
        endings: Endings,
        on_room: Callable[[], None],
    ) -> None:
        """`session` is the connection that completes; `on_room` is called when more may be claimed."""
        self.held: dict[int, Held] = {}
        self._settings = settings
        self._pool = pool
        self._session = session
        self._heartbeat = heartbeat
        self._logs = logs
        self._endings = endings
        self._on_room = on_room
        self._queue: deque[Held] = deque()
        self._done: list[Held] = []
        self._runners: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._completing: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()
        self._rate = _Rate()
        self._log = get_logger()

    @property
    def room(self) -> int:
        """How many more jobs to claim; 0 while jobs flow and it would only be a few."""
        ahead = min(self._settings.worker_prefetch, int(self._rate.a_second * SECONDS_AHEAD))
        most = self._settings.worker_inline_slots + ahead
        room = min(most - len(self.held), LARGEST_BATCH)
        is_flowing = bool(self._queue or self._done) or (self._completing is not None and not self._completing.done())
        return 0 if is_flowing and room < min(most, LARGEST_BATCH) // 2 else max(room, 0)

    def start(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs, in order."""
        loop = asyncio.get_running_loop()
        taken = [Held(job) for job in jobs]
        self.held.update((held.token, held) for held in taken)
        self._heartbeat.hold_all({held.token: partial(_in_loop, loop, self._stop, held) for held in taken})
        self._queue.extend(taken)
        self._add_runner()

    def release_waiting(self, reason: str = "the worker is shutting down") -> None:
        """Give back what has not started."""
        waiting = list(self._queue)
        self._queue.clear()
        if waiting:
            self._spawn(self._release(waiting, reason), self._tasks)

    def release_all(self) -> None:
        """Stop what runs as well; everything goes back at no cost."""
        self.release_waiting()
        for held in list(self.held.values()):
            self._stop(held, Stop.RELEASE)

    async def wait_until_empty(self, seconds: float | None) -> bool:
        """Wait until no job is left here (None: however long); false when that took longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.held:
                    self._emptied.clear()
                    await self._emptied.wait()
                return True
        return False

    # One job

    def _add_runner(self) -> None:
        """Another inline slot at work, if jobs wait. It looks again behind the new runner's first step: handlers that
        never wait leave nothing to a second runner.
        """
        if self._queue and len(self._runners) < self._settings.worker_inline_slots:
            self._spawn(self._run(), self._runners)
            asyncio.get_running_loop().call_soon(self._add_runner)

    async def _run(self) -> None:
        """One of the inline slots: job after job until none waits."""
        gave_way = time.monotonic()
        runner = asyncio.current_task()
        while self._queue:
            held = self._queue.popleft()
            started = time.monotonic()
            metrics.picked_up(held.job.job_type, (held.job.started_at - held.job.queued_at).total_seconds())
            outcome = await self._attempt(held, runner)
            held.seconds = (now := time.monotonic()) - started
            if outcome.ending is Ending.COMPLETE and not held.is_told:
                held.result = outcome.result
                self._complete_soon(held)
            else:
                self._spawn(self._end(held, outcome), self._tasks)
            if now - gave_way > SECONDS_BEFORE_OTHERS:
                await asyncio.sleep(0)
                gave_way = time.monotonic()

    async def _attempt(self, held: "Held", runner: asyncio.Task[Any] | None) -> Outcome:
        """Run the handler in this task and say how it went; everything it may raise is caught here."""
        job, backoff = held.job, self._settings.worker_backoff_seconds
        if held.stopped is not None:
            return _stopped(held, backoff)
        context = _Context(job, self._settings, held, self._pool, self._logs, self._heartbeat)
        held.begin(runner, job.timeout_seconds or self._settings.worker_timeout_seconds)
        try:
            registration = find(job.job_type)
            result = await registration.run(context, parse_payload(registration, job))
            return Outcome(Ending.COMPLETE, result=redactor().value(dict(result)) if result else {})
        except asyncio.CancelledError:
            if not held.was_cancelled():
                raise
            return _stopped(held, backoff)
        except Exception as failure:
            return outcome_of(verdict(failure, context.log, redactor()), job, first_backoff=backoff)
        finally:
            held.runner = None

    def _stop(self, held: "Held", reason: Stop) -> None:
        """Stop one job; the first reason counts. In the loop."""
        if held.stopped is None:
            held.stop(reason)

    async def watch_time(self) -> None:
        """Stop handlers at their time limits, and give back what waits too long; runs until cancelled.

        Not a timer a job: most jobs need none.
        """
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()
            if self._queue and now - self._queue[0].taken_at > MOST_SECONDS_WAITING:
                self.release_waiting("claimed ahead in vain: the jobs before it take longer than those of late")
                self._rate = _Rate()  # else it would claim them ahead again before anybody else can
            for held in list(self.held.values()):
                if held.runner is not None and now > held.deadline:
                    self._stop(held, Stop.TIME)

    # Ends

    async def _end(self, held: "Held", outcome: Outcome) -> None:
        """The longer way: with its events, its log and a statement of its own."""
        try:
            if held.reporter is not None:
                await held.reporter.flush()
            verb = await self._endings.record(held.job, outcome, is_lost=lambda: held.stopped is Stop.LOST)
            self._endings.tell(held.job, outcome, verb, held.seconds)
            self._logs.end(held.job, outcome, verb)
        except Exception:
            self._log.exception("the end of an attempt could not be recorded", job=str(held.job.id))
        finally:
            self._forget([held])

    async def _release(self, waiting: list["Held"], reason: str) -> None:
        try:
            async with self._session.connection() as connection:
                released = await release_many(connection, [held.job for held in waiting], reason)
            for held in waiting:
                verb = "release" if held.token in released else "lost"
                metrics.attempt_ended(held.job.job_type, verb, None, 0)
            self._endings.went_back({held.job.job_type: held.job for held in waiting}.values())
            self._log.info("release", jobs=len(released), reason=reason)
        except (*DATABASE_TROUBLE, psycopg.Error) as failure:  # rescue finds them
            self._log.warning("cannot hand jobs back: Postgres does not answer", reason=str(failure))
        finally:
            self._forget(waiting)

    def _complete_soon(self, held: "Held") -> None:
        self._done.append(held)
        if self._completing is None or self._completing.done():
            self._completing = asyncio.create_task(self._complete_batches())

    async def _complete_batches(self) -> None:
        """A batch after the other; while one is on its way, the next one gathers."""
        while self._done:
            batch, self._done = self._done[:LARGEST_BATCH], self._done[LARGEST_BATCH:]
            try:
                await self._complete(batch)
            except Exception as failure:
                # One of them cannot be stored, or worse: each for itself.
                self._log.debug("a batch is ended one by one", reason=str(failure))
                for held in batch:
                    self._spawn(self._end(held, Outcome(Ending.COMPLETE, result=held.result)), self._tasks)

    async def _complete(self, batch: list["Held"]) -> None:
        while True:
            try:
                async with self._session.connection() as connection:
                    completed = await complete_many(connection, [(held.job, held.result) for held in batch])
                break
            except DATABASE_TROUBLE as failure:
                self._log.warning("cannot record completions: Postgres does not answer", reason=str(failure))
                if all(held.stopped is Stop.LOST for held in batch):
                    completed = set()
                    break
                await asyncio.sleep(poll_delay(1.0))
        for held in batch:
            is_ours = held.token in completed
            metrics.attempt_ended(held.job.job_type, "complete" if is_ours else "lost", None, held.seconds)
            if not is_ours:
                metrics.write_rejected("complete")
        if earlier := [held.job for held in batch if held.job.attempt > 1 and held.token in completed]:
            self._logs.seal_earlier(earlier)
        self._rate.add(len(batch))
        self._forget(batch)

    def _forget(self, ended: list["Held"]) -> None:
        self._heartbeat.let_go_all(held.token for held in ended)
        for held in ended:
            held.close()
            self.held.pop(held.token, None)
        if not self.held:
            self._emptied.set()
        self._on_room()

    def _spawn(self, work: Any, tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


class Held:
    """One claimed light job while it is here."""

    __slots__ = (
        "deadline", "is_logged", "job", "limit", "reporter", "reporting", "result", "runner", "seconds", "stopped",
        "taken_at", "token",
    )  # fmt: skip

    def __init__(self, job: Job) -> None:
        self.job = job
        self.token = job.lease_token
        self.stopped: Stop | None = None
        self.taken_at = time.monotonic()
        self.limit = 0.0
        self.deadline = 0.0
        self.runner: asyncio.Task[Any] | None = None  # while the handler runs
        self.reporter: Reporter | None = None
        self.reporting: asyncio.Task[None] | None = None
        self.is_logged = False
        self.result: Any = None
        self.seconds = 0.0

    @property
    def is_told(self) -> bool:
        """The job has said something that must be written before its end."""
        return self.is_logged or self.reporter is not None

    def begin(self, runner: asyncio.Task[Any] | None, limit: float) -> None:
        """The handler starts now, in this task, and has this many seconds."""
        self.limit = limit
        self.deadline = time.monotonic() + limit
        self.runner = runner

    def stop(self, reason: Stop) -> None:
        """Remember why, and interrupt the handler if it runs."""
        self.stopped = reason
        if self.runner is not None:
            metrics.child_killed(str(reason))
            self.runner.cancel()

    def was_cancelled(self) -> bool:
        """Whether the cancellation that arrived is ours; then it is taken back, and the runner goes on."""
        if self.stopped is None or self.runner is None:
            return False
        self.runner.uncancel()
        return True

    def close(self) -> None:
        """Nothing more is reported."""
        if self.reporting is not None:
            self.reporting.cancel()


class _Context:
    """The InlineContext of worker/job.py."""

    __slots__ = ("_heartbeat", "_held", "_logs", "_opened", "_pool", "job", "settings")

    def __init__(
        self, job: Job, settings: Settings, held: Held, pool: Pool, logs: JobLogs, heartbeat: Heartbeat
    ) -> None:
        self.job = job
        self.settings = settings
        self._held, self._pool, self._logs, self._heartbeat = held, pool, logs, heartbeat
        self._opened: JobLog | None = None

    @property
    def log(self) -> JobLog:
        if self._opened is None:
            self._opened = self._logs.open(self.job, str(self._heartbeat.worker_id)).log
            self._held.is_logged = True
        return self._opened

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
        async with self._pool.connection() as connection:
            with patient(connection, PATIENCE_SECONDS):  # a handler's statements may take longer than our verbs
                yield connection

    def progress(self, phase: str, done: int = 0, total: int | None = None) -> None:
        self._report({"kind": "progress", "phase": phase, "done": done, "total": total})

    def event(self, verb: str, message: str | None = None, **context: Any) -> None:
        self._report({"kind": "event", "verb": verb, "message": message, "context": redactor().value(context)})

    def _report(self, message: dict[str, Any]) -> None:
        held = self._held
        if held.reporter is None:
            held.reporter = Reporter(self._pool, self.job, on_lost=lambda: _lose(held))
            held.reporting = asyncio.create_task(held.reporter.run())
        held.reporter.take(message)


def _in_loop(loop: asyncio.AbstractEventLoop, stop: Callable[[Held, Stop], None], held: Held, reason: Stop) -> None:
    """Stop a job from another thread."""
    loop.call_soon_threadsafe(stop, held, reason)


def _lose(held: Held) -> None:
    metrics.write_rejected("progress")
    if held.stopped is None:
        held.stop(Stop.LOST)


def _stopped(held: Held, first_backoff: float) -> Outcome:
    match held.stopped:
        case Stop.CANCEL:
            return Outcome(Ending.CANCEL)
        case Stop.RELEASE:
            return Outcome(Ending.RELEASE, message="the worker is shutting down")
        case Stop.LOST:
            return Outcome(Ending.LOST)
        case _:
            sentence = f"The attempt ran into its time limit of {held.limit:g} s and was stopped."
            return to_retry(held.job, TimedOut.code, sentence, first_backoff)


class _Rate:
    """Completions a second of late: a moving average over batches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._average = 0.0
        self._at = clock()

    @property
    def a_second(self) -> float:
        """It fades while nothing is completed."""
        return self._average * min(1.0, SECONDS_AHEAD / max(self._clock() - self._at, 0.001))

    def add(self, count: int) -> None:
        now = self._clock()
        self._average = 0.5 * self._average + 0.5 * count / max(now - self._at, 0.001)
        self._at = now

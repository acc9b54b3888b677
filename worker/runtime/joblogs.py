"""The parent's part in job logs: the first lines, the last lines, flushing in between, and handing on at the end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from worker.errors import WorkerError
from worker.job import Job, Outcome
from worker.joblog.cuts import SEGMENT_BYTES
from worker.joblog.flush import Flusher
from worker.joblog.health import StoreHealth
from worker.joblog.identity import LogIdentity, identity_of
from worker.joblog.log import OpenJobLog, open_job_log
from worker.joblog.retention import sweep
from worker.joblog.room import LogLimits, SpoolRoom
from worker.joblog.spool import Spool
from worker.joblog.stores import open_store
from worker.logging import get_logger, redactor
from worker.queue.events import events_of
from worker.queue.seal import take_unsealed, unfinished, unsealed
from worker.runtime.endings import DATABASE_TROUBLE, Pool
from worker.runtime.settle import Settler, from_thread
from worker.settings import Settings

FLUSH_AT = 3 / 4
"""Of WORKER_LOG_FLUSH_INTERVAL: at this age a line is uploaded, which leaves time for the upload itself."""

STORE_THREADS = 8
"""For uploads of running attempts, and as many again for what has ended: sealing large logs must not delay those."""

SECONDS_BETWEEN_RETURNS = 5.0
"""How often the worker comes back to spools that could not be settled."""

SECONDS_FOR_THE_BUCKET = 5.0
T = TypeVar("T")


class JobLogs:
    """The logs of the jobs of one worker process."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.spool_root = settings.state_dir / "spool"
        self.limits = log_limits(settings)
        self._settings = settings
        self._pool = pool
        self._spool = Spool(self.spool_root)
        self._store = open_store(settings)
        self._uploads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="log upload")
        self._executor = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="log store")
        self._health = StoreHealth()
        room = SpoolRoom(
            self.spool_root,
            most_bytes=settings.worker_log_spool_mb * 2**20,
            least_free_bytes=settings.worker_log_min_free_mb * 2**20,
        )
        self._flusher = Flusher(
            self._store, self._spool, self._uploads, self._health,
            age_seconds=settings.worker_log_flush_interval * FLUSH_AT, on_look=room.look,
        )  # fmt: skip
        self._settler = Settler(
            self._store, self._spool, pool, self._executor, self._health, spare=lambda: room.spare() // STORE_THREADS
        )
        self._open: dict[int, OpenJobLog] = {}
        self._is_postgres_away = False  # as far as the last look at the spools knows
        self._making: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[Any]] = set()
        self._sealing = 0  # logs that wait for a thread or have one

    async def prepare(self) -> None:
        """Make the bucket, as far as the store answers soon, and begin to flush."""
        self._flusher.start()
        self._making = asyncio.create_task(self._make_bucket())
        await asyncio.wait([self._making], timeout=SECONDS_FOR_THE_BUCKET)

    async def keep(self) -> None:
        """Finish what dead processes of this machine left in the spool, and what could not be settled; runs until
        cancelled.
        """
        while True:
            try:
                await self._return_to_spools()
            except Exception:  # without this loop logs stay where they are
                get_logger().exception("returning to left-over logs failed")
            await asyncio.sleep(SECONDS_BETWEEN_RETURNS)

    async def begin(self, job: Job, worker: str) -> None:
        """Open the attempt's log; the first attempt's begins with how the job came to be."""
        opened = await asyncio.to_thread(self.open, job, worker)
        if job.attempt == 1:
            for event in await self._events(job):
                facts = {name: value for name, value in (event["context"] or {}).items() if name != "attempt"}
                opened.log.info(event["event_type"], recorded_at=event["created_at"], **facts)

    def open(self, job: Job, worker: str) -> OpenJobLog:
        """Open the attempt's log for this process, without its history; some small writes."""
        opened = open_job_log(
            self._spool,
            identity_of(job),
            redactor(),
            source="worker",
            level=self._settings.worker_log_level,
            worker=worker,
            limits=self.limits,
        )
        self._open[job.lease_token] = opened
        self._flusher.watch(identity_of(job))
        return opened

    def end(self, job: Job, outcome: Outcome, verb: str) -> None:
        """Write the last line and hand the log on, behind the caller's back: no job waits for the log store."""
        opened = self._open.get(job.lease_token)
        if opened is None:
            return
        opened.end(verb, error_class=outcome.error_class, reason=outcome.message, **_summary(outcome))
        self._behind(self._hand_on(identity_of(job), opened))

    def seal_earlier(self, jobs: Sequence[Job]) -> None:
        """These were completed by attempts that logged nothing; what earlier ones logged is sealed all the same."""
        self._behind(self._seal_earlier(jobs))

    async def _seal_earlier(self, jobs: Sequence[Job]) -> None:
        with contextlib.suppress(*DATABASE_TROUBLE):  # then others take them over
            async with self._pool.connection() as connection:
                waiting = await unsealed(connection, [job.id for job in jobs])
            await asyncio.gather(*(self._settle(identity_of(job)) for job in jobs if job.id in waiting))

    def _behind(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def close(self, seconds: float) -> None:
        """Settle what has ended; what cannot be settled is brought to the store at least, for whoever seals it."""
        self._flusher.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._settling:
                    await asyncio.wait(self._settling)
                await self._return_to_spools()
                await self._upload_spools()
        for task in [*self._settling, *([self._making] if self._making else [])]:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        for opened in self._open.values():
            opened.close()
        for threads in (self._uploads, self._executor):
            threads.shutdown(wait=False, cancel_futures=True)

    async def seal_abandoned(self) -> int:
        """Seal logs of jobs that ended long ago without a worker of their own; answers how many."""
        if not self._health.may_try:
            return 0
        async with self._pool.connection() as connection:
            states = await take_unsealed(connection, after_seconds=600)
        for state in states:
            assert state.token is not None
            identity = LogIdentity(state.job_id, state.created_at, state.token, state.attempt)
            await self._try(identity, self._settler.seal(identity, state))
        return len(states)

    async def sweep(self) -> int:
        """Delete logs past their retention, never a running job's; answers how many objects went."""
        ask = from_thread(self._pool, unfinished)
        return await self._in_thread(lambda: sweep(self._store, self._settings.worker_log_retention_days, running=ask))

    async def _make_bucket(self) -> None:
        while True:
            try:
                with self._health.call() as may_call:
                    if may_call:
                        await self._in_thread(self._store.ensure_bucket)
                        return
            except WorkerError as failure:
                get_logger().warning("the log store is not ready", reason=str(failure), hint=failure.hint)
            await asyncio.sleep(SECONDS_BETWEEN_RETURNS)

    async def _hand_on(self, identity: LogIdentity, opened: OpenJobLog) -> None:
        try:
            if (upload := self._flusher.let_go(identity)) is not None:
                await asyncio.wait([asyncio.wrap_future(upload)])
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._uploads, self._flusher.count_rest, identity)
            if self._sealing >= STORE_THREADS or self._spool.size(identity) > SEGMENT_BYTES:
                # Its turn, or its end, may be minutes away; until then only this machine would have the last lines.
                await self._try(identity, self._settler.upload(identity, executor=self._uploads))
            await self._settle(identity)
        finally:
            self._open.pop(identity.token, None)
            opened.close()

    async def _return_to_spools(self) -> None:
        """Settle every spool that nobody writes, some at a time, as long as Postgres and the store answer."""
        waiting = [identity for identity in self._spool.identities() if identity.token not in self._open]
        self._spool.remove_orphans()
        self._is_postgres_away = False

        async def settle_some() -> None:
            while waiting and self._health.may_try and not self._is_postgres_away:
                identity = waiting.pop(0)
                with self._spool.claim(identity) as ours:
                    if ours and not await self._settle(identity):
                        await asyncio.sleep(0.1)

        await asyncio.gather(*(settle_some() for _ in range(STORE_THREADS // 2)))

    async def _upload_spools(self) -> None:
        for identity in self._spool.identities():
            with self._spool.claim(identity) as ours:
                if ours and self._health.may_try:
                    await self._try(identity, self._settler.upload(identity))

    async def _settle(self, identity: LogIdentity) -> bool:
        self._sealing += 1
        try:
            is_settled = await self._try(identity, self._settler.settle(identity))
        finally:
            self._sealing -= 1
        if is_settled:
            self._flusher.forget(identity)
        return is_settled

    async def _try(self, identity: LogIdentity, work: Awaitable[bool]) -> bool:
        try:
            return await work
        except (WorkerError, *DATABASE_TROUBLE) as failure:
            self._is_postgres_away = isinstance(failure, DATABASE_TROUBLE)
            get_logger().warning("log stays in the spool", job=str(identity.job_id), reason=str(failure))
        except Exception:  # one bad log stops no other
            get_logger().exception("log stays in the spool", job=str(identity.job_id))
        return False

    async def _events(self, job: Job) -> list[dict[str, Any]]:
        try:
            async with self._pool.connection() as connection:
                return await events_of(connection, job.id)
        except DATABASE_TROUBLE:
            return []

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread for the store: a slow one must not take those that everything else needs."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def log_limits(settings: Settings) -> LogLimits:
    """The bounds of an attempt's log."""
    return LogLimits(settings.worker_log_max_mb * 2**20, settings.worker_log_max_lines)


def _summary(outcome: Outcome) -> dict[str, Any]:
    """The numbers of a result that belong into one line."""
    return {name: value for name, value in outcome.result.items() if isinstance(value, int | float | str)}

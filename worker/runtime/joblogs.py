"""The parent's part in job logs: the first lines, the last lines, and sealing or shipping when an attempt has ended."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker import metrics
from worker.errors import LogStoreError, WorkerError
from worker.job import Job, Outcome
from worker.joblog.identity import LogIdentity, identity_of
from worker.joblog.log import OpenJobLog, open_job_log
from worker.joblog.recover import leftovers
from worker.joblog.retention import sweep
from worker.joblog.seal import Sealed, seal, ship
from worker.joblog.spool import Spool
from worker.joblog.stores import open_store
from worker.logging import get_logger, redactor
from worker.queue.events import events_of
from worker.queue.seal import LogState, log_state, seal_log, take_unsealed, unfinished
from worker.settings import Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
DATABASE_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


class JobLogs:
    """The logs of the jobs of one worker process."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.spool_root = settings.state_dir / "spool"
        self._settings = settings
        self._pool = pool
        self._spool = Spool(self.spool_root)
        self._store = open_store(settings)
        self._open: dict[int, OpenJobLog] = {}

    async def prepare(self) -> None:
        """Make the bucket, and finish what dead processes of this machine left in the spool."""
        await asyncio.to_thread(self._store.ensure_bucket)
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._recover, loop)

    async def begin(self, job: Job, worker: str) -> None:
        """Open the attempt's log; the first attempt's begins with how the job came to be."""
        identity = identity_of(job)
        if job.attempt > 1:
            await asyncio.to_thread(self._ship_earlier, identity)
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
        )
        self._open[job.lease_token] = opened
        return opened

    async def end(self, job: Job, outcome: Outcome, verb: str) -> None:
        """Write the last line and hand the log on: sealed when the job has ended, shipped when it goes on elsewhere."""
        opened = self._open.pop(job.lease_token, None)
        if opened is None:
            return
        opened.log.info(verb, error_class=outcome.error_class, reason=outcome.message, **_summary(outcome))
        try:
            await self._hand_on(identity_of(job), verb)
        except (WorkerError, *DATABASE_TROUBLE) as failure:
            metrics.log_upload_failed()
            get_logger().warning("log stays in the spool", job=str(job.id), reason=str(failure))
        finally:
            opened.close()

    async def seal_abandoned(self) -> int:
        """Seal logs of jobs that ended long ago without a worker of their own; answers how many."""
        async with self._pool.connection() as connection:
            states = await take_unsealed(connection, after_seconds=600)
        for state in states:
            assert state.token is not None
            identity = LogIdentity(state.job_id, state.created_at, state.token, state.attempt)
            try:
                await self._seal(identity, state)
            except (WorkerError, *DATABASE_TROUBLE) as failure:  # one bad log stops no other
                get_logger().warning("an abandoned log is not sealed", job=str(state.job_id), reason=str(failure))
        return len(states)

    async def sweep(self) -> int:
        """Delete logs past their retention, never a running job's; answers how many objects went."""
        ask = self._from_thread(unfinished)
        return await asyncio.to_thread(
            lambda: sweep(self._store, self._settings.worker_log_retention_days, running=ask)
        )

    async def _hand_on(self, identity: LogIdentity, verb: str) -> None:
        state = await self._state(identity)
        mine = state is not None and state.token == identity.token and state.status.is_terminal
        if verb == "lost" or state is None or not mine or not await self._seal(identity, state):
            await asyncio.to_thread(ship, self._store, self._spool, identity)

    async def _seal(self, identity: LogIdentity, state: LogState) -> bool:
        def commit(sealed: Sealed) -> bool:
            return ask(identity.job_id, identity.token, sealed.parts, sealed.bytes, sealed.lines)

        ask = self._from_thread(seal_log)
        sealed = await asyncio.to_thread(
            lambda: seal(self._store, self._spool, identity, previous=state.parts, commit=commit)
        )
        if sealed is not None:
            metrics.log_stored(sealed.bytes)
        return sealed is not None

    def _ship_earlier(self, identity: LogIdentity) -> None:
        """Lines of this job's earlier attempts that a dead worker of this machine left behind."""
        for earlier in self._spool.identities(identity.job_id):
            if earlier.token == identity.token:
                continue
            with self._spool.claim(earlier) as free:
                if free:
                    self._try_to_ship(earlier)

    def _try_to_ship(self, identity: LogIdentity) -> None:
        try:
            ship(self._store, self._spool, identity)
        except LogStoreError as failure:
            get_logger().warning("an earlier log stays in the spool", job=str(identity.job_id), reason=str(failure))

    def _recover(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: every left-over spool is locked by us while it is handled."""
        for identity in leftovers(self._spool):
            try:
                asyncio.run_coroutine_threadsafe(self._finish_leftover(identity), loop).result()
            except (WorkerError, *DATABASE_TROUBLE) as failure:
                get_logger().warning(
                    "a left-over log stays in the spool", job=str(identity.job_id), reason=str(failure)
                )

    async def _finish_leftover(self, identity: LogIdentity) -> None:
        state = await self._state(identity)
        if state is None:
            await asyncio.to_thread(self._spool.remove, identity)
            return
        named = any(part.get("key") == identity.sealed_key for part in state.parts)
        mine = state.token == identity.token
        if mine and not state.status.is_terminal and state.status == "in_progress":
            return  # its worker is gone but not rescued yet: after that it is shipped
        if not (named or (mine and state.status.is_terminal)) or not await self._seal(identity, state):
            await asyncio.to_thread(ship, self._store, self._spool, identity)

    async def _state(self, identity: LogIdentity) -> LogState | None:
        async with self._pool.connection() as connection:
            return await log_state(connection, identity.job_id)

    async def _events(self, job: Job) -> list[dict[str, Any]]:
        try:
            async with self._pool.connection() as connection:
                return await events_of(connection, job.id)
        except DATABASE_TROUBLE:
            return []

    def _from_thread(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """A queue function that takes a connection first, as a plain function for code in a thread."""
        loop = asyncio.get_running_loop()

        async def asked(*arguments: Any) -> Any:
            async with self._pool.connection() as connection:
                return await ask(connection, *arguments)

        return lambda *arguments: asyncio.run_coroutine_threadsafe(asked(*arguments), loop).result()


def _summary(outcome: Outcome) -> dict[str, Any]:
    """The numbers of a result that belong into one line."""
    return {name: value for name, value in outcome.result.items() if isinstance(value, int | float | str)}

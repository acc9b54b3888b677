"""What becomes of a spool whose attempt has ended: sealed, shipped, or added to a log that was sealed without it.

A spool is deleted only when the row says where its lines are: the job goes on and its segments are in the store, or the
job has ended and the sealed log covers them. Until then somebody on this machine comes back to it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from worker import metrics
from worker.job import Status
from worker.joblog.health import StoreHealth
from worker.joblog.identity import LogIdentity
from worker.joblog.seal import Sealed, seal
from worker.joblog.ship import is_all_uploaded, upload
from worker.joblog.sources import covered_by
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.logging import get_logger
from worker.queue.seal import LogState, log_state, retake_log, seal_log
from worker.runtime.endings import Pool

T = TypeVar("T")


class Settler:
    """Brings the lines of ended attempts where they belong. Store calls run in the executor's threads."""

    def __init__(
        self,
        store: LogStore,
        spool: Spool,
        pool: Pool,
        executor: Executor,
        health: StoreHealth,
        *,
        spare: Callable[[], int],
    ) -> None:
        """`spare`: bytes of the disk that one seal may use."""
        self._spare = spare
        self._store = store
        self._spool = spool
        self._pool = pool
        self._executor = executor
        self._health = health

    async def settle(self, identity: LogIdentity) -> bool:
        """Do what can be done now; False: come back later. Nobody writes the spool any more.

        Raises WorkerError when the store or the disk fails; nothing is lost.
        """
        state = await self._state(identity)
        if state is None:  # pruned, its log with it
            await self._in_thread(self._spool.remove, identity)
            return True
        if _may_seal(state, identity):
            return await self.seal(identity, state)
        if state.sealed:
            return await self._add_late(identity, state)
        if not await self.upload(identity):
            return False
        state = await self._state(identity)  # read after the upload: who seals from now on finds the segments
        is_done = state is None or not (state.status.is_terminal or _is_running(state, identity))
        if is_done:
            await self._in_thread(self._spool.remove, identity)
        return is_done

    async def seal(self, identity: LogIdentity, state: LogState) -> bool:
        """Make the job's one log; False when somebody else's token counts by now, or the store wants a pause."""
        ask = self._from_thread(seal_log)

        def commit(sealed: Sealed) -> bool:
            is_ours = ask(identity.job_id, identity.token, sealed.parts, sealed.bytes, sealed.lines)
            metrics.log_stored(sealed.bytes if is_ours else 0)
            return is_ours

        def make() -> Sealed | None:
            return seal(self._store, self._spool, identity, previous=state.parts, commit=commit, spare=self._spare)

        return await self._call(make) is not None

    async def upload(self, identity: LogIdentity, *, executor: Executor | None = None) -> bool:
        """Bring what is left of a spool to the store as segments; it stays. False: the store wants a pause."""
        if await self._in_thread(is_all_uploaded, self._spool, identity, executor=executor):
            return True  # without a word of how the store is: it was not asked

        def send() -> int:
            return upload(self._store, self._spool, identity, on_sent=metrics.log_stored)

        return await self._call(send, executor=executor) is not None

    async def _add_late(self, identity: LogIdentity, state: LogState) -> bool:
        """The log was sealed without us: our machine or our store was away. What it lacks is added."""
        if self._spool.size(identity) > covered_by(state.parts).get(identity.token, 0) and _says_what_it_covers(state):
            if not await self.upload(identity):
                return False
            async with self._pool.connection() as connection:
                taken = await retake_log(connection, identity.job_id)
            if taken is None:  # retried by hand meanwhile
                return False
            assert taken.token is not None
            late = LogIdentity(taken.job_id, taken.created_at, taken.token, taken.attempt)
            get_logger().info("adding late lines to a sealed log", job=str(identity.job_id))
            if not await self.seal(late, taken):
                return False
        await self._call(partial(self._clear, identity))
        return True

    def _clear(self, identity: LogIdentity) -> bool:
        self._store.delete(key for key in self._spool.noted_keys(identity) if key.startswith(identity.live_prefix))
        self._spool.remove(identity)
        return True

    async def _call(self, work: Callable[[], T], *, executor: Executor | None = None) -> T | None:
        """Call the store from a thread; None: not yet time to try again."""

        def called() -> T | None:
            with self._health.call() as may_call:
                return work() if may_call else None

        return await self._in_thread(called, executor=executor)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any, executor: Executor | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor or self._executor, work, *arguments)

    async def _state(self, identity: LogIdentity) -> LogState | None:
        async with self._pool.connection() as connection:
            return await log_state(connection, identity.job_id)

    def _from_thread(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        return from_thread(self._pool, ask)


def from_thread(pool: Pool, ask: Callable[..., Any]) -> Callable[..., Any]:
    """A queue function that takes a connection first, as a plain function for code in a thread."""
    loop = asyncio.get_running_loop()

    async def asked(*arguments: Any) -> Any:
        async with pool.connection() as connection:
            return await ask(connection, *arguments)

    return lambda *arguments: asyncio.run_coroutine_threadsafe(asked(*arguments), loop).result()


def _may_seal(state: LogState, identity: LogIdentity) -> bool:
    """The row's log token is ours and the job has ended; or we have sealed it already, and only clear up."""
    is_named = any(part.get("key") == identity.sealed_key for part in state.parts)
    return is_named or (state.token == identity.token and state.status.is_terminal)


def _is_running(state: LogState, identity: LogIdentity) -> bool:
    """Under our own token: a worker that is gone has not been rescued yet."""
    return state.status == Status.IN_PROGRESS and state.token == identity.token


def _says_what_it_covers(state: LogState) -> bool:
    """Logs sealed by earlier versions do not; they were sealed by whoever had their lines. Nor does an empty one."""
    return all("covers" in part for part in state.parts)

"""The receiver's way to Postgres: short transactions, and no trust in what was read before."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg.errors import (
    DeadlockDetected,
    ForeignKeyViolation,
    LockNotAvailable,
    QueryCanceled,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from psycopg_pool import AsyncConnectionPool

from worker.errors import DatabaseUnavailable, NotFound, WorkerError
from worker.queue.deliver import RepositoryChanged, as_item, deliver_many
from worker.queue.depth import Depth, Gauges, gauges
from worker.queue.enqueue import Delivered, NewDelivery
from worker.queue.wake import call_query
from worker.receiver.batch import Batches
from worker.receiver.changes import deliver_with_change, lock
from worker.receiver.deadline import within
from worker.receiver.github import Change
from worker.receiver.repository import READ, Repository

Connection = psycopg.AsyncConnection[dict[str, Any]]
Pool = AsyncConnectionPool[Connection]
Answer = TypeVar("Answer")

# PoolTimeout and the pool's other errors are operational errors too; a standby refuses writes.
_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction, OSError)

# What one item may do to its whole batch.
_REFUSALS = (
    LockNotAvailable,
    DeadlockDetected,
    SerializationFailure,
    QueryCanceled,
    psycopg.IntegrityError,
    psycopg.DataError,
)
_MOST_TOGETHER = 64
_BATCHES_AT_ONCE = 2  # so that neither Postgres nor this process waits for the other; more make all smaller
_LARGE_CHARACTERS = 200_000  # a larger delivery goes alone: nobody's answer waits for it
_LOCK_SECONDS = 0.2

_STATEMENT_TIMEOUT = "select set_config('statement_timeout', %s, true)"
_PING = """
update public.repositories
set webhook_hook_id = coalesce(%(hook)s, webhook_hook_id), webhook_last_ping_at = now(),
    provider_id = case when lower(git_url) = any (%(urls)s) then coalesce(provider_id, %(provider_id)s)
                       else provider_id end
where id = %(id)s"""
_WORKERS = """
select count(*) filter (where state = 'running') as running, max(last_seen_at) as last_seen_at,
       clock_timestamp() as now
from public.workers where state in ('running', 'draining') and last_seen_at > clock_timestamp() - interval '1 minute'"""


class _NotTogether(Exception):
    """A batch was not committed because of one of its items; each may be delivered alone."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The queue at one moment, and how long Postgres took to tell."""

    gauges: Gauges
    workers: int
    seconds: float
    at: datetime

    @property
    def depths(self) -> list[Depth]:
        """Queued and running jobs by type."""
        return self.gauges.depth


class Store:
    """Reads and commits of the receiver. Whatever goes wrong with Postgres is one error: DatabaseUnavailable."""

    def __init__(
        self, pool: Pool, *, seconds: float, count_every: float = 10, may_call: Callable[[], bool] = lambda: False
    ) -> None:
        """`seconds`: how long a caller waits; a statement that takes longer is ended by Postgres itself.

        `count_every`: the whole queue is counted anew when the newest count, whoever made it, is older than this.
        `may_call`: asked before each batch with jobs, whether the workers may be told with its commit.
        """
        self._pool, self._seconds, self._may_call = pool, seconds, may_call
        self._count_every = count_every
        self._mending: asyncio.Task[None] | None = None
        self._batches = Batches(self._deliver_many, most=_MOST_TOGETHER, at_once=_BATCHES_AT_ONCE)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Store"]:
        """Open the pool without waiting for Postgres, so that the process starts and lives without it."""
        await self._pool.open(wait=False)
        try:
            yield self
        finally:
            if self._mending is not None:
                self._mending.cancel()
            await self._pool.close(timeout=1)

    async def read_repository(self, repository_id: UUID) -> Repository | None:
        """The repository's row as it is now."""
        rows = await self._ask(READ, (repository_id,))
        return Repository.of(rows[0]) if rows else None

    async def deliver(
        self, delivery: NewDelivery, decided_by: Repository | None, change: Change | None = None
    ) -> Delivered:
        """Commit a delivery with its job, and what it changes in the repository's row; committed when this returns.

        Raises RepositoryChanged when the row says something else than `decided_by` (its secret was rotated, say), and
        NotFound when it is gone. `decided_by`: None of a delivery that concerns no repository.
        """
        stamp = None if decided_by is None else decided_by.stamp
        if change is None and len(item := as_item(delivery, stamp)) <= _LARGE_CHARACTERS:
            with contextlib.suppress(_NotTogether):
                outcome = await self._batches.put((item, delivery.job and delivery.job.job_type))
                if isinstance(outcome, WorkerError):
                    raise outcome
                return outcome
        return await self._deliver_alone(delivery, decided_by, change)

    async def _deliver_many(self, batch: Sequence[tuple[str, str | None]]) -> Sequence[Delivered | WorkerError]:
        """Raises _NotTogether when one item is in the others' way."""
        # A connection that went silent must not hold up those behind this batch.
        return await within(self._seconds, self._deliver_in_one(batch))

    async def _deliver_in_one(self, batch: Sequence[tuple[str, str | None]]) -> Sequence[Delivered | WorkerError]:
        """One transaction of a round trip."""
        items = [item for item, _ in batch]
        job_types = {job_type for _, job_type in batch if job_type is not None}
        and_call = None
        if job_types and self._may_call():
            and_call = job_types.pop() if len(job_types) == 1 else ""
        try:
            async with self._pool.connection(timeout=self._seconds) as connection:
                return await deliver_many(
                    connection, items, seconds=self._seconds, lock_seconds=_LOCK_SECONDS, and_call=and_call
                )
        except _REFUSALS as refusal:
            raise _NotTogether from refusal
        except _TROUBLE as failure:
            raise self._unavailable(failure) from failure

    async def _deliver_alone(
        self, delivery: NewDelivery, decided_by: Repository | None, change: Change | None
    ) -> Delivered:
        async def commit(connection: Connection) -> Delivered:
            if decided_by is None:
                return await deliver_with_change(connection, delivery, change)
            if change is not None:  # judged by the row that will be changed, not by one that somebody is changing
                await lock(connection, decided_by.id)
            row = await connection.execute(READ, (decided_by.id,))
            delivered = await deliver_with_change(connection, delivery, change)
            await expect(row, decided_by)
            return delivered

        return await self._in_transaction(commit)

    async def call(self, job_type: str) -> None:
        """Wake the workers that listen; where that fails they find the job a poll later."""
        with contextlib.suppress(DatabaseUnavailable):
            await within(self._seconds, self._ask(*call_query(job_type)))

    async def remember_ping(
        self, repository: Repository, hook: int | None, provider_id: int | None, urls: list[str]
    ) -> None:
        """Keep the hook's id, and GitHub's number of the repository when its address is the registered one."""
        facts = {"id": repository.id, "hook": hook, "provider_id": provider_id, "urls": urls}

        async def update(connection: Connection) -> None:
            row = await connection.execute(READ, (repository.id,))
            await connection.execute(_PING, facts)
            await expect(row, repository)

        await self._in_transaction(update)

    async def snapshot(self) -> Snapshot:
        """The queue's depth and the number of live workers."""
        started = time.perf_counter()

        async def look(connection: Connection) -> Snapshot:
            await connection.execute("select 1")
            seconds = time.perf_counter() - started
            found = await gauges(connection, window=self._count_every)  # long queues are counted by workers
            workers = await (await connection.execute(_WORKERS)).fetchone()
            assert workers is not None
            return Snapshot(found, workers["running"], seconds, workers["now"])

        return await self._in_transaction(look)

    async def transaction(self, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """Commit what `work` does with a connection; it is committed when this returns."""
        return await within(self._seconds, self._in_transaction(work))

    async def ask(self, query: LiteralString, parameters: Any) -> list[dict[str, Any]]:
        """The rows that one statement answers, which is committed when this returns."""
        return await within(self._seconds, self._ask(query, parameters))

    async def _ask(self, query: LiteralString, parameters: Any) -> list[dict[str, Any]]:
        """One round trip: what a pipeline holds is one transaction."""
        try:
            async with self._pool.connection(timeout=self._seconds) as connection:
                async with connection.pipeline():
                    await connection.execute(_STATEMENT_TIMEOUT, (str(int(self._seconds * 1000)),))
                    cursor = await connection.execute(query, parameters)
                return await cursor.fetchall()
        except _TROUBLE as failure:
            raise self._unavailable(failure) from failure

    async def _in_transaction(self, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        try:
            async with (
                self._pool.connection(timeout=self._seconds) as connection,
                connection.transaction(),
                connection.pipeline(),  # begin, timeout and work go out together
            ):
                await connection.execute(_STATEMENT_TIMEOUT, (str(int(self._seconds * 1000)),))
                return await work(connection)
        except ForeignKeyViolation as failure:
            raise NotFound("The repository is gone.") from failure
        except _TROUBLE as failure:
            raise self._unavailable(failure) from failure

    def _unavailable(self, failure: BaseException) -> DatabaseUnavailable:
        self._mend_pool()
        return DatabaseUnavailable(f"Postgres does not answer ({type(failure).__name__}).")

    def _mend_pool(self) -> None:
        """Throw out every dead connection now: after a restart each would cost one request its second."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        with contextlib.suppress(*_TROUBLE):
            await self._pool.check()


async def expect(cursor: psycopg.AsyncCursor[dict[str, Any]], repository: Repository) -> None:
    """Raise RepositoryChanged unless this READ found the row that was judged."""
    row = await cursor.fetchone()
    if row is None or Repository.of(row) != repository:
        raise RepositoryChanged("The repository's row has changed.")

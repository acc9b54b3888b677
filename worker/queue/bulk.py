"""Many jobs at once, each by the verb that one job has, in a transaction of its own."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from worker.queue.filter import Filter, walk
from worker.queue.wake import call

Connection = psycopg.AsyncConnection[dict[str, Any]]
Act = Callable[[Connection, UUID], Awaitable[bool]]
JOBS_BETWEEN_CALLS = 100


@dataclass(slots=True)
class Tally:
    """What has become of them so far. `skipped`: somebody changed the job first; `failed`: with Postgres' reason."""

    done: int = 0
    skipped: int = 0
    failed: list[tuple[UUID, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Jobs looked at."""
        return self.done + self.skipped + len(self.failed)


async def act_on_all(
    connection: Connection, wanted: Filter, act: Act, tally: Tally, *, limit: int, on_step: Callable[[Tally], None]
) -> None:
    """Do `act` to each job that fits, oldest first, `limit` at most; it answers whether it found the job as wanted.

    One that Postgres refuses stops no other. The workers are called now and then, for what became claimable.
    """
    async for ids in walk(connection, wanted):
        for job_id in ids[: limit - tally.seen]:
            await _one(connection, job_id, act, tally)
            if tally.seen % JOBS_BETWEEN_CALLS == 0:
                await _call(connection)
                on_step(tally)
        if tally.seen >= limit:
            break
    await _call(connection)
    on_step(tally)


async def _one(connection: Connection, job_id: UUID, act: Act, tally: Tally) -> None:
    try:
        if await act(connection, job_id):
            tally.done += 1
        else:
            tally.skipped += 1
    except psycopg.Error as failure:
        if connection.closed:  # the others would fail alike
            raise
        # Of Postgres' words only the first: the others may show the payload.
        tally.failed.append((job_id, failure.diag.message_primary or type(failure).__name__))


async def _call(connection: Connection) -> None:
    with suppress(psycopg.Error):
        await call(connection)

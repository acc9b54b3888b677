"""Wake-up calls: when jobs were committed somebody tells the workers, at most once in a moment.

The first call after a quiet moment may go along with the enqueuing transaction, which saves its round trip. The others
must not: a transaction with NOTIFY takes a lock of the whole database at its commit. A call that gets lost costs a
poll's time, never a job.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, LiteralString, NamedTuple

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

CHANNEL = "indexing_worker_jobs"
SECONDS_BETWEEN_CALLS = 0.02

_CALL = "select pg_notify(%s, %s)"
_LOOK = "select due, next_due_seconds from queue.look()"


class Look(NamedTuple):
    """`due`: some job may be claimable now. `next_due_seconds`: until the first one with a later time; None: none."""

    due: bool
    next_due_seconds: float | None


async def look(connection: Connection) -> Look:
    """One cheap look, whatever the backlog."""
    row = await (await connection.execute(_LOOK)).fetchone()
    assert row is not None
    return Look(row["due"], row["next_due_seconds"])


async def call(connection: Connection, payload: str = "") -> None:
    """Wake every worker that listens; the payload is the job type, or empty for any."""
    await connection.execute(*call_query(payload))


def call_query(payload: str) -> tuple[LiteralString, tuple[str, str]]:
    """The statement of `call` with its parameters, for who sends it in a way of his own."""
    return _CALL, (CHANNEL, payload)


class Caller:
    """Coalesces the wake-up calls of a process: the first goes out at once, the next after a moment, for all since."""

    def __init__(self, send: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """`send` calls over some connection; its failures of the database are nobody's trouble."""
        self._send = send
        self._wanted: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def may_go_along(self) -> bool:
        """Whether the call for a job may be made by the transaction that enqueues it, which is about to be sent.

        Then a moment begins in which others only announce. If the transaction fails there is no job to call for.
        """
        if self._task is not None and not self._task.done():
            return False
        self._task = asyncio.create_task(self._run(called_already=True))
        return True

    def announce(self, job_type: str) -> None:
        """A job of this type was committed."""
        self._wanted.add(job_type)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def settle(self) -> None:
        """Until every announced call has gone out."""
        if self._task is not None:
            await self._task

    async def _run(self, *, called_already: bool = False) -> None:
        if called_already:
            await asyncio.sleep(SECONDS_BETWEEN_CALLS)
        while self._wanted:
            payload = self._wanted.pop() if len(self._wanted) == 1 else ""
            self._wanted.clear()
            with contextlib.suppress(psycopg.Error, OSError):
                await self._send(payload)
            await asyncio.sleep(SECONDS_BETWEEN_CALLS)

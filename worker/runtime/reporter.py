"""What an attempt's child tells, on its way to Postgres: at most one write a second, each fenced by the lease token."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker.job import Job
from worker.queue.events import progress, tell

SECONDS_BETWEEN_WRITES = 1.0
MOST_WAITING_EVENTS = 1000

Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]


class Reporter:
    """Gathers one attempt's events and its newest progress and writes them; calls `on_lost` when the token is gone."""

    def __init__(self, pool: Pool, job: Job, on_lost: Callable[[], None]) -> None:
        self._pool = pool
        self._job = job
        self._on_lost = on_lost
        self._events: list[dict[str, Any]] = []
        self._progress: dict[str, Any] | None = None
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    def take(self, message: dict[str, Any]) -> None:
        """Accept one message of the child."""
        if message.get("kind") == "progress":
            self._progress = {key: message.get(key) for key in ("phase", "done", "total")}
        elif message.get("kind") == "event" and len(self._events) < MOST_WAITING_EVENTS:
            self._events.append(message)
        self._news.set()

    async def run(self) -> None:
        """Write what comes until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.flush()
            await asyncio.sleep(SECONDS_BETWEEN_WRITES)

    async def flush(self) -> None:
        """Write what waits, after what is being written: the last call comes before the attempt's end is recorded.

        A database that does not answer costs these lines, never the attempt.
        """
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        events, self._events = self._events, []
        where, self._progress = self._progress, None
        held: list[bool] = []
        try:
            async with self._pool.connection() as connection:
                while events:
                    with contextlib.suppress(psycopg.DataError, UnicodeError):  # what Postgres refuses is dropped
                        held.append(await self._tell(connection, events[0]))
                    events.pop(0)
                if where is not None:
                    held.append(await progress(connection, self._job, where))
        except (psycopg.Error, PoolTimeout):
            self._events = events + self._events
            return
        if not all(held):
            self._on_lost()

    async def _tell(self, connection: psycopg.AsyncConnection[dict[str, Any]], event: dict[str, Any]) -> bool:
        verb, message, context = event.get("verb"), event.get("message"), event.get("context")
        return await tell(connection, self._job, str(verb), message, context if isinstance(context, dict) else {})

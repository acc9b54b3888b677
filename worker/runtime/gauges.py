"""The whole queue in a worker's metrics: counted when somebody asks for them, so that nobody pays who does not look."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import psycopg
from psycopg_pool import PoolTimeout

from worker import metrics
from worker.logging import get_logger
from worker.queue.depth import gauges
from worker.runtime.endings import Pool

KEEP_SECONDS = 1.0
SECONDS_TO_WAIT = 2.0
"""Whoever asks waits so long for a count; what takes longer stands in the next answer."""


class QueueGauges:
    """Asks Postgres in the worker's loop, on behalf of the thread that answers /metrics."""

    def __init__(self, pool: Pool, *, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`window`: seconds for which a count stands, whichever process made it."""
        self._pool, self._window, self._clock = pool, window, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._counting: Future[None] | None = None
        self._asked_at = float("-inf")

    def start(self) -> None:
        """From now on there is a loop to count in: this one."""
        self._loop = asyncio.get_running_loop()

    def end(self) -> None:
        """There is no more."""
        self._loop = None

    def refresh(self) -> None:
        """Let the metrics be of this moment, if Postgres answers soon. Not from the loop's own thread."""
        counting = self._count_soon()
        if counting is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                counting.result(SECONDS_TO_WAIT)

    def _count_soon(self) -> Future[None] | None:
        """The count that is under way, or a new one if the last is not of just now."""
        with self._lock:
            if self._counting is not None and not self._counting.done():
                return self._counting
            loop, now = self._loop, self._clock()
            if loop is None or now - self._asked_at < min(self._window, KEEP_SECONDS):
                return None
            self._asked_at = now
            self._counting = asyncio.run_coroutine_threadsafe(self._count(), loop)
            return self._counting

    async def _count(self) -> None:
        """One process counts for all in each window; the others read what came of it."""
        try:
            async with self._pool.connection() as connection:
                asked_at = self._clock()
                await connection.execute("select 1")
                metrics.database_answered(self._clock() - asked_at)
                metrics.queue_gauges(**(await gauges(connection, window=self._window)).for_metrics())
        except (psycopg.Error, PoolTimeout) as failure:
            metrics.database_silent()
            get_logger().debug("cannot count the queue", reason=str(failure))

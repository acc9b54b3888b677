"""Recording how an attempt ended: however long Postgres is away, and whatever Postgres thinks of the text."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from worker import metrics
from worker.backoff import poll_delay
from worker.errors import DatabaseUnavailable, LeaseLost
from worker.job import Ending, Job, Outcome
from worker.logging import get_logger
from worker.queue.finish import finish, has_completed
from worker.settings import Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
DATABASE_TROUBLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a failover in progress; an InternalError by its class
    PoolTimeout,
    DatabaseUnavailable,
)

UNSTORABLE = "unstorable"
"""The error class of an attempt whose result or message Postgres cannot hold (a NUL, for one)."""


class Endings:
    """Records outcomes by their lease tokens, counts them and tells the log."""

    def __init__(self, settings: Settings, pool: Pool, *, on_given_back: Callable[[Job, float], None]) -> None:
        """`on_given_back` learns of each job that went back to the queue and in how many seconds it is due."""
        self._settings = settings
        self._pool = pool
        self._on_given_back = on_given_back
        self._log = get_logger()

    async def record(self, job: Job, outcome: Outcome, *, is_lost: Callable[[], bool]) -> str:
        """Record the outcome, however long Postgres is away; answers the verb that came of it, or 'lost'.

        `is_lost`: the lease is known to be gone, so an outage is not worth waiting for.
        """
        while True:
            try:
                return await self._record(job, outcome)
            except (psycopg.DataError, UnicodeError) as failure:  # Postgres refuses its text: say so in our own words
                if outcome.error_class == UNSTORABLE:
                    raise
                cause = type(failure).__name__
                message = f"The attempt ended with {outcome.ending}, but Postgres refused what it said ({cause})."
                outcome = Outcome(Ending.FAIL, error_class=UNSTORABLE, message=message)
            except DATABASE_TROUBLE as failure:
                self._log.warning("cannot record an outcome: Postgres does not answer", reason=str(failure))
                if is_lost():
                    return "lost"
                await asyncio.sleep(poll_delay(1.0))

    async def _record(self, job: Job, outcome: Outcome) -> str:
        async with self._pool.connection() as connection:
            try:
                verb = await finish(connection, job, outcome, crash_limit=self._settings.worker_crash_limit)
            except LeaseLost:
                # A publish whose reply was lost, or a kill that came right after it.
                if await has_completed(connection, job):
                    return "complete"
                metrics.write_rejected(str(outcome.ending))
                return "lost"
        if verb in ("retry", "snooze", "release"):
            self._on_given_back(job, outcome.delay_seconds or 0)
        return verb

    def went_back(self, jobs: Iterable[Job]) -> None:
        """These jobs, of all those that went back at once, stand for them: others may take them now."""
        for job in jobs:
            self._on_given_back(job, 0)

    def tell(self, job: Job, outcome: Outcome, verb: str, seconds: float) -> None:
        """Count the ended attempt and write the worker's own log line of it."""
        metrics.attempt_ended(job.job_type, verb, outcome.error_class, seconds)
        if outcome.ending is Ending.CRASH:
            metrics.crashed(outcome.error_class)
        if outcome.ending is Ending.PUBLISHED:
            _count_work(job, outcome.result)
        facts = {
            "job": str(job.id),
            "job_type": job.job_type,
            "attempt": job.attempt,
            "seconds": round(seconds, 3),
        }
        write = self._log.info if verb in ("complete", "cancel", "release") else self._log.warning
        write(verb, **facts, error_class=outcome.error_class, reason=outcome.message)


def _count_work(job: Job, result: Mapping[str, Any]) -> None:
    """Metrics of published work, from the result that was committed with it."""
    metrics.tokens_billed(result.get("tokens_billed", 0))
    metrics.bytes_fetched(result.get("bytes_fetched", 0))
    if not result.get("unchanged") and "git_kept" in result:
        metrics.cache_looked_up("git", hits=int(result["git_kept"]), misses=int(not result["git_kept"]))
        metrics.cache_looked_up("contents", hits=result["contents_kept"], misses=result["files_parsed"])
    for phase, seconds in result.get("seconds", {}).items():
        metrics.phase_ended(job.job_type, phase, seconds)

"""cancel, manual retry and "run now": what a person does to a job, by its id."""

from typing import Any
from uuid import UUID

import psycopg

from worker.errors import NotFound
from worker.job import Status

Connection = psycopg.AsyncConnection[dict[str, Any]]

_CANCEL = "select queue.cancel(%s, %s) as answer"
_RETRY = "select queue.retry_finished(%s) as answer"
_HURRY = "select queue.hurry(%s) as answer"
_STATUS = "select status from public.indexing_jobs where id = %s"


async def cancel(connection: Connection, job_id: UUID, reason: str = "cancelled on request") -> str:
    """Cancel a queued job at once ('cancelled') or ask the worker of a running one ('requested').

    A job that has ended answers its status. Raises NotFound.
    """
    row = await (await connection.execute(_CANCEL, (job_id, reason))).fetchone()
    if row is None or row["answer"] is None:
        raise NotFound(f"There is no job {job_id}.", hint="`worker jobs` lists them.")
    return row["answer"]


async def retry_finished(connection: Connection, job_id: UUID) -> UUID | None:
    """Enqueue a failed or cancelled job again, its budgets new; answers the job that will do the work.

    That is another one when a follow-up is queued already. None: the job is not failed or cancelled. Raises NotFound.
    """
    if await (await connection.execute(_STATUS, (job_id,))).fetchone() is None:
        raise NotFound(f"There is no job {job_id}.", hint="`worker jobs` lists them.")
    row = await (await connection.execute(_RETRY, (job_id,))).fetchone()
    return row["answer"] if row else None


async def hurry(connection: Connection, job_id: UUID) -> bool:
    """Let a queued job that waits for its time (a backoff, a snooze) be due now; false when it waits for no time."""
    row = await (await connection.execute(_HURRY, (job_id,))).fetchone()
    return row is not None and row["answer"]


async def cancel_one_of_many(connection: Connection, job_id: UUID) -> bool:
    """As `cancel`; false when the job has ended or is gone."""
    row = await (await connection.execute(_CANCEL, (job_id, "cancelled on request"))).fetchone()
    return row is not None and row["answer"] in (Status.CANCELLED, "requested")


async def retry_one_of_many(connection: Connection, job_id: UUID) -> bool:
    """As `retry_finished`; false when the job is not failed or cancelled any more, or is gone."""
    row = await (await connection.execute(_RETRY, (job_id,))).fetchone()
    return row is not None and row["answer"] is not None

"""complete, retry, snooze, fail, cancel, release: how a running job leaves its attempt, fenced by the lease token."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from worker.errors import LeaseLost
from worker.job import Ending, Job, Outcome

AsyncConnection = psycopg.AsyncConnection[dict[str, Any]]
Connection = psycopg.Connection[dict[str, Any]]

_COMPLETE = "select queue.complete(%s, %s, %s) as done"
_FAIL = "select queue.fail(%s, %s, %s, %s) as done"
_CANCEL_RUNNING = "select queue.cancel_running(%s, %s) as done"
_GOES_ON = "select status in ('queued', 'in_progress') as goes_on from public.indexing_jobs where id = %s"
_GIVE_BACK = "select queue.give_back(%s, %s, %s, %s, %s, %s, %s, %s) as verb"
_COMPLETE_MANY = "select queue.complete_many(%s, %s, %s) as done"
_COMPLETED_BEFORE = """
select log_token from public.indexing_jobs
where id = any (%s) and status = 'completed' and log_token = any (%s)"""
# The error class tells queue.complete_many that this attempt has logged nothing.
_RELEASE_MANY = """
select given.token, queue.give_back(given.job, given.token, 'release', 'none', '0', 'not_started', %s) as verb
from unnest(%s::uuid[], %s::bigint[]) given (job, token)"""
_HAS_COMPLETED = "select status = 'completed' and log_token = %s as done from public.indexing_jobs where id = %s"

_VERBS = {Ending.RETRY: "retry", Ending.SNOOZE: "snooze", Ending.CRASH: "retry", Ending.RELEASE: "release"}
_SPENDS = {Ending.RETRY: "error", Ending.SNOOZE: "none", Ending.CRASH: "crash", Ending.RELEASE: "none"}


async def finish(connection: AsyncConnection, job: Job, outcome: Outcome, *, crash_limit: int) -> str:
    """Record how an attempt ended; answers the verb that happened in the end (a spent budget turns retry into fail).

    Raises LeaseLost, with nothing changed, when the token is no longer the job's.
    """
    verb = await _finish(connection, job, outcome, crash_limit)
    if verb is None:
        raise LeaseLost(f"Job {job.id} is no longer held under token {job.lease_token}; nothing was recorded.")
    return verb


async def _finish(connection: AsyncConnection, job: Job, outcome: Outcome, crash_limit: int) -> str | None:
    match outcome.ending:
        case Ending.COMPLETE:
            done = await _ask(connection, _COMPLETE, (job.id, job.lease_token, Jsonb(dict(outcome.result))))
            return "complete" if done else None
        case Ending.FAIL:
            done = await _ask(connection, _FAIL, (job.id, job.lease_token, outcome.error_class, outcome.message))
            return "fail" if done else None
        case Ending.CANCEL:
            done = await _ask(connection, _CANCEL_RUNNING, (job.id, job.lease_token))
            return ("release" if await _ask(connection, _GOES_ON, (job.id,)) else "cancel") if done else None
        case Ending.PUBLISHED:
            return "complete" if await has_completed(connection, job) else None
        case Ending.LOST:
            return None
        case ending:
            delay = timedelta(seconds=outcome.delay_seconds or 0)
            parameters = (
                job.id, job.lease_token, _VERBS[ending], _SPENDS[ending], delay,
                outcome.error_class, outcome.message, crash_limit,
            )  # fmt: skip
            return await _ask(connection, _GIVE_BACK, parameters)


async def complete_many(connection: AsyncConnection, done: Sequence[tuple[Job, Mapping[str, Any]]]) -> set[int]:
    """complete, for many light jobs without a log in one statement; answers the tokens that completed their job.

    Among them are those completed before, by a call whose reply was lost. The others changed nothing.
    """
    jobs, tokens = [job.id for job, _ in done], [job.lease_token for job, _ in done]
    results = Jsonb([result for _, result in done])
    row = await (await connection.execute(_COMPLETE_MANY, (jobs, tokens, results), binary=True)).fetchone()
    assert row is not None
    completed = set(row["done"])
    if missing := [job.id for job, _ in done if job.lease_token not in completed]:
        rows = await (await connection.execute(_COMPLETED_BEFORE, (missing, tokens))).fetchall()
        completed.update(row["log_token"] for row in rows)
    return completed


async def release_many(connection: AsyncConnection, jobs: Sequence[Job], reason: str) -> set[int]:
    """release, for many jobs that have not started; answers the tokens whose jobs went back."""
    parameters = (reason, [job.id for job in jobs], [job.lease_token for job in jobs])
    rows = await (await connection.execute(_RELEASE_MANY, parameters)).fetchall()
    return {row["token"] for row in rows if row["verb"] is not None}


async def has_completed(connection: AsyncConnection, job: Job) -> bool:
    """Whether this very attempt completed the job: settles a commit whose reply was lost."""
    return bool(await _ask(connection, _HAS_COMPLETED, (job.lease_token, job.id)))


def complete_in_transaction(connection: Connection, job: Job, result: Mapping[str, Any]) -> None:
    """complete, inside the caller's transaction: what a publishing handler calls last.

    Raises LeaseLost when the token is no longer the job's, and the caller's transaction rolls back with it.
    """
    row = connection.execute(_COMPLETE, (job.id, job.lease_token, Jsonb(dict(result)))).fetchone()
    if row is None or not row["done"]:
        raise LeaseLost(f"Job {job.id} is no longer held under token {job.lease_token}; nothing was published.")


async def _ask(connection: AsyncConnection, query: Any, parameters: tuple[Any, ...]) -> Any:
    row = await (await connection.execute(query, parameters)).fetchone()
    return next(iter(row.values())) if row else None


_HOLD = "select queue.lock_repository_of(%s)"
_HOLD_JOB = "select 1 from public.indexing_jobs where id = %s and lease_token = %s for update"


def hold(connection: Connection, job: Job) -> None:
    """Lock repository and job for the rest of the caller's transaction, by the lease token; raises LeaseLost."""
    connection.execute(_HOLD, (job.id,))
    if connection.execute(_HOLD_JOB, (job.id, job.lease_token)).fetchone() is None:
        raise LeaseLost(f"Job {job.id} is no longer held under token {job.lease_token}; nothing was published.")

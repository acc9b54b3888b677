"""seal: the token-fenced row update that makes a job's one log the log, and which logs still want sealing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.job import Status

Connection = psycopg.AsyncConnection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LogState:
    """What a job's row says of its log. `token` is the newest attempt's; None: never claimed, so there is no log."""

    job_id: UUID
    status: Status
    created_at: datetime
    attempt: int
    token: int | None
    parts: Sequence[Mapping[str, Any]]
    sealed: bool


_SEAL = "select queue.seal_log(%s, %s, %s, %s, %s) as sealed"
_TAKE_UNSEALED = "select * from queue.take_unsealed(%s, %s)"
_RETAKE = "select * from queue.retake_log(%s)"
_KEPT = """
select id from public.indexing_jobs
where id = any (%s) and (status in ('queued', 'in_progress') or log_token is not null and log_sealed_at is null)"""
_UNSEALED = "select job_id from queue.unsealed where job_id = any (%s)"
_STATE = """
select id, status, created_at, attempt, log_token, log_parts, log_sealed_at
from public.indexing_jobs where id = %s"""


async def seal_log(
    connection: Connection,
    job_id: UUID,
    token: int,
    parts: Sequence[Mapping[str, Any]],
    size: int,
    lines: int,
) -> bool:
    """Commit the sealed log's objects; false when a newer attempt has begun (we are the zombie) or it is sealed."""
    parameters = (job_id, token, Jsonb([dict(part) for part in parts]), size, lines)
    row = await (await connection.execute(_SEAL, parameters)).fetchone()
    return row is not None and row["sealed"]


async def log_state(connection: Connection, job_id: UUID) -> LogState | None:
    """What the row says of a job's log; None when there is no such job."""
    row = await (await connection.execute(_STATE, (job_id,))).fetchone()
    return _state_of_row(row) if row else None


async def take_unsealed(connection: Connection, *, after_seconds: float, limit: int = 100) -> list[LogState]:
    """Jobs that ended this long ago and whose log nobody sealed; each has a new log token that is the caller's."""
    parameters = (timedelta(seconds=after_seconds), limit)
    rows = await (await connection.execute(_TAKE_UNSEALED, parameters)).fetchall()
    return [_state_of_row(row) for row in rows]


async def retake_log(connection: Connection, job_id: UUID) -> LogState | None:
    """Take the log of a job at its end over, sealed or not, under a new log token; None if it is not at its end."""
    row = await (await connection.execute(_RETAKE, (job_id,))).fetchone()
    return _state_of_row(row) if row else None


async def unfinished(connection: Connection, job_ids: Collection[UUID]) -> set[UUID]:
    """Which of these jobs are queued or running, or have ended and wait for their log to be sealed: theirs stays."""
    rows = await (await connection.execute(_KEPT, (list(job_ids),))).fetchall()
    return {row["id"] for row in rows}


async def unsealed(connection: Connection, job_ids: Collection[UUID]) -> set[UUID]:
    """Which of these jobs have ended and have a log that is not sealed yet."""
    rows = await (await connection.execute(_UNSEALED, (list(job_ids),))).fetchall()
    return {row["job_id"] for row in rows}


def _state_of_row(row: dict[str, Any]) -> LogState:
    return LogState(
        job_id=row["id"],
        status=Status(row["status"]),
        created_at=row["created_at"],
        attempt=row["attempt"],
        token=row["log_token"],
        parts=row["log_parts"] or (),
        sealed=row["log_sealed_at"] is not None,
    )

"""claim: due jobs become ours, at most one a repository, each under a new lease token."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from worker.job import Job

Connection = psycopg.AsyncConnection[dict[str, Any]]

_CLAIM = "select * from queue.claim(%s, %s, %s)"


async def claim(connection: Connection, worker_id: UUID, job_types: Sequence[str], limit: int) -> list[Job]:
    """Claim up to `limit` jobs of these types for this worker; never waits for another claimer."""
    rows = await (await connection.execute(_CLAIM, (worker_id, list(job_types), limit))).fetchall()
    return [job_of_row(row) for row in rows]


def job_of_row(row: dict[str, Any]) -> Job:
    """A claimed row of indexing_jobs as a Job."""
    return Job(
        id=row["id"],
        job_type=row["job_type"],
        lease_token=row["lease_token"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        payload=row["payload"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        created_at=row["created_at"],
        repository_id=row["repository_id"],
        user_id=row["user_id"],
        priority=row["priority"],
        errors=row["errors"],
        crashes=row["crashes"],
        timeout_seconds=row["timeout_seconds"],
    )

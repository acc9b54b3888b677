"""claim: due jobs become ours, at most one a repository, each under a new lease token."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import args_row

from worker.job import Job

Connection = psycopg.AsyncConnection[dict[str, Any]]

# In the order of Job's fields.
_CLAIM = """
select id, job_type, lease_token, attempt, max_attempts, payload, queued_at, started_at, created_at, repository_id,
       user_id, priority, errors, crashes, timeout_seconds
from queue.claim(%s, %s, %s)"""


async def claim(connection: Connection, worker_id: UUID, job_types: Sequence[str], limit: int) -> list[Job]:
    """Claim up to `limit` jobs of these types for this worker, in the order of the tenants' turns.

    Waits for nobody but another claim.
    """
    async with connection.cursor(binary=True, row_factory=args_row(Job)) as cursor:
        await cursor.execute(_CLAIM, (worker_id, list(job_types), limit))
        jobs = await cursor.fetchall()
    return sorted(jobs, key=attrgetter("lease_token"))

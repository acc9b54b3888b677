"""claim: due jobs become ours, at most one a repository, each under a new lease token."""

from collections.abc import Sequence
from operator import attrgetter
from uuid import UUID

from worker.database.kept import kept_cursor
from worker.database.patience import AsyncConnection
from worker.job import Job

# In the order of Job's fields.
_CLAIM = """
select id, job_type, lease_token, attempt, max_attempts, payload, queued_at, started_at, created_at, repository_id,
       user_id, priority, errors, crashes, timeout_seconds
from queue.claim(%s, %s, %s)"""


async def claim(connection: AsyncConnection, worker_id: UUID, job_types: Sequence[str], limit: int) -> list[Job]:
    """Claim up to `limit` jobs of these types for this worker, in the order of the tenants' turns.

    Waits for nobody but another claim.
    """
    cursor = kept_cursor(connection, Job)
    await cursor.execute(_CLAIM, (worker_id, list(job_types), limit))
    return sorted(await cursor.fetchall(), key=attrgetter("lease_token"))

"""refresh: index jobs of low priority for branches that an older parser has read; a push would do it sooner."""

from typing import Any
from uuid import UUID

import psycopg

from worker.job import INCREMENTAL_UPDATE
from worker.queue.enqueue import NewJob, enqueue, index_coalesce_key

Connection = psycopg.AsyncConnection[dict[str, Any]]

JOBS_AT_ONCE = 10
PRIORITY = -1000

# A branch whose repository has work already is counted as under way: that work reads it anew, or the next look finds it
# again. One that failed is tried again after a day.
_DUE = """
with outdated as (
    select b.repository_id, b.name, b.indexed_at,
           exists (select from queue.waiting w where w.repository_id = b.repository_id)
           or exists (select from queue.running n where n.repository_id = b.repository_id) as is_busy
    from public.repository_branches b
    where b.commit is not null and b.parser_version < %(version)s
)
select o.repository_id, o.name
from outdated o
where not o.is_busy
  and not exists (
      select from public.indexing_jobs j
      where j.repository_id = o.repository_id and j.payload ->> 'ref' = 'refs/heads/' || o.name and j.payload ? 'parser'
        and j.created_at > now() - case j.status when 'completed' then interval '10 minutes' else interval '1 day' end)
order by o.indexed_at desc nulls last, o.repository_id, o.name
limit greatest(%(at_once)s - (select count(*) from outdated where is_busy), 0)"""


async def refresh(connection: Connection, *, parser_version: int, max_attempts: int) -> list[UUID]:
    """Enqueue what is due, the most lately indexed first, a bounded number at a time; answers the jobs."""
    facts = {"version": parser_version, "at_once": JOBS_AT_ONCE}
    rows = await (await connection.execute(_DUE, facts)).fetchall()
    jobs: list[UUID] = []
    for row in rows:
        ref = f"refs/heads/{row['name']}"
        job = NewJob(
            INCREMENTAL_UPDATE,
            repository_id=row["repository_id"],
            payload={"ref": ref, "parser": parser_version},
            priority=PRIORITY,
            coalesce_key=index_coalesce_key(row["repository_id"], ref),
            max_attempts=max_attempts,
        )
        jobs.append((await enqueue(connection, job)).job_id)
    return jobs

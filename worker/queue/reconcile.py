"""reconcile: when each repository is next compared with its git server, and jobs of low priority that do it.

GitHub does not deliver again by itself. A repository's first comparison comes half to one interval after it is first
seen, and so spread, and the next ones nine tenths to one interval after the last.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from worker.job import RECONCILE
from worker.queue.enqueue import NewJob, enqueue

Connection = psycopg.Connection[dict[str, Any]]

PRIORITY = -500
LONGEST_SECONDS = 86_400.0
"""A repository that cannot be reached is asked ever more rarely, but at least so often."""

_MEET = """
insert into public.repository_checks (repository_id, due_at)
select r.id, now() + make_interval(secs => %(seconds)s * (0.5 + random() / 2))
from public.repositories r
where not exists (select from public.repository_checks c where c.repository_id = r.id)
on conflict do nothing"""
# Taken as done for now: a job that is lost costs one interval. One that has work waiting or running is asked by that
# work, and stays due.
_TAKE = """
update public.repository_checks c
set due_at = now() + make_interval(secs => %(seconds)s)
from (
    select d.repository_id
    from public.repository_checks d
    join public.repositories r on r.id = d.repository_id
    where d.due_at <= now() and r.paused_reasons = '{}'
      and not exists (select from queue.waiting w where w.repository_id = d.repository_id)
      and not exists (select from queue.running n where n.repository_id = d.repository_id)
    order by d.due_at limit %(budget)s
    for update of d skip locked
) due
where c.repository_id = due.repository_id
returning c.repository_id"""
_COMPARED = """
insert into public.repository_checks as c (repository_id, due_at, checked_at, missed)
values (%(repository)s, now() + make_interval(secs => %(seconds)s * (0.9 + random() / 10)), now(), %(missed)s)
on conflict (repository_id) do update
set due_at = excluded.due_at, checked_at = excluded.checked_at, failures = 0, problem = null,
    missed = c.missed + excluded.missed"""
_PUT_OFF = """
insert into public.repository_checks as c (repository_id, due_at, failures, problem)
values (%(repository)s, now() + make_interval(secs => greatest(%(seconds)s, %(least)s)), 1, %(problem)s)
on conflict (repository_id) do update
set failures = c.failures + 1, problem = excluded.problem,
    due_at = now() + make_interval(
        secs => greatest(least(%(seconds)s * 2.0 ^ least(c.failures, 20), %(longest)s), %(least)s))
returning due_at"""
_FAILED = """
select distinct j.payload ->> 'ref' as ref, j.payload ->> 'after' as after
from public.indexing_jobs j
where j.repository_id = %s and j.status = 'failed' and j.payload ->> 'ref' = any (%s)
  and j.finished_at > now() - interval '1 day'"""


async def reconcile(connection: psycopg.AsyncConnection[dict[str, Any]], *, seconds: float, budget: int) -> list[UUID]:
    """Enqueue the comparisons that are due, at most `budget`, the one due longest first; answers the jobs."""
    await connection.execute(_MEET, {"seconds": seconds})
    rows = await (await connection.execute(_TAKE, {"seconds": seconds, "budget": budget})).fetchall()
    jobs: list[UUID] = []
    for row in rows:
        key = f"reconcile:{row['repository_id']}"
        job = NewJob(RECONCILE, row["repository_id"], priority=PRIORITY, coalesce_key=key, max_attempts=2)
        jobs.append((await enqueue(connection, job)).job_id)
    return jobs


@dataclass(frozen=True, slots=True)
class Moved:
    """A branch that does not stand where the index says: no commit before, or none now."""

    name: str
    before: str | None
    after: str | None

    @property
    def ref(self) -> str:
        """As a push names it."""
        return f"refs/heads/{self.name}"


def without_failed(connection: Connection, repository_id: UUID, moved: Collection[Moved]) -> list[Moved]:
    """Those whose very commit has not failed to be indexed within a day: trying again each hour would not help."""
    refs = [one.ref for one in moved]
    rows = connection.execute(_FAILED, (repository_id, refs)).fetchall() if refs else []
    failed = {(row["ref"], row["after"]) for row in rows}
    return [one for one in moved if (one.ref, one.after) not in failed]


def compared(connection: Connection, repository_id: UUID, *, seconds: float, missed: int) -> None:
    """The server was asked; the next time is an interval away."""
    connection.execute(_COMPARED, {"repository": repository_id, "seconds": seconds, "missed": missed})


def put_off(
    connection: Connection, repository_id: UUID, problem: str, *, seconds: float, at_least: float = 0
) -> datetime | None:
    """The server could not be asked: each time in a row doubles the pause. Answers when the next one is due."""
    facts = {"repository": repository_id, "problem": problem[:2000], "seconds": seconds}
    row = connection.execute(
        _PUT_OFF, {**facts, "longest": max(LONGEST_SECONDS, seconds), "least": at_least}
    ).fetchone()
    return row["due_at"] if row else None

"""What the tests of fair share have in common: tenants, their jobs, claims by SQL, and the truth counted by hand."""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from worker.database.connect import connect
from worker.job import new_job_id

Connection = psycopg.Connection[dict[str, Any]]

_ENQUEUE = "select queue.enqueue_many(%s, %s, %s, %s::jsonb[], %s, %s, %s, %s)"
_CLAIM = "select id, lease_token, user_id, repository_id, job_type, priority from queue.claim(%s, %s, %s)"
_COMPLETE = "select queue.complete_many(%s, %s, '[]') as done"
# Counted from the jobs themselves: not from what the queue has noted down about who may go.
_CLAIMABLE = """
with free as (
    select w.user_id, coalesce(w.repository_id, w.job_id) as alone
    from queue.waiting w join public.indexing_jobs j on j.id = w.job_id and j.status = 'queued'
    where j.run_after <= clock_timestamp() and j.job_type = any (%s)
      and j.job_type not in (select job_type from queue.paused_types)
      and not exists (select from queue.running r where r.repository_id = j.repository_id)
), lane as (
    select f.user_id, count(distinct f.alone) as jobs,
           (select count(*) from queue.running r where r.user_id = f.user_id) as running
    from free f group by f.user_id
)
select coalesce(sum(least(l.jobs, greatest(0, coalesce(q.max_running - l.running, l.jobs)))), 0)::int as jobs
from lane l join public.queue_lanes q on q.user_id = l.user_id where not q.paused"""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a job, as its claim answered it."""

    token: int
    job: uuid.UUID
    tenant: uuid.UUID
    repository: uuid.UUID
    job_type: str
    priority: int


class Line:
    """Tenants that stand in line, and a worker that is only a row."""

    def __init__(self, url: str, db: Connection) -> None:
        self.url = url
        self.db = db
        self.me = self.worker()

    def worker(self) -> uuid.UUID:
        """A worker that may claim."""
        worker_id = uuid.uuid4()
        self.db.execute(
            "insert into workers (id, hostname, pid, version, slots, job_types) values (%s, 'test', 1, '0', 1, '{}')",
            (worker_id,),
        )
        return worker_id

    def tenants(self, count: int) -> list[uuid.UUID]:
        """This many new tenants; the order of their ids says nothing."""
        users = [uuid.uuid4() for _ in range(count)]
        self.db.execute("insert into auth.users (id) select unnest(%s::uuid[])", (users,))
        return users

    def repositories(self, tenant: uuid.UUID, count: int) -> list[uuid.UUID]:
        """This many new repositories of a tenant."""
        ids = [uuid.uuid4() for _ in range(count)]
        self.db.execute(
            "insert into repositories (id, user_id, name, git_url)"
            " select id, %s, 'repo', 'https://github.com/acme/' || id from unnest(%s::uuid[]) id",
            (tenant, ids),
        )
        return ids

    def jobs(
        self,
        tenant: uuid.UUID,
        count: int,
        *,
        repositories: Sequence[uuid.UUID] | None = None,
        priority: int | Sequence[int] = 0,
        job_type: str = "light",
        due: datetime | timedelta | None = None,
    ) -> list[uuid.UUID]:
        """Enqueue jobs, in the order of their ids; each in a repository of its own, or in these in turn."""
        repositories = repositories or self.repositories(tenant, count)
        ids = sorted(new_job_id() for _ in range(count))
        if isinstance(due, timedelta):
            due = self.now() + due
        priorities = [priority] * count if isinstance(priority, int) else list(priority)
        turns = [repositories[n % len(repositories)] for n in range(count)]
        self.db.execute(
            _ENQUEUE, (ids, turns, [job_type] * count, ["{}"] * count, priorities, [due] * count, [5] * count,
                       [None] * count),
        )  # fmt: skip
        return ids

    def now(self) -> datetime:
        """The server's time."""
        row = self.db.execute("select clock_timestamp() as now").fetchone()
        assert row is not None
        return row["now"]

    def lane(self, tenant: uuid.UUID, **values: Any) -> None:
        """Set the weight, paused or max_running of a tenant's lane."""
        names = {"weight": None, "paused": None, "max_running": None} | values
        self.db.execute(
            "select queue.set_lane(%s, %s, %s, %s)", (tenant, names["weight"], names["paused"], names["max_running"])
        )

    def claim(
        self,
        limit: int = 1,
        types: Sequence[str] = ("light",),
        *,
        on: Connection | None = None,
        worker: uuid.UUID | None = None,
    ) -> list[Start]:
        """Claim, and answer the starts in the order of their lease tokens."""
        rows = (on or self.db).execute(_CLAIM, (worker or self.me, list(types), limit)).fetchall()
        starts = [Start(*row.values()) for row in _in_order(rows)]
        return sorted(starts, key=lambda start: start.token)

    def complete(self, starts: Iterable[Start], *, on: Connection | None = None) -> None:
        """Complete these jobs, in one call."""
        starts = list(starts)
        if not starts:
            return
        row = (
            (on or self.db)
            .execute(_COMPLETE, ([start.job for start in starts], [start.token for start in starts]))
            .fetchone()
        )
        assert row is not None
        assert sorted(row["done"]) == sorted(start.token for start in starts)

    def drain(self, limit: int, starts: int, *, dice: random.Random | None = None) -> list[Start]:
        """Claim at most `limit` at a time until that many have started; jobs finish at once, or at random."""
        begun: list[Start] = []
        running: list[Start] = []
        while len(begun) < starts:
            claimed = self.claim(min(limit, starts - len(begun)))
            begun += claimed
            running += claimed
            done = [start for start in running if dice is None or dice.random() < 0.5]
            running = [start for start in running if start not in done]
            self.complete(done)
            assert claimed or done, f"nothing moves after {len(begun)} starts"
        self.complete(running)
        return begun

    def claimable(self, types: Sequence[str] = ("light",)) -> int:
        """How many jobs one claim without limit must answer, counted by brute force."""
        return self.count(_CLAIMABLE, list(types))

    def count(self, query: Any, *arguments: Any) -> int:
        """The one number a query answers."""
        row = self.db.execute(query, arguments).fetchone()
        assert row is not None
        return next(iter(row.values()))

    def holds(self) -> dict[str | None, int]:
        """How many jobs wait, by what holds them."""
        rows = self.db.execute("select hold, count(*)::int as jobs from queue.waiting group by hold").fetchall()
        return {row["hold"]: row["jobs"] for row in rows}

    def connections(self, count: int) -> list[Connection]:
        """Connections of their own for threads; closed with the test."""
        return [connect(self.url, name="test") for _ in range(count)]


def _in_order(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    names = ("lease_token", "id", "user_id", "repository_id", "job_type", "priority")
    return ({name: row[name] for name in names} for row in rows)


@pytest.fixture
def line(database_url: str, db: Connection) -> Line:
    """Nobody in line yet, in a fresh database."""
    return Line(database_url, db)

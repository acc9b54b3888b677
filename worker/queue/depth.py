"""How much work waits: what health, metrics and the command line show."""

from datetime import timedelta
from typing import Any, NamedTuple

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]


class Depth(NamedTuple):
    """Jobs of one type and status; `oldest_seconds` since the oldest of them was enqueued."""

    job_type: str
    status: str
    jobs: int
    oldest_seconds: float


_DEPTH = """
select job_type, status, sum(jobs)::bigint as jobs,
       extract(epoch from clock_timestamp() - min(oldest_queued_at))::float8 as oldest_seconds
from public.queue_depth group by job_type, status order by job_type, status"""


async def depth(connection: Connection) -> list[Depth]:
    """Queued and running jobs by type, all tenants together."""
    rows = await (await connection.execute(_DEPTH)).fetchall()
    return [Depth(row["job_type"], row["status"], row["jobs"], max(row["oldest_seconds"], 0.0)) for row in rows]


class Gauges(NamedTuple):
    """The whole queue as somebody counted it `age_seconds` ago, for everybody.

    `due`: (job type, jobs, seconds overdue) of what a free slot could take now. `tenants`: (tenant, age of its oldest
    queued job in seconds, queued jobs), those that have waited longest first. `workers`: how many by state. `slots`:
    of the running ones together. `schedules`: due and not fired yet. `claims`: leases ever given.
    """

    depth: list[Depth]
    due: list[tuple[str, int, float]]
    tenants: list[tuple[str, float, int]]
    workers: dict[str, int]
    slots: int
    pauses: int
    schedules: int
    unsealed: int
    claims: int
    age_seconds: float

    @property
    def demand(self) -> int:
        """Jobs that run, or could run now, and schedules to fire: what the number of workers should follow."""
        running = sum(row.jobs for row in self.depth if row.status == "in_progress")
        return running + sum(jobs for _, jobs, _ in self.due) + self.schedules

    def for_metrics(self) -> dict[str, Any]:
        """What the metrics show of it."""
        return {
            "depth": self.depth,
            "due": self.due,
            "tenants": [("none" if tenant == _NOBODY else tenant, seconds) for tenant, seconds, _ in self.tenants],
            "workers": self.workers,
            "slots": self.slots,
            "demand": self.demand,
            "pauses": self.pauses,
            "unsealed": self.unsealed,
        }


_NOBODY = "00000000-0000-0000-0000-000000000000"
_GAUGES = "select queue.gauges(%s) as gauges"


async def gauges(connection: Connection, *, window: float) -> Gauges:
    """The whole queue, counted at most `window` seconds ago by whichever process came first."""
    row = await (await connection.execute(_GAUGES, (timedelta(seconds=window),))).fetchone()
    assert row is not None
    found = row["gauges"]
    workers = dict(found["workers"])
    return Gauges(
        depth=sorted(Depth(*values) for values in found["depth"]),
        due=[(job_type, jobs, seconds) for job_type, jobs, seconds in found["due"]],
        tenants=[(tenant, seconds, jobs) for tenant, seconds, jobs in found["tenants"]],
        slots=workers.pop("slots"),
        workers=workers,
        pauses=found["paused"],
        schedules=found["schedules"],
        unsealed=found["unsealed"],
        claims=found["claims"],
        age_seconds=found["age_seconds"],
    )

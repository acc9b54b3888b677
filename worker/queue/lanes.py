"""lanes: each tenant's place in the queue, and what is paused. How people set and see them."""

from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from worker.errors import NotFound

Connection = psycopg.AsyncConnection[dict[str, Any]]
NO_TENANT = UUID(int=0)
"""Whose lane the jobs without a tenant take."""


class Lane(NamedTuple):
    """A tenant in the queue.

    `lag`: how far its virtual time lies behind the queue's clock, in starts of weight 1. Above 0 its turn is overdue;
    below 0 others come first.
    """

    user_id: UUID
    weight: float
    max_running: int | None
    paused: bool
    waiting: int
    running: int
    lag: float


class Paused(NamedTuple):
    """What nobody claims for now."""

    job_types: list[str]
    tenants: list[UUID]


_LANES = """
with waiting as (
    select user_id, count(*) as jobs from queue.waiting
    where %(user)s::uuid is null or user_id = %(user)s group by user_id
), running as (
    select user_id, count(*) as jobs from queue.running
    where %(user)s::uuid is null or user_id = %(user)s group by user_id
)
select l.user_id, l.weight::float8 as weight, l.max_running, l.paused, coalesce(w.jobs, 0) as waiting,
       coalesce(r.jobs, 0) as running,
       -- A lane that sleeps begins at the clock when it wakes up: it cannot be behind.
       clock.now - case when l.active then coalesce(t.virtual_time, l.virtual_time)
                        else greatest(l.virtual_time, clock.now) end as lag
from public.queue_lanes l
left join queue.turns t on t.user_id = l.user_id
cross join (select last_value / 1e6::float8 as now from queue.virtual_clock) clock
left join waiting w on w.user_id = l.user_id
left join running r on r.user_id = l.user_id
where l.user_id = %(user)s
   or %(user)s::uuid is null
      and (w.jobs > 0 or r.jobs > 0 or l.paused or l.weight <> 1 or l.max_running is not null)
order by coalesce(w.jobs, 0) desc, l.user_id limit %(limit)s"""
_FIND = """
select user_id from public.queue_lanes
where starts_with(user_id::text, %(text)s) or starts_with(reverse(user_id::text), reverse(%(text)s))
order by user_id limit 2"""
_HAS_LANE = "select from public.queue_lanes where user_id = %s"
_HAS_USER = "select from auth.users where id = %s"
_SET = "select queue.set_lane(%(user)s, %(weight)s::real, %(paused)s, %(max_running)s)"
_PAUSED_TYPES = "select job_type from queue.paused_types order by job_type"
_PAUSED_TENANTS = "select user_id from public.queue_lanes where paused order by user_id"
_SET_PAUSED = "select queue.set_paused(%s, %s)"
_IS_KNOWN = """
select exists (select from public.workers where %(type)s = any (job_types))
    or exists (select from queue.waiting where job_type = %(type)s) as known"""


async def list_lanes(connection: Connection, *, limit: int) -> list[Lane]:
    """Tenants with jobs in the queue or settings of their own, those with most waiting jobs first."""
    rows = await (await connection.execute(_LANES, {"user": None, "limit": limit})).fetchall()
    return [Lane(**row) for row in rows]


async def get_lane(connection: Connection, user_id: UUID) -> Lane:
    """A tenant's lane; one that never had a job has the defaults."""
    row = await (await connection.execute(_LANES, {"user": user_id, "limit": 1})).fetchone()
    return Lane(**row) if row else Lane(user_id, 1.0, None, False, 0, 0, 0.0)


async def find_tenant(connection: Connection, text: str) -> UUID:
    """A tenant by its id, by four or more characters of its beginning or end if it had a job, or 'none'.

    Raises NotFound unless exactly one fits.
    """
    if text.lower() == "none":
        return NO_TENANT
    with suppress(ValueError):
        return await _known(connection, UUID(text))
    rows = await (await connection.execute(_FIND, {"text": text.lower()})).fetchall() if len(text) >= 4 else []
    if len(rows) != 1:
        problem = "More than one tenant has an id like" if rows else "There is no tenant"
        raise NotFound(f"{problem} {text!r}.", hint="`worker lanes` lists those with jobs in the queue.")
    return rows[0]["user_id"]


async def _known(connection: Connection, user_id: UUID) -> UUID:
    """A wrong id would be paused without effect and without a word."""
    for statement in (_HAS_LANE, _HAS_USER):
        try:
            if (await connection.execute(statement, (user_id,))).rowcount:
                return user_id
        except psycopg.errors.InsufficientPrivilege:  # the users are not ours to read: no reason to doubt
            return user_id
    raise NotFound(f"There is no tenant '{user_id}'.", hint="`worker lanes` lists those with jobs in the queue.")


async def set_lane(
    connection: Connection,
    user_id: UUID,
    *,
    weight: float | None = None,
    max_running: int | None = None,
    paused: bool | None = None,
) -> None:
    """Change a tenant's lane; None leaves a value as it is, `max_running` 0 takes the cap away."""
    facts = {"user": user_id, "weight": weight, "max_running": max_running, "paused": paused}
    await connection.execute(_SET, facts)


async def pause_type(connection: Connection, job_type: str, paused: bool) -> None:
    """Let nobody claim jobs of this type, or let them again; running ones go on."""
    await connection.execute(_SET_PAUSED, (job_type, paused))


async def is_known_type(connection: Connection, job_type: str) -> bool:
    """Whether a worker takes this type, or a job of it waits."""
    row = await (await connection.execute(_IS_KNOWN, {"type": job_type})).fetchone()
    return row is not None and row["known"]


async def paused(connection: Connection) -> Paused:
    """Every paused job type and tenant."""
    types = await (await connection.execute(_PAUSED_TYPES)).fetchall()
    tenants = await (await connection.execute(_PAUSED_TENANTS)).fetchall()
    return Paused([row["job_type"] for row in types], [row["user_id"] for row in tenants])

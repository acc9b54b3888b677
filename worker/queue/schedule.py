"""schedule: jobs that come by the clock. Any worker fires what is due; each tick makes its jobs once.

The database's clock says what is due. The times after it are computed here, from what was read, and written together
with the jobs by one statement that names the time it read: whoever comes second changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.errors import NotFound, ScheduleError
from worker.job import new_job_id
from worker.queue.cron import CatchUp, checked, due_ticks, ticks

Connection = psycopg.AsyncConnection[dict[str, Any]]
LONGEST_NAME = 100
MOST_SCHEDULES = 500


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What to do when. With a repository, the schedule belongs to that one's owner, whatever `user_id` says."""

    name: str
    cron: str
    job_type: str
    repository_id: UUID | None = None
    user_id: UUID | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    timezone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONE
    coalesce_key: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of job_schedules. `next_run_at` is its oldest tick that has not fired; `repository` is a name."""

    id: UUID
    name: str
    user_id: UUID | None
    repository_id: UUID | None
    repository: str | None
    job_type: str
    payload: Mapping[str, Any]
    priority: int
    cron: str
    timezone: str
    catch_up: CatchUp
    paused: bool
    coalesce_key: str | None
    next_run_at: datetime
    last_run_at: datetime | None
    last_job_id: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Fired:
    """A schedule's ticks and their jobs. Jobs that were queued already under its coalesce key are named again."""

    schedule: Schedule
    ticks: tuple[datetime, ...]
    job_ids: tuple[UUID, ...]


_NOW = "select clock_timestamp() as now"
_ADD = """
insert into public.job_schedules (
    name, user_id, repository_id, job_type, payload, priority, cron, timezone, catch_up, coalesce_key, next_run_at)
values (
    %(name)s, coalesce((select user_id from public.repositories where id = %(repository_id)s), %(user_id)s),
    %(repository_id)s, %(job_type)s, %(payload)s, %(priority)s, %(cron)s, %(timezone)s, %(catch_up)s,
    %(coalesce_key)s, %(next)s)
returning id"""
# What is due stays due, unless the times are others from now on.
_UPDATE = """
update public.job_schedules s set
    name = %(name)s, repository_id = %(repository_id)s,
    user_id = coalesce((select user_id from public.repositories where id = %(repository_id)s), %(user_id)s),
    job_type = %(job_type)s, payload = %(payload)s, priority = %(priority)s, cron = %(cron)s, timezone = %(timezone)s,
    catch_up = %(catch_up)s, coalesce_key = %(coalesce_key)s, last_error = null, updated_at = clock_timestamp(),
    next_run_at = case when (s.cron, s.timezone) = (%(cron)s, %(timezone)s) then s.next_run_at else %(next)s end
where s.id = %(id)s returning s.id"""
_KNOWN = """
select id from public.job_schedules
where name = %(name)s and user_id is not distinct from
    coalesce((select user_id from public.repositories where id = %(repository_id)s), %(user_id)s)"""
_PAUSE = "update public.job_schedules set paused = true, updated_at = clock_timestamp() where id = %s and not paused"
_RESUME = """
update public.job_schedules
set paused = false, last_error = null, next_run_at = %(next)s, updated_at = clock_timestamp()
where id = %(id)s and paused and updated_at = %(updated_at)s"""
_REMOVE = "delete from public.job_schedules where id = %s"
_SELECT = """
select s.id, s.name, s.user_id, s.repository_id, r.name as repository, s.job_type, s.payload, s.priority, s.cron,
       s.timezone, s.catch_up, s.paused, s.coalesce_key, s.next_run_at, s.last_run_at, s.last_job_id, s.last_error,
       s.created_at, s.updated_at
from public.job_schedules s left join public.repositories r on r.id = s.repository_id"""
_GET = f"{_SELECT} where s.id = %s"
_FIND = f"{_SELECT} where s.name = %(name)s and (%(user)s::uuid is null or s.user_id = %(user)s) limit 2"
_LIST = f"{_SELECT} where %(user)s::uuid is null or s.user_id = %(user)s order by s.name, s.id"
# Those with an error come last, so that they never keep others from their turn.
_DUE = f"""{_SELECT}
where not s.paused and s.next_run_at <= %s
order by s.last_error is not null, s.next_run_at limit %s"""
_ANY_DUE = """
select exists (select from public.job_schedules where not paused and next_run_at <= clock_timestamp()) as due"""
_FIRE = """
select queue.fire_schedule(
    %(id)s, %(due)s, %(updated_at)s, %(next)s, %(ticks)s::timestamptz[], %(job_ids)s::uuid[], %(max_attempts)s
) as job_ids"""
_COMPLAIN = """
update public.job_schedules set last_error = %(problem)s
where id = %(id)s and next_run_at = %(due)s and last_error is distinct from %(problem)s"""


async def add(connection: Connection, new: NewSchedule) -> Schedule:
    """Store a schedule; its first tick is the next one from now. Raises ScheduleError for what cannot be."""
    row = await _write(connection, _ADD, new, {})
    assert row is not None
    return await get(connection, row["id"])


async def update(connection: Connection, schedule_id: UUID, new: NewSchedule) -> Schedule:
    """Let a schedule say something else from now on; paused stays paused. Raises ScheduleError or NotFound."""
    await _write(connection, _UPDATE, new, {"id": schedule_id})
    return await get(connection, schedule_id)


async def known(connection: Connection, new: NewSchedule) -> UUID | None:
    """The schedule that has this name and owner already."""
    facts = {"name": new.name, "repository_id": new.repository_id, "user_id": new.user_id}
    row = await (await connection.execute(_KNOWN, facts)).fetchone()
    return row["id"] if row else None


async def pause(connection: Connection, schedule_id: UUID) -> None:
    """Let no more ticks fire until it is resumed."""
    await connection.execute(_PAUSE, (schedule_id,))


async def resume(connection: Connection, schedule_id: UUID) -> Schedule:
    """Go on with the next tick from now: those of the pause are not missed but unwanted."""
    schedule = await get(connection, schedule_id)
    following = await _next(connection, schedule.cron, schedule.timezone)
    facts = {"id": schedule_id, "next": following, "updated_at": schedule.updated_at}
    await connection.execute(_RESUME, facts)
    return await get(connection, schedule_id)


async def remove(connection: Connection, schedule_id: UUID) -> None:
    """Delete a schedule; jobs that it made stay."""
    await connection.execute(_REMOVE, (schedule_id,))


async def get(connection: Connection, schedule_id: UUID) -> Schedule:
    """One schedule; raises NotFound."""
    row = await (await connection.execute(_GET, (schedule_id,))).fetchone()
    if row is None:
        raise NotFound(f"There is no schedule {schedule_id}.", hint="`worker schedule list` shows them.")
    return _schedule(row)


async def find(connection: Connection, name: str, *, user_id: UUID | None = None) -> Schedule:
    """A schedule by its name, of one owner or of anybody; raises NotFound unless exactly one fits."""
    rows = await (await connection.execute(_FIND, {"name": name, "user": user_id})).fetchall()
    if len(rows) != 1:
        problem = "More than one owner has a schedule" if rows else "There is no schedule"
        raise NotFound(f"{problem} {name!r}.", hint="`worker schedule list` shows them.")
    return _schedule(rows[0])


async def list_schedules(connection: Connection, *, user_id: UUID | None = None) -> list[Schedule]:
    """Every schedule of an owner (None: of everybody), by name."""
    rows = await (await connection.execute(_LIST, {"user": user_id})).fetchall()
    return [_schedule(row) for row in rows]


async def any_due(connection: Connection) -> bool:
    """Whether there is anything for `fire_due`; reads one entry of an index."""
    row = await (await connection.execute(_ANY_DUE)).fetchone()
    return row is not None and row["due"]


async def fire_due(
    connection: Connection,
    now: datetime | None = None,
    *,
    max_attempts: int = 5,
    on_error: Callable[[Schedule, str], None] = lambda *_: None,
) -> list[Fired]:
    """Fire every tick that is due, by the database's clock unless a time is given; any number may do so at once.

    One that cannot be fired stays due, keeps the reason in its row, and stops no other; `on_error` hears of it once.
    """
    now = now or await _database_time(connection)
    rows = await (await connection.execute(_DUE, (now, MOST_SCHEDULES))).fetchall()
    fired: list[Fired] = []
    for schedule in map(_schedule, rows):
        try:
            done = await _fire(connection, schedule, now, max_attempts)
        except (
            ScheduleError,
            psycopg.DataError,
            psycopg.IntegrityError,
            psycopg.InternalError,
            psycopg.ProgrammingError,
        ) as failure:
            # Of Postgres' words only the first: the others may show the payload.
            said = failure.diag.message_primary if isinstance(failure, psycopg.Error) else None
            if await _complain(connection, schedule, reason := said or str(failure)):
                on_error(schedule, reason)
            continue
        if done is not None and done.ticks:
            fired.append(done)
    return fired


async def _fire(connection: Connection, schedule: Schedule, now: datetime, max_attempts: int) -> Fired | None:
    """None: somebody else did, or is about to."""
    fire, following = due_ticks(schedule.cron, schedule.timezone, schedule.catch_up, due=schedule.next_run_at, now=now)
    facts = {
        "id": schedule.id, "due": schedule.next_run_at, "updated_at": schedule.updated_at, "next": following,
        "ticks": fire, "job_ids": sorted(new_job_id() for _ in fire), "max_attempts": max_attempts,
    }  # fmt: skip
    row = await (await connection.execute(_FIRE, facts)).fetchone()
    assert row is not None
    return None if row["job_ids"] is None else Fired(schedule, tuple(fire), tuple(row["job_ids"]))


async def _complain(connection: Connection, schedule: Schedule, reason: str) -> bool:
    """Whether the reason is a new one."""
    facts = {"id": schedule.id, "due": schedule.next_run_at, "problem": reason}
    return (await connection.execute(_COMPLAIN, facts)).rowcount > 0


async def _write(
    connection: Connection, statement: LiteralString, new: NewSchedule, more: Mapping[str, Any]
) -> dict[str, Any] | None:
    if not new.name.strip() or len(new.name) > LONGEST_NAME or not new.name.isprintable():
        raise ScheduleError(f"A schedule needs a name of 1 to {LONGEST_NAME} printable characters.")
    cron = checked(new.cron, new.timezone)
    facts = {
        "name": new.name, "cron": cron, "job_type": new.job_type, "repository_id": new.repository_id,
        "user_id": new.user_id, "payload": Jsonb(dict(new.payload)), "priority": new.priority,
        "timezone": new.timezone, "catch_up": new.catch_up, "coalesce_key": new.coalesce_key,
        "next": await _next(connection, cron, new.timezone),
    }  # fmt: skip
    try:
        return await (await connection.execute(statement, {**facts, **more})).fetchone()
    except psycopg.errors.UniqueViolation:
        raise ScheduleError(
            f"There is a schedule {new.name!r} already.", hint="Take another name, or replace or remove that one."
        ) from None
    except psycopg.errors.ForeignKeyViolation:
        raise NotFound(
            "There is no such repository or owner.", hint="`worker repo list` shows the repositories."
        ) from None


async def _next(connection: Connection, cron: str, timezone: str) -> datetime:
    return next(ticks(cron, timezone, await _database_time(connection)))


async def _database_time(connection: Connection) -> datetime:
    row = await (await connection.execute(_NOW)).fetchone()
    assert row is not None
    return row["now"]


def _schedule(row: dict[str, Any]) -> Schedule:
    facts: dict[str, Any] = {**row, "catch_up": CatchUp(row["catch_up"])}
    return Schedule(**facts)

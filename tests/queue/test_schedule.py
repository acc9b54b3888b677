"""schedule: which times a cron expression means, and that each of them makes its jobs exactly once."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from tests.fixtures.workers import eventually
from worker.database.connect import connect, connect_async
from worker.errors import NotFound, ScheduleError
from worker.job import new_job_id
from worker.queue import schedule as schedules
from worker.queue.cron import MOST_TICKS, CatchUp, checked, due_ticks, ticks
from worker.queue.schedule import NewSchedule, Schedule, fire_due

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def times(cron: str, timezone: str, after: str, count: int = 4) -> list[str]:
    """The next times after one, all in UTC, as day and time."""
    found = islice(ticks(cron, timezone, datetime.fromisoformat(after).replace(tzinfo=UTC)), count)
    return [f"{tick:%m-%d %H:%M}" for tick in found]


def test_a_time_that_spring_skips_comes_once_at_the_end_of_the_gap() -> None:
    """02:30 does not exist in Berlin on 29 March 2026: the clock goes from 02:00 to 03:00, which is 01:00 UTC."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00") == [
        "03-28 01:30", "03-29 01:00", "03-30 00:30", "03-31 00:30",
    ]  # fmt: skip
    assert times("0,30 2 * * *", "Europe/Berlin", "2026-03-28T02:00", 2) == ["03-29 01:00", "03-30 00:00"]
    assert times("0 2,3 * * *", "Europe/Berlin", "2026-03-28T03:00", 2) == ["03-29 01:00", "03-30 00:00"]


def test_a_time_that_autumn_repeats_comes_once_in_its_first_pass() -> None:
    """02:30 exists twice in Berlin on 25 October 2026: at 00:30 and at 01:30 UTC."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00") == [
        "10-24 00:30", "10-25 00:30", "10-26 01:30", "10-27 01:30",
    ]  # fmt: skip


@pytest.mark.parametrize("minute", range(0, 150, 10))
def test_within_the_repeated_hour_no_time_comes_back(minute: int) -> None:
    """Wherever in the two passes somebody asks, the answer lies ahead, and is the same."""
    after = f"2026-10-25T{minute // 60:02}:{minute % 60:02}"
    assert times("30 2 * * *", "Europe/Berlin", after, 1) == ["10-25 00:30" if minute < 30 else "10-26 01:30"]


def test_what_comes_every_few_minutes_goes_by_the_real_time() -> None:
    """It pauses in no doubled hour and makes up for no skipped one."""
    assert times("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10") == [
        "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00",
    ]  # fmt: skip
    assert times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:10") == [
        "03-29 00:30", "03-29 01:00", "03-29 01:30", "03-29 02:00",
    ]  # fmt: skip


def test_a_leap_day_comes_in_leap_years() -> None:
    """29 February waits for its year, also over one that is none by the rule of the century."""
    found = islice(ticks("0 12 29 2 *", "UTC", datetime(2026, 3, 1, tzinfo=UTC)), 2)
    assert [tick.date().isoformat() for tick in found] == ["2028-02-29", "2032-02-29"]
    (after_2096,) = islice(ticks("0 12 29 2 *", "UTC", datetime(2096, 3, 1, tzinfo=UTC)), 1)
    assert after_2096.year == 2104


@given(
    st.sampled_from(["*/7 * * * *", "15 */3 * * *", "0,30 0-3 * * *", "59 23 * * SUN", "0 0 1 * *", "*/20 2 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Gaza"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
def test_times_only_grow_and_do_not_depend_on_where_one_begins(cron: str, timezone: str, after: datetime) -> None:
    """Asking anew after each time gives what going on gives: so a worker may die between any two."""
    row = list(islice(ticks(cron, timezone, after), 5))
    assert [after, *row] == sorted({after, *row})
    assert row == [next(ticks(cron, timezone, before)) for before in (after, *row[:-1])]


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "*/0 * * * *", "0 0 30 2 *", "a b c d e", "5-1 * * * *",
     "0 0 L 2 30#1", "9" * 5000 + " * * * *", "* * */20 * 1L"],
)  # fmt: skip
def test_an_expression_that_is_no_use_is_refused_with_a_hint(cron: str) -> None:
    """Also one with seconds, one that names a day no month has, and one that fits no day for 50 years."""
    with pytest.raises(ScheduleError) as refused:
        checked(cron, "UTC")
    assert "Five fields" in str(refused.value.hint)


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "/etc/passwd", "../UTC", "Europe", "localtime", "\0"])
def test_a_zone_that_does_not_exist_is_refused_with_a_hint(zone: str) -> None:
    """And what the machine calls its own time is none: every machine has another."""
    with pytest.raises(ScheduleError, match="There is no time zone") as refused:
        checked("0 0 * * *", zone)
    assert refused.value.hint == ("Did you mean Europe/Berlin?" if "Ber" in zone else refused.value.hint)


def plan(catch_up: CatchUp, late: timedelta, cron: str = "*/5 * * * *") -> tuple[list[timedelta], timedelta]:
    """What fires of a schedule that was due at noon, so late; and what comes next; both from noon."""
    fire, following = due_ticks(cron, "UTC", catch_up, due=NOON, now=NOON + late)
    return [tick - NOON for tick in fire], following - NOON


def test_catching_up() -> None:
    """none: only what is less than a minute late; one: once for all; all: each."""
    on_time, late = timedelta(seconds=1), timedelta(minutes=17)
    for policy in CatchUp:
        assert plan(policy, on_time) == ([0 * MINUTE], 5 * MINUTE)
    assert plan(CatchUp.NONE, late) == ([], 20 * MINUTE)
    assert plan(CatchUp.NONE, timedelta(minutes=15, seconds=59.9)) == ([15 * MINUTE], 20 * MINUTE)
    assert plan(CatchUp.NONE, timedelta(seconds=59.9)) == ([0 * MINUTE], 5 * MINUTE)
    assert plan(CatchUp.NONE, MINUTE) == ([], 5 * MINUTE)
    assert plan(CatchUp.ONE, late) == ([0 * MINUTE], 20 * MINUTE)
    assert plan(CatchUp.ALL, late) == ([n * 5 * MINUTE for n in range(4)], 20 * MINUTE)


def test_long_ago_costs_no_more_than_yesterday() -> None:
    """Ten years of missed minutes: none and one jump over them, all takes a bounded bite."""
    decade = timedelta(days=3650)
    assert plan(CatchUp.NONE, decade + timedelta(seconds=30), "* * * * *") == ([decade], decade + MINUTE)
    assert plan(CatchUp.ONE, decade, "* * * * *") == ([0 * MINUTE], decade + MINUTE)
    fire, following = plan(CatchUp.ALL, decade, "* * * * *")
    assert fire == [n * MINUTE for n in range(MOST_TICKS)]
    assert following == MOST_TICKS * MINUTE


# With the database


def new(name: str = "nightly", **facts: Any) -> NewSchedule:
    """A schedule of jobs without a repository, every five minutes."""
    given: dict[str, Any] = {"cron": "*/5 * * * *", "job_type": "full_index", **facts}
    return NewSchedule(name, **given)


def make_due(queue: Any, when: datetime = NOON) -> None:
    """As if this had been every schedule's next time."""
    queue.db.execute("update job_schedules set next_run_at = %s", (when,))


def from_now_on(queue: Any, setting: str, *values: str) -> None:
    """A setting of all sessions to come."""
    change = sql.SQL("alter database {} set {} = {}")
    name = sql.SQL(".").join(map(sql.Identifier, setting.split(".")))
    written = sql.SQL(", ").join(map(sql.Literal, values))
    queue.db.execute(change.format(sql.Identifier(queue.db.info.dbname), name, written))


def jobs(queue: Any) -> list[dict[str, Any]]:
    """All jobs, oldest first."""
    return queue.db.execute("select * from indexing_jobs order by id").fetchall()


def test_a_schedule_fires_its_job_at_its_time(queue, make_repository) -> None:
    """Not before; then once, with everything the schedule says, and the tick it is for."""
    repository = make_repository(name="flask")
    made = queue.ask(
        schedules.add, new(repository_id=repository, payload={"rebuild": True}, priority=3, coalesce_key="k")
    )
    assert made.repository == "flask"
    make_due(queue)
    assert queue.ask(fire_due, NOON - timedelta(seconds=1)) == []
    (fired,) = queue.ask(fire_due, NOON + timedelta(seconds=1), max_attempts=2)
    (job,) = jobs(queue)
    assert fired.job_ids == (job["id"],)
    assert (job["repository_id"], job["user_id"]) == (repository, made.user_id)
    assert (job["job_type"], job["priority"], job["coalesce_key"], job["max_attempts"]) == ("full_index", 3, "k", 2)
    assert job["payload"] == {"rebuild": True, "schedule": "nightly", "scheduled_for": "2026-06-01T12:00:00Z"}
    after = queue.ask(schedules.get, made.id)
    assert (after.next_run_at, after.last_job_id) == (NOON + 5 * MINUTE, job["id"])
    assert after.last_run_at is not None
    assert queue.ask(fire_due, NOON + timedelta(seconds=2)) == []


def test_the_databases_clock_says_what_is_due(queue) -> None:
    """A worker whose clock is an hour off fires nothing early and nothing late: nobody asks it."""
    made = queue.ask(schedules.add, new(cron="0 0 1 1 *"))
    queue.db.execute("""
        create schema skewed;
        create function skewed.clock_timestamp() returns timestamptz language sql volatile
        as $$ select pg_catalog.clock_timestamp() + current_setting('skewed.by')::interval $$""")
    from_now_on(queue, "search_path", "skewed", "pg_catalog", "public")
    for skew, late, due in (
        ("-1 hour", "-5 minutes", False),
        ("1 hour", "5 minutes", True),
        ("1 hour", "2 hours", False),
    ):
        queue.db.execute("update job_schedules set next_run_at = pg_catalog.clock_timestamp() + %s::interval", (late,))
        from_now_on(queue, "skewed.by", skew)
        assert queue.ask(schedules.any_due) is due
        assert [fired.schedule.id for fired in queue.ask(fire_due)] == ([made.id] if due else [])


def test_each_tick_fires_once_however_many_fire_at_once(queue) -> None:
    """Eight at once, all of which see the same ticks due: a job a tick, over many rounds."""
    for number in range(5):
        queue.ask(schedules.add, new(str(number), catch_up=CatchUp.ALL))
    barrier = threading.Barrier(8, timeout=30)

    async def race() -> None:
        async with await connect_async(queue.url, name="test") as connection:
            for lap in range(1, 7):
                await asyncio.to_thread(barrier.wait)
                await fire_due(connection, NOON + lap * 15 * MINUTE)

    make_due(queue)
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(asyncio.run, race()) for _ in range(8)]:
            done.result()
    made = [(job["payload"]["schedule"], job["payload"]["scheduled_for"]) for job in jobs(queue)]
    assert len(made) == len(set(made)) == 5 * (6 * 3 + 1)


def test_who_comes_second_to_a_tick_changes_nothing(queue) -> None:
    """The old time is named in the statement: without any lock, the same tick cannot fire again."""
    made = queue.ask(schedules.add, new())
    make_due(queue)
    assert fire(queue, made) is not None
    assert fire(queue, made) is None
    assert len(jobs(queue)) == 1


@pytest.mark.parametrize("change", ["update", "pause", "remove"])
def test_a_schedule_that_was_changed_after_it_was_read_does_not_fire(queue, change: str) -> None:
    """What was computed from the old expression is worth nothing then; nor does a paused or removed one fire."""
    made = queue.ask(schedules.add, new())
    make_due(queue)
    queue.ask(getattr(schedules, change), made.id, *([new(payload={"rebuild": True})] if change == "update" else []))
    assert fire(queue, made) is None
    assert jobs(queue) == []


def fire(queue: Any, made: Schedule) -> list[uuid.UUID] | None:
    """Fire a schedule's tick of noon from what was read of it at first."""
    return queue.db.execute(
        "select queue.fire_schedule(%s, %s, %s, %s, %s::timestamptz[], %s::uuid[]) as jobs",
        (made.id, NOON, made.updated_at, NOON + 5 * MINUTE, [NOON], [new_job_id()]),
    ).fetchone()["jobs"]  # fmt: skip


def test_a_schedule_that_somebody_holds_keeps_no_other_waiting(queue) -> None:
    """A worker that stopped while it fires one leaves the others to the rest."""
    for name in ("held", "free"):
        queue.ask(schedules.add, new(name))
    make_due(queue)
    from_now_on(queue, "lock_timeout", "2s")
    with connect(queue.url, name="holder") as holder, holder.transaction():
        holder.execute("select from job_schedules where name = 'held' for update")
        assert [fired.schedule.name for fired in queue.ask(fire_due, NOON)] == ["free"]
    assert [fired.schedule.name for fired in queue.ask(fire_due, NOON)] == ["held"]


def test_a_repository_that_is_being_deleted_keeps_nobody_waiting(queue, make_repository) -> None:
    """Its schedules go with it, without a deadlock between the two."""
    repository = make_repository()
    made = queue.ask(schedules.add, new(repository_id=repository))
    make_due(queue)
    from_now_on(queue, "lock_timeout", "2s")
    with connect(queue.url, name="holder") as holder, holder.transaction():
        holder.execute("select from repositories for update")
        assert queue.ask(fire_due, NOON) == []
        holder.execute("delete from repositories")
    assert queue.ask(fire_due, NOON) == []
    with pytest.raises(NotFound):
        queue.ask(schedules.get, made.id)


def test_a_failure_between_two_jobs_leaves_none_and_loses_no_tick(queue) -> None:
    """All ticks and the next time are one statement; the reason stands in the row, is told once, and stops no other."""
    queue.ask(schedules.add, new("bad", catch_up=CatchUp.ALL))
    queue.ask(schedules.add, new("good"))
    make_due(queue)
    queue.db.execute("""
        create function refuse() returns trigger language plpgsql as $$ begin raise 'no room for this'; end $$;
        create trigger refuse before insert on indexing_jobs for each row
        when (new.payload ->> 'schedule' = 'bad' and new.payload ->> 'scheduled_for' = '2026-06-01T12:10:00Z')
        execute function refuse()""")
    told: list[tuple[str, str]] = []
    for _ in range(2):
        queue.ask(fire_due, NOON + 14 * MINUTE, on_error=lambda schedule, why: told.append((schedule.name, why)))
    assert [job["payload"]["schedule"] for job in jobs(queue)] == ["good"]
    assert told == [("bad", "no room for this")]
    stuck = queue.ask(schedules.find, "bad")
    assert (stuck.next_run_at, stuck.last_error) == (NOON, "no room for this")
    queue.db.execute("drop trigger refuse on indexing_jobs")
    (fired,) = queue.ask(fire_due, NOON + 14 * MINUTE)
    assert [tick - NOON for tick in fired.ticks] == [0 * MINUTE, 5 * MINUTE, 10 * MINUTE]
    assert len(jobs(queue)) == 4
    assert queue.ask(schedules.find, "bad").last_error is None


def test_an_expression_that_nobody_can_read_any_more_stops_no_other(queue) -> None:
    """Rows may be written by hand, and a zone may leave the machine's tables."""
    queue.ask(schedules.add, new("cron"))
    queue.ask(schedules.add, new("zone"))
    queue.ask(schedules.add, new("good"))
    make_due(queue)
    queue.db.execute("update job_schedules set cron = 'whenever' where name = 'cron'")
    queue.db.execute("update job_schedules set timezone = 'Mars/Base' where name = 'zone'")
    assert [fired.schedule.name for fired in queue.ask(fire_due, NOON)] == ["good"]
    assert "five fields" in queue.ask(schedules.find, "cron").last_error
    assert "Mars/Base" in queue.ask(schedules.find, "zone").last_error


def test_after_an_outage(queue) -> None:
    """none: nothing; one: one job; all: each tick its job, oldest first, in bites, until none is left."""
    for policy in CatchUp:
        queue.ask(schedules.add, new(policy, cron="* * * * *", catch_up=policy))
    make_due(queue)
    now = NOON + timedelta(minutes=249, seconds=30)
    queue.db.execute("update job_schedules set cron = '*/10 * * * *' where name = 'none'")
    counts = []
    while fired := queue.ask(fire_due, now):
        counts.append({done.schedule.name: len(done.job_ids) for done in fired})
    assert counts == [{"one": 1, "all": 100}, {"all": 100}, {"all": 50}]
    caught_up = [job["payload"]["scheduled_for"] for job in jobs(queue) if job["payload"]["schedule"] == "all"]
    assert caught_up == [f"{NOON + n * MINUTE:%Y-%m-%dT%H:%M:%SZ}" for n in range(250)]
    left = {made.name: made.next_run_at - NOON for made in queue.ask(schedules.list_schedules)}
    assert left == {"all": 250 * MINUTE, "none": 250 * MINUTE, "one": 250 * MINUTE}


@pytest.mark.parametrize(
    ("eve", "ticks_of_the_day"),
    [("2026-03-28T12:00", ["2026-03-29T01:00:00Z"]), ("2026-10-24T12:00", ["2026-10-25T00:30:00Z"])],
)
def test_a_job_at_half_past_two_fires_once_on_the_days_the_clock_changes(queue, eve, ticks_of_the_day) -> None:
    """Looked at every ten minutes from noon to noon, in Berlin."""
    queue.ask(schedules.add, new(cron="30 2 * * *", timezone="Europe/Berlin", catch_up=CatchUp.ALL))
    noon = datetime.fromisoformat(eve).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    make_due(queue, next(ticks("30 2 * * *", "Europe/Berlin", noon)))
    for minutes in range(0, 24 * 60, 10):
        queue.ask(fire_due, noon + timedelta(minutes=minutes))
    assert [job["payload"]["scheduled_for"] for job in jobs(queue)] == ticks_of_the_day


def test_ticks_join_a_job_that_still_waits(queue) -> None:
    """With a coalesce key a busy queue holds one job of the schedule, not one a tick."""
    queue.ask(schedules.add, new(coalesce_key="schedule:nightly"))
    make_due(queue)
    first, second = (queue.ask(fire_due, NOON + n * MINUTE)[0] for n in (0, 5))
    assert first.job_ids == second.job_ids
    (job,) = jobs(queue)
    assert job["payload"]["scheduled_for"] == "2026-06-01T12:05:00Z"


def test_pause_and_resume(queue) -> None:
    """A paused schedule makes nothing; resumed it goes on ahead, and what fell into the pause is not caught up."""
    made = queue.ask(schedules.add, new(catch_up=CatchUp.ALL))
    make_due(queue)
    queue.ask(schedules.pause, made.id)
    assert queue.ask(fire_due) == []
    assert not queue.ask(schedules.any_due)
    resumed = queue.ask(schedules.resume, made.id)
    assert not resumed.paused
    assert resumed.next_run_at > datetime.now(UTC) - MINUTE
    assert queue.ask(schedules.resume, made.id) == resumed


def test_update_keeps_what_is_due_unless_the_times_change(queue) -> None:
    """Another payload loses no tick; another expression begins anew, from now."""
    made = queue.ask(schedules.add, new())
    make_due(queue)
    same = queue.ask(schedules.update, made.id, new(priority=7))
    assert (same.priority, same.next_run_at) == (7, NOON)
    other = queue.ask(schedules.update, made.id, new(cron=" 0  0 1  1 * ", timezone="Europe/Berlin"))
    assert (other.cron, other.timezone) == ("0 0 1 1 *", "Europe/Berlin")
    assert other.next_run_at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%m-%d %H:%M") == "01-01 00:00"
    with pytest.raises(NotFound):
        queue.ask(schedules.update, uuid.uuid4(), new())
    for verb in ("add", "update"):
        with pytest.raises(ScheduleError, match="five fields"):
            queue.ask(getattr(schedules, verb), *([made.id] if verb == "update" else []), new("x", cron="daily"))


def test_a_name_is_one_owners_once(queue, make_repository) -> None:
    """A schedule belongs to its repository's owner; two owners may use one name, one may not twice, nor may nobody."""
    first, second = make_repository(), make_repository()
    made = [queue.ask(schedules.add, new(repository_id=repository)) for repository in (first, second)]
    queue.ask(schedules.add, new())
    for repository in (first, None):
        with pytest.raises(ScheduleError, match="already"):
            queue.ask(schedules.add, new(repository_id=repository))
    assert queue.ask(schedules.find, "nightly", user_id=made[0].user_id) == made[0]
    with pytest.raises(NotFound, match="More than one"):
        queue.ask(schedules.find, "nightly")
    assert queue.ask(schedules.known, new(repository_id=second)) == made[1].id
    assert queue.ask(schedules.known, new("other")) is None
    for unknown in ({"repository_id": uuid.uuid4()}, {"user_id": uuid.uuid4()}):
        with pytest.raises(NotFound):
            queue.ask(schedules.add, new("new", **unknown))
    for name in ("", "  ", "a\nb", "x" * 101):
        with pytest.raises(ScheduleError, match="name"):
            queue.ask(schedules.add, new(name))


def test_a_wrong_next_time_is_refused(queue) -> None:
    """Whatever computes it: a time that does not grow would fire for ever."""
    made = queue.ask(schedules.add, new())
    make_due(queue)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        queue.db.execute(
            "select queue.fire_schedule(%s, %s, %s, %s, '{}', '{}')", (made.id, NOON, made.updated_at, NOON)
        )


def test_a_worker_fires_what_is_due_and_writes_nothing_while_nothing_is(queue, start_worker) -> None:
    """Within seconds of its time the job runs; an idle worker only looks."""
    start_worker()
    eventually(lambda: ran(queue, "forget_workers"), what="the other tasks")
    assert not ran(queue, "schedules")
    queue.ask(schedules.add, new(job_type="nothing", cron="0 0 1 1 *"))
    queue.db.execute("update job_schedules set next_run_at = clock_timestamp() + interval '1 second'")
    eventually(lambda: [job for job in jobs(queue) if job["status"] == "completed"], what="the scheduled job")
    assert ran(queue, "schedules")
    assert len(jobs(queue)) == 1


def ran(queue: Any, task: str) -> bool:
    """Whether a maintenance task was taken."""
    (row,) = queue.db.execute("select last_run_at from maintenance_tasks where name = %s", (task,)).fetchall()
    return row["last_run_at"] is not None


def test_a_tick_without_a_repository_belongs_to_the_schedules_tenant(queue):
    """Its job waits in that tenant's lane, not in the one of nobody."""
    user_id = uuid.uuid4()
    queue.db.execute("insert into auth.users (id) values (%s)", (user_id,))
    queue.ask(schedules.add, NewSchedule("all", "* * * * *", "tidy", user_id=user_id))
    queue.db.execute("update job_schedules set next_run_at = now() - interval '1 minute'")
    (fired,) = queue.ask(schedules.fire_due)
    assert queue.row(fired.job_ids[0])["user_id"] == user_id

"""Jobs that wait for their busy repository: out of everybody's way, and awake as soon as it is their turn."""

import random
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import LiteralString

import pytest

from tests.fairness.conftest import Connection, Line, Start
from tests.fixtures.workers import eventually
from worker.job import new_job_id

# How a running job leaves its attempt: what is asked with its id and token.
ENDINGS: dict[str, LiteralString] = {
    "complete": "select queue.complete(%s, %s, '{}')",
    "complete_many": "select queue.complete_many(array[%s::uuid], array[%s::bigint], '[{}]')",
    "fail": "select queue.fail(%s, %s, 'broken', 'It broke.')",
    "cancel": "select queue.cancel_running(%s, %s)",
    "retry": "select queue.give_back(%s, %s, 'retry', 'error', '1 hour', null, null)",
    "retry at once": "select queue.give_back(%s, %s, 'retry', 'error', '0', null, null)",
    "snooze": "select queue.give_back(%s, %s, 'snooze', 'none', '1 hour', null, null)",
    "release": "select queue.give_back(%s, %s, 'release', 'none', '0', null, null)",
    "rescue": "select queue.give_back(%s, %s, 'rescue', 'crash', '0', 'worker_lost', null)",
}


def end(line: Line, how: str, start: Start, *, on: Connection | None = None) -> None:
    """Let a running job leave its attempt in this way."""
    answer = (on or line.db).execute(ENDINGS[how], (start.job, start.token)).fetchone()
    assert answer is not None
    assert next(iter(answer.values()))


def enqueue(line: Line, repository: uuid.UUID, key: str | None = None, *, on: Connection | None = None,
            later: bool = False, job_type: str = "light") -> uuid.UUID:  # fmt: skip
    """Enqueue one job, or join the one of this key, due now or in an hour; answer its id."""
    row = (on or line.db).execute(
        "select job_id from queue.enqueue(%s, %s, %s, '{}', p_run_after => now() + %s, p_coalesce_key => %s)",
        (new_job_id(), repository, job_type, timedelta(hours=later), key),
    ).fetchone()  # fmt: skip
    assert row is not None
    return row["job_id"]


def lock_waits(line: Line) -> int:
    """How many sessions of this database wait for another."""
    return line.count(
        "select count(*)::int from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )


@pytest.mark.parametrize("limit", [1, 10])
@pytest.mark.parametrize("is_busy_first", [True, False])
@pytest.mark.parametrize("has_company", [True, False])
def test_3000_jobs_of_a_busy_repository_hide_none_of_the_others(line: Line, limit, is_busy_first, has_company):
    """They stand before other repositories' jobs of their tenant: those are claimed at once, in the tenant's turn."""
    crowd = line.tenants(3 if has_company else 1)
    busy = line.repositories(crowd[0], 1)
    if is_busy_first:
        line.jobs(crowd[0], 1, repositories=busy)
        assert len(line.claim()) == 1
    line.jobs(crowd[0], 3000, repositories=busy, priority=9)
    if not is_busy_first:
        assert len(line.claim()) == 1
    others = line.jobs(crowd[0], 40)
    for tenant in crowd[1:]:
        line.jobs(tenant, 40)
    begun = [start for _ in range(20 // limit + 1) for start in line.claim(limit)]
    mine = [start.job for start in begun if start.tenant == crowd[0]]
    assert mine == others[: len(mine)]
    assert abs(len(mine) - len(begun) / len(crowd)) <= 2


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("job_type", ["light", "full_index"])
def test_the_next_job_of_a_repository_starts_once_the_running_one_left(line: Line, how, job_type):
    """However it leaves, the first of those that were put aside is claimed at once, and no second one beside it."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 1, repositories=home, job_type=job_type)
    (busy,) = line.claim(1, [job_type])
    parked = line.jobs(tenant, 30, repositories=home, job_type=job_type)
    assert line.claim(10, [job_type]) == []
    assert line.holds() == {"repository": 30}
    end(line, how, busy)
    (following,) = line.claim(10, [job_type])
    # One that comes back at once keeps its place in line, before those who came later.
    assert following.job == (busy.job if how in {"retry at once", "release", "rescue"} else parked[0])
    assert line.claim(10, [job_type]) == []
    assert line.count("select queue.mend()") == 0


@pytest.mark.parametrize("how", ["release", "cancel"])
def test_a_superseded_job_wakes_the_next_one(line: Line, how):
    """A job whose follow-up takes its place leaves the repository as any other does."""
    (tenant,) = line.tenants(1)
    (home,) = line.repositories(tenant, 1)
    enqueue(line, home, "key")
    (busy,) = line.claim()
    follow_up = enqueue(line, home, "key")
    line.db.execute("update indexing_jobs set cancel_requested_at = now(), cancel_reason = 'superseded' where id = %s",
                    (busy.job,))  # fmt: skip
    other = enqueue(line, home)
    end(line, how, busy)
    row = line.db.execute("select status, error_class from indexing_jobs where id = %s", (busy.job,)).fetchone()
    assert row == {"status": "cancelled", "error_class": "superseded"}
    (following,) = line.claim(10)
    assert following.job == follow_up
    line.complete([following])
    assert [start.job for start in line.claim(10)] == [other]


def test_one_of_each_type_is_woken_and_one_starts(line: Line):
    """Workers of different types both find a job of the repository; the first to claim has it."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 1, repositories=home)
    (busy,) = line.claim()
    line.jobs(tenant, 5, repositories=home, job_type="odd")
    line.jobs(tenant, 5, repositories=home, job_type="even")
    line.complete([busy])
    assert line.holds() == {None: 2, "repository": 8}
    begun = line.claim(5, ["even"])
    assert len(begun) == 1
    assert line.claim(5, ["odd"]) == []
    line.complete(begun)
    drain(line, ["odd", "even"])


@pytest.mark.parametrize("how", ["cancelled", "postponed"])
def test_a_woken_job_that_goes_out_of_the_way_wakes_the_next(line: Line, how):
    """Cancelled or delayed before it started, it passes its turn on."""
    _, woken, following, home = _busy_and_two_parked(line, ends=True)
    if how == "cancelled":
        line.db.execute("select queue.cancel(%s)", (woken,))
    else:
        assert enqueue(line, home, "first", later=True) == woken
    assert [start.job for start in line.claim(5)] == [following]


@pytest.mark.parametrize("how", ["cancelled", "postponed"])
def test_a_job_that_goes_out_of_the_way_while_it_is_being_woken_wakes_the_next(line: Line, how):
    """The same at the same moment: whoever leaves waits for it, and wakes another one, and never it."""
    busy, woken, following, home = _busy_and_two_parked(line, ends=False)
    (other,) = line.connections(1)
    with ThreadPoolExecutor(1) as thread:
        with other.transaction():
            if how == "cancelled":
                other.execute("select queue.cancel(%s)", (woken,))
            else:
                assert enqueue(line, home, "first", on=other, later=True) == woken
            leaving = thread.submit(line.complete, [busy], on=line.connections(1)[0])
            eventually(lambda: lock_waits(line), what="the one that leaves waiting for the job it would wake")
        leaving.result()
    assert line.count("select queue.mend()") == 0
    assert [start.job for start in line.claim(5)] == [following]


def _busy_and_two_parked(line: Line, *, ends: bool) -> tuple[Start, uuid.UUID, uuid.UUID, uuid.UUID]:
    (tenant,) = line.tenants(1)
    (home,) = line.repositories(tenant, 1)
    enqueue(line, home)
    (busy,) = line.claim()
    first, second = enqueue(line, home, "first"), enqueue(line, home)
    if ends:
        line.complete([busy])
    return busy, first, second, home


def test_a_push_that_joins_and_a_job_given_back_at_the_same_moment_do_not_deadlock(line: Line):
    """Both want the running job's row and its queued follow-up's, and take them in the same order."""
    (tenant,) = line.tenants(1)
    (home,) = line.repositories(tenant, 1)
    enqueue(line, home, "key")
    (busy,) = line.claim()
    follow_up = enqueue(line, home, "key")
    holder, leaver, pusher = line.connections(3)
    with ThreadPoolExecutor(2) as threads:
        with holder.transaction():
            holder.execute("select from queue.waiting where job_id = %s for update", (follow_up,))
            leaving = threads.submit(end, line, "release", busy, on=leaver)
            eventually(lambda: lock_waits(line) == 1, what="the job given back waiting for its follow-up")
            joining = threads.submit(enqueue, line, home, "key", on=pusher)
            eventually(lambda: lock_waits(line) == 2, what="the push waiting for the follow-up")
        leaving.result()
        assert joining.result() == follow_up
    assert [start.job for start in line.claim(5)] == [follow_up]


def test_a_push_that_wakes_a_lane_and_a_job_given_back_at_the_same_moment_do_not_deadlock(line: Line):
    """One has the coalesce key and wants the lane, the other must not have the lane and want the key."""
    (tenant,) = line.tenants(1)
    (home,) = line.repositories(tenant, 1)
    enqueue(line, home, "key")
    (busy,) = line.claim()
    parked = enqueue(line, home)
    assert line.claim() == []  # the lane sleeps
    holder, leaver, pusher = line.connections(3)
    with ThreadPoolExecutor(2) as threads:
        with holder.transaction():
            holder.execute("select from queue_lanes where user_id = %s for update", (tenant,))
            leaving = threads.submit(end, line, "retry", busy, on=leaver)
            eventually(lambda: lock_waits(line) == 1, what="the job given back waiting for the lane")
            joining = threads.submit(enqueue, line, home, "key", on=pusher)
            eventually(lambda: lock_waits(line) == 2, what="the push waiting")
        leaving.result()
        assert joining.result() == busy.job
    begun = line.claim()
    line.complete(begun)
    assert {start.job for start in begun + line.claim()} == {parked, busy.job}


def test_a_push_that_joins_a_parked_job_and_a_job_given_back_do_not_deadlock(line: Line):
    """Both want the parked job's row and the sleeping lane's, and take them in the same order."""
    (tenant,) = line.tenants(1)
    (home,) = line.repositories(tenant, 1)
    enqueue(line, home)
    (busy,) = line.claim()
    parked = enqueue(line, home, "key")
    assert line.claim() == []  # the lane sleeps
    holder, leaver, pusher = line.connections(3)
    with ThreadPoolExecutor(2) as threads:
        with holder.transaction():
            holder.execute("select from queue_lanes where user_id = %s for update", (tenant,))
            leaving = threads.submit(end, line, "retry", busy, on=leaver)
            eventually(lambda: lock_waits(line) == 1, what="the job given back waiting for the lane")
            joining = threads.submit(enqueue, line, home, "key", on=pusher)
            eventually(lambda: lock_waits(line) == 2, what="the push waiting")
        leaving.result()
        assert joining.result() == parked
    assert [start.job for start in line.claim()] == [parked]


def test_cancelling_a_parked_job_wakes_nobody_and_waits_for_nobody(line: Line):
    """Two who cancel parked jobs of one repository do not want each other's."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 1, repositories=home)
    (busy,) = line.claim()
    _, *parked = line.jobs(tenant, 4, repositories=home)
    line.complete([busy])
    first, second = line.connections(2)
    second.execute("set lock_timeout = '5s'")
    with first.transaction():
        first.execute("select queue.cancel(%s)", (parked[0],))
        second.execute("select queue.cancel(%s)", (parked[1],))
    assert line.holds() == {None: 1, "repository": 1}


@pytest.mark.parametrize("by", ["enqueue", "enqueue_many", "claim"])
def test_whoever_leaves_sees_a_job_that_is_being_put_aside(line: Line, by):
    """Parking holds the running job's row: it leaves after the parking has committed, and wakes the parked job."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 1 if by != "claim" else 2, repositories=home)
    (busy,) = line.claim()
    leaver, other = line.connections(2)
    with ThreadPoolExecutor(1) as thread:
        leaving: Future[None]
        with other.transaction():
            match by:
                case "enqueue":
                    enqueue(line, home[0], on=other)
                case "enqueue_many":
                    other.execute(
                        "select queue.enqueue_many(array[gen_random_uuid()], %s, '{light}', array['{}'::jsonb], '{0}',"
                        " '{null}', '{5}', '{null}')",
                        (home,),
                    )
                case _:
                    assert line.claim(5, on=other) == []
            row = other.execute("select hold from queue.waiting").fetchone()
            assert row == {"hold": "repository"}
            leaving = thread.submit(line.complete, [busy], on=leaver)
            eventually(lambda: lock_waits(line), what="the one that leaves waiting for the parking")
        leaving.result()
    assert line.count("select queue.mend()") == 0
    assert len(line.claim(5)) == 1


def test_a_job_whose_running_one_is_about_to_leave_is_not_put_aside(line: Line):
    """The other order: the running one has left but not committed, so the new job stays ready and waits for nobody."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 1, repositories=home)
    (busy,) = line.claim()
    (other,) = line.connections(1)
    with other.transaction():
        line.complete([busy], on=other)
        line.jobs(tenant, 1, repositories=home)
        assert line.holds() == {None: 1}
        assert line.claim(5) == []
    assert len(line.claim(5)) == 1


def test_mend_wakes_a_parked_job_without_a_runner_and_counts_no_other(line: Line):
    """The safety net: a job put aside for a repository where nothing runs is found; a woken one in line is no find."""
    (tenant,) = line.tenants(1)
    home = line.repositories(tenant, 1)
    line.jobs(tenant, 4, repositories=home)
    line.db.execute("update queue.waiting set hold = 'repository'")
    assert line.claim() == []
    assert line.count("select queue.mend()") == 1
    assert line.holds() == {None: 1, "repository": 3}
    assert line.count("select queue.mend()") == 0
    drain(line, ["light"])


def drain(line: Line, types: list[str]) -> None:
    """Claim and complete until nothing is left, each claim taking all there is."""
    while line.count("select count(*)::int from queue.waiting"):
        due = line.claimable(types)
        starts = line.claim(1000, types)
        assert 0 < len(starts) == due, line.holds()
        line.complete(starts)
    assert line.count("select count(*)::int from indexing_jobs where status in ('queued', 'in_progress')") == 0


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_nothing_is_stuck_after_threads_park_and_wake(line: Line, seconds):
    """Six threads with every verb on few repositories, light and index jobs; in the end nothing is stuck."""
    crowd = line.tenants(3)
    homes = [repository for tenant in crowd for repository in line.repositories(tenant, 2)]
    types = ["light", "full_index"]
    deadline = time.monotonic() + seconds

    def hammer(number: int, connection: Connection) -> None:
        dice = random.Random(number)
        held: list[Start] = []
        while time.monotonic() < deadline:
            match dice.randrange(8):
                case 0 | 1 | 2:
                    home = dice.choice(homes)
                    enqueue(line, home, dice.choice([None, f"{home}"]), on=connection,
                            later=dice.random() < 0.1, job_type=dice.choice(types))  # fmt: skip
                case 3 | 4:
                    held += line.claim(dice.choice([1, 3]), types, on=connection)
                case 5 | 6:
                    for start in held:
                        how = dice.choice([way for way in ENDINGS if way != "complete_many"])
                        end(line, "complete_many" if start.job_type == "light" else how, start, on=connection)
                    held.clear()
                case _:
                    connection.execute(
                        "select queue.cancel(job_id) from (select job_id from queue.waiting"
                        " order by random() limit 1) w"
                    )
        for start in held:
            end(line, "complete", start, on=connection)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(hammer, range(6), line.connections(6)))
    assert line.count("select queue.mend()") == 0
    line.db.execute("with due as (update indexing_jobs set run_after = now() where status = 'queued' returning id)"
                    " update queue.waiting w set run_after = now() from due where w.job_id = due.id")  # fmt: skip
    drain(line, types)

"""Lanes that cannot give a job to this worker hide nobody's job, and no lane sleeps on a job."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.fairness.conftest import Connection, Line
from tests.fixtures.workers import eventually
from worker.job import new_job_id


def many_tenants(line: Line, count: int, job_type: str) -> None:
    """This many tenants with one job each."""
    line.db.execute(
        "with tenant as (insert into auth.users (id) select gen_random_uuid() from generate_series(1, %s) returning id)"
        " insert into repositories (id, user_id, name, git_url)"
        " select gen_random_uuid(), id, 'repo', 'https://github.com/acme/' || id from tenant",
        (count,),
    )
    line.db.execute(
        "select queue.enqueue_many(array_agg(gen_random_uuid()), array_agg(id), array_agg(%s::text),"
        " array_agg('{}'::jsonb), array_agg(0), array_agg(null::timestamptz), array_agg(5), array_agg(null::integer))"
        " from repositories",
        (job_type,),
    )


@pytest.mark.parametrize("reason", ["type", "paused type", "paused tenants"])
def test_5000_tenants_who_cannot_start_hide_no_job(line: Line, reason):
    """5,000 lanes with one job each that this worker may not start stand before one tenant's job; it starts at once."""
    many_tenants(line, 5000, "other" if reason != "paused tenants" else "light")
    if reason == "paused type":
        line.db.execute("select queue.set_paused('other', true)")
    if reason == "paused tenants":
        line.db.execute("update queue_lanes set paused = true")
    (tenant,) = line.tenants(1)
    jobs = line.jobs(tenant, 4)
    types = ["light", "other"] if reason == "paused type" else ["light"]
    begun = [start.job for limit in (1, 1, 10) for start in line.claim(limit, types)]
    assert begun == jobs
    assert line.claim(10, types) == []
    assert line.count("select queue.mend()") == 0
    line.db.execute("select queue.set_paused('other', false)")
    line.db.execute("update queue_lanes set paused = false")
    assert len(line.claim(100, ["light", "other"])) == 100


def test_a_paused_type_waits_and_comes_back_in_its_place(line: Line):
    """Pausing a type holds its jobs only; resumed, they are claimed by rank again."""
    (tenant,) = line.tenants(1)
    held = line.jobs(tenant, 2, job_type="held", priority=5)
    free = line.jobs(tenant, 3)
    line.db.execute("select queue.set_paused('held', true)")
    assert [start.job for start in line.claim(1, ["light", "held"])] == free[:1]
    line.db.execute("select queue.set_paused('held', false)")
    assert [start.job for start in line.claim(10, ["light", "held"])] == held + free[1:]


def test_delayed_jobs_of_types_that_nobody_here_claims_hide_no_due_job(line: Line):
    """12,000 jobs of another type came due before ours: one claim finds it."""
    crowd = line.tenants(2)
    line.jobs(crowd[0], 12_000, job_type="other", repositories=line.repositories(crowd[0], 1), due=timedelta(hours=1))
    line.jobs(crowd[1], 1, due=timedelta(hours=2))
    line.db.execute("update queue.waiting set run_after = run_after - interval '1 day'")
    assert [start.tenant for start in line.claim(1)] == [crowd[1]]


def test_a_lane_that_is_about_to_get_a_job_is_not_put_to_sleep(line: Line):
    """A claim that finds a lane empty while a job of it is being committed leaves the lane awake."""
    (tenant,) = line.tenants(1)
    (repository,) = line.repositories(tenant, 1)
    line.jobs(tenant, 1, repositories=[repository])
    line.complete(line.claim())
    job = new_job_id()
    (other,) = line.connections(1)
    with other.transaction():
        other.execute("select queue.enqueue(%s, %s, 'light', '{}')", (job, repository))
        assert line.claim() == []
    assert [start.job for start in line.claim()] == [job]


def test_a_claim_in_front_does_not_pass_over_lanes_that_a_waiting_claim_has_found_due(line: Line):
    """Jobs come due while a claim is under way and another one waits for it: the first one's next look has them."""
    crowd = line.tenants(2)
    line.jobs(crowd[0], 10, due=timedelta(hours=1))
    line.jobs(crowd[1], 10)
    first, second = line.connections(2)
    with ThreadPoolExecutor(1) as thread:
        with first.transaction():
            line.claim(1, on=first)
            line.db.execute("update queue.waiting set run_after = now() where hold = 'time'")
            waiting = thread.submit(line.claim, 1, on=second)
            eventually(
                lambda: line.db.execute(
                    "select 1 from pg_locks where locktype = 'advisory' and not granted"
                ).fetchone(),
                what="the second claim at the gate",
            )
            assert {start.tenant for start in line.claim(4, on=first)} == set(crowd)
        assert len(waiting.result()) == 1


def test_mend_wakes_a_lane_that_was_put_to_sleep_by_hand(line: Line):
    """The safety net: a sleeping lane with a ready job is found and woken, and the second look finds nothing."""
    (tenant,) = line.tenants(1)
    line.jobs(tenant, 2)
    line.db.execute("update queue_lanes set active = false")
    assert line.claim() == []
    assert line.count("select queue.mend()") == 1
    assert line.count("select queue.mend()") == 0
    assert len(line.claim()) == 1


def test_mend_lets_a_lane_sleep_whose_cap_is_reached(line: Line):
    """A tenant at its cap has ready jobs and sleeps rightly."""
    (tenant,) = line.tenants(1)
    line.lane(tenant, max_running=1)
    line.jobs(tenant, 3)
    assert len(line.claim(3)) == 1
    assert line.claim(3) == []
    assert line.count("select count(*)::int from queue_lanes where active") == 0
    assert line.count("select queue.mend()") == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_nothing_is_stuck_after_threads_enqueue_claim_finish_and_cancel(line: Line, seconds):
    """Lanes fall asleep and wake up all the time under six threads; in the end no lane sleeps on a job."""
    crowd = line.tenants(6)
    homes = [repository for tenant in crowd for repository in line.repositories(tenant, 2)]
    line.lane(crowd[0], max_running=1)
    deadline = time.monotonic() + seconds

    def hammer(number: int, connection: Connection) -> None:
        dice = random.Random(number)
        while time.monotonic() < deadline:
            match dice.randrange(4):
                case 0 | 1:
                    connection.execute(
                        "select queue.enqueue(%s, %s, 'light', '{}', p_run_after => now() + %s)",
                        (new_job_id(), dice.choice(homes), timedelta(seconds=dice.choice([0, 0, 0.02]))),
                    )
                case 2:
                    line.complete(line.claim(dice.choice([1, 5]), on=connection), on=connection)
                case 3:
                    connection.execute(
                        "select queue.cancel(job_id) from (select job_id from queue.waiting"
                        " order by random() limit 1) w"
                    )

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(hammer, range(6), line.connections(6)))
    time.sleep(0.03)
    assert line.count("select queue.mend()") == 0
    drain_to_empty(line)


def drain_to_empty(line: Line) -> None:
    """Claim and complete until nothing is left, each claim taking all there is."""
    while line.count("select count(*)::int from queue.waiting"):
        due = line.claimable()
        starts = line.claim(1000)
        assert 0 < len(starts) == due, line.holds()
        line.complete(starts)
    assert line.count("select count(*)::int from indexing_jobs where status in ('queued', 'in_progress')") == 0

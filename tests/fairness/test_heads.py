"""Claims begin behind what has been claimed, and pass over nobody: also while a session holds an old snapshot."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.fairness.conftest import Line
from tests.fairness.test_cost import buffers, fill


@pytest.fixture
def held_back(line: Line) -> Iterator[None]:
    """An idle transaction: vacuum can take nothing away that is there from now on, and no index entry of it."""
    with psycopg.connect(line.url) as idle:
        idle.execute("set transaction isolation level repeatable read")
        idle.execute("select count(*) from indexing_jobs")
        yield


def raise_always(line: Line) -> None:
    """Every claim raises what it may, and not only one in many."""
    (row,) = line.db.execute("select pg_get_functiondef('queue.claim'::regproc) as source").fetchall()
    assert row["source"].count("random()") == 4
    line.db.execute(row["source"].replace("random()", "0").encode())


def claim_cost(line: Line) -> int:
    """Buffers that a claim of ten touches; its jobs are completed."""
    before = line.count("select coalesce(max(token), 0) from queue.running")
    cost = buffers(line, "select * from queue.claim(%s, '{light}', 10)", line.me)
    line.db.execute(
        "select queue.complete_many(array_agg(job_id), array_agg(token), '[]') from queue.running where token > %s",
        (before,),
    )
    return cost


@pytest.mark.usefixtures("held_back")
@pytest.mark.parametrize(("tenants", "limit", "jobs"), [(1, 500, 8000), (20, 10, 4000)])
def test_a_claim_beside_an_old_snapshot_touches_as_much_after_thousands_of_jobs(line: Line, tenants, limit, jobs):
    """Without heads the first one reads each job that was ever claimed, without a floor the second each turn."""
    line.db.execute("select setseed(0.5)")  # now and then means the same claims each time
    ours = line.tenants(tenants)
    fill(line, ours, jobs // 2)
    early = claim_cost(line)
    for _ in range(2):
        line.drain(limit, jobs // 2 - 10)
        fill(line, ours, jobs // 2)
    late = min(claim_cost(line) for _ in range(3))
    assert late < early + jobs, (early, late)


@pytest.mark.usefixtures("held_back")
@pytest.mark.parametrize("limit", [1, 10])
def test_jobs_that_were_moved_aside_beside_an_old_snapshot_are_not_read_again(line: Line, limit):
    """Nobody can take their index entries away; the claim that has moved them raises the head past them."""
    (tenant,) = line.tenants(1)
    homes = line.repositories(tenant, 5)
    fill(line, [tenant], 5000, repositories=homes)
    assert len(line.claim(10)) == 5
    assert line.claim(limit) == []
    fill(line, [tenant], 60)
    late = min(claim_cost(line) for _ in range(3))
    assert line.holds() == {"repository": 4995, None: 30}
    assert late < 2500


def test_a_job_of_higher_priority_starts_first_whatever_has_been_passed(line: Line):
    """It is ready in front of where claims begin."""
    raise_always(line)
    (tenant,) = line.tenants(1)
    line.jobs(tenant, 30)
    line.complete(line.claim(20))
    (urgent,) = line.jobs(tenant, 1, priority=1000)
    assert next(start.job for start in line.claim(5)) == urgent
    (older,) = line.jobs(tenant, 1, priority=1)
    assert line.claim(5)[0].job == older
    assert line.db.execute("select is_lowered from queue.heads").fetchall() == [{"is_lowered": False}]


@pytest.mark.parametrize("limit", [1, 20])
def test_a_job_that_is_committed_after_the_claims_is_not_passed_over(line: Line, limit):
    """While somebody makes a job ready, nobody raises that tenant's head past it."""
    raise_always(line)
    (tenant,) = line.tenants(1)
    line.jobs(tenant, 20)
    line.complete(line.claim(2))
    (slow,) = line.connections(1)
    late = uuid.uuid4()
    (home,) = line.repositories(tenant, 1)
    with slow.transaction():
        # As a retry does: its lane is woken up later.
        slow.execute("select queue.wait(%s, %s, 'light', 5, %s, null, now(), now(), false)", (late, tenant, home))
        slow.execute(
            "insert into indexing_jobs (id, user_id, repository_id, job_type) values (%s, %s, %s, 'light')",
            (late, tenant, home),
        )
        for _ in range(4):
            line.complete(line.claim(limit))
    slow.close()
    assert late in {start.job for start in line.claim(20)}


def test_a_lane_that_wakes_up_while_others_are_served_is_not_passed_over(line: Line):
    """Its turn is in front of theirs, and it is committed when they have moved on."""
    raise_always(line)
    busy, late = line.tenants(2)
    line.jobs(late, 1)
    line.complete(line.claim(5))
    line.jobs(busy, 40)
    (slow,) = line.connections(1)
    (home,) = line.repositories(late, 1)
    job = uuid.uuid4()
    with slow.transaction():
        slow.execute("select queue.enqueue(%s, %s, 'light', '{}')", (job, home))
        for _ in range(5):
            line.complete(line.claim(4))
    slow.close()
    assert [start.job for start in line.claim(1)] == [job]


def test_mend_finds_a_job_hidden_by_a_head_and_a_lane_without_a_turn(line: Line):
    """What changes by hand, or a restored backup, may leave behind."""
    one, other = line.tenants(2)
    line.jobs(one, 5)
    line.jobs(other, 5)
    assert line.count("select queue.mend()") == 0
    line.db.execute(
        "insert into queue.heads (user_id, job_type, rank) values (%s, 'light', 9223372036854775807)", (one,)
    )
    line.db.execute("delete from queue.turns where user_id = %s", (other,))
    assert line.claim(20) == []
    line.db.execute("update queue_lanes set active = true")
    assert line.count("select queue.mend()") >= 2
    assert len(line.claim(20)) == 10

"""The quick way of a claim: it answers what queue.turns would, and leaves everything else to it."""

import uuid

import pytest

from tests.fairness.conftest import Line


def ways(line: Line) -> tuple[int, int]:
    """How often the quick way and the long way have been gone in this session's database."""
    line.db.execute("select pg_stat_force_next_flush()")
    rows = line.db.execute(
        "select funcname, calls from pg_stat_user_functions where funcname in ('take_lone', 'turns')"
    ).fetchall()
    calls = {row["funcname"]: row["calls"] for row in rows}
    return calls.get("take_lone", 0), calls.get("turns", 0)


def is_awake(line: Line, tenant: uuid.UUID) -> bool:
    """Whether claims look at the tenant's lane."""
    return line.count("select active::int from queue_lanes where user_id = %s", tenant) == 1


@pytest.fixture(autouse=True)
def counted(line: Line) -> None:
    """Calls of functions are counted."""
    line.db.execute("set track_functions to 'all'")


def test_a_lone_job_is_claimed_without_comparing_turns(line: Line):
    """It has its events, its place in the running table and its lane's tag.

    The claim after it finds the lane empty and puts it to sleep; it wakes for the next job.
    """
    (tenant,) = line.tenants(1)
    tags = []
    for _ in range(3):
        (job,) = line.jobs(tenant, 1)
        (start,) = line.claim(10)
        assert (start.job, start.tenant) == (job, tenant)
        events = line.db.execute("select event_type, context from indexing_job_events where job_id = %s", (job,))
        (claim,) = [row["context"] for row in events if row["event_type"] == "claim"]
        assert claim == {"worker": str(line.me), "attempt": 1, "lease_token": start.token}
        assert line.count("select count(*)::int from queue.running where token = %s", start.token) == 1
        assert line.claim(10) == []
        assert not is_awake(line, tenant)
        tags.append(line.count("select virtual_time from queue_lanes where user_id = %s", tenant))
        line.complete([start])
    assert line.holds() == {}
    assert tags == [1, 2, 3]
    assert ways(line) == (6, 0)


@pytest.mark.parametrize("what", ["a second job", "a second tenant", "a cap", "a busy repository", "another type"])
def test_what_is_not_that_simple_goes_the_long_way(line: Line, what):
    """The same jobs are claimed as ever."""
    tenant, other = line.tenants(2)
    home, second = line.repositories(tenant, 2)
    expected = 1
    line.jobs(tenant, 1, repositories=[home])
    if what == "a second job":
        line.jobs(tenant, 1, repositories=[second])
        expected = 2
    elif what == "a second tenant":
        line.jobs(other, 1)
        expected = 2
    elif what == "a cap":
        line.lane(tenant, max_running=1)
    elif what == "a busy repository":
        line.claim(1)
        line.db.execute("update queue.waiting set hold = null")
        line.jobs(tenant, 1, repositories=[home])
        line.db.execute("update queue.waiting set hold = null")
        line.db.execute("update queue_lanes set active = true")
        expected = 0
    else:
        line.jobs(tenant, 1, repositories=[second], job_type="other")
        expected = 1
    _, before = ways(line)
    starts = line.claim(10)
    assert len(starts) == expected
    assert ways(line)[1] > before or what == "another type"
    if what == "a cap":
        assert line.count("select slot from queue.running") == 1
    if what == "another type":
        assert is_awake(line, tenant)
        assert len(line.claim(10, ["other"])) == 1


def test_a_lone_job_that_somebody_holds_is_not_waited_for(line: Line):
    """Neither its row, nor its lane while an enqueuer holds it."""
    (tenant,) = line.tenants(1)
    (job,) = line.jobs(tenant, 1)
    (holder,) = line.connections(1)
    with holder, holder.transaction():
        holder.execute("select from queue.waiting where job_id = %s for update", (job,))
        line.db.execute("set statement_timeout to '5s'")
        assert line.claim(1) == []
    with line.connections(1)[0] as holder, holder.transaction():
        holder.execute("select from queue_lanes where user_id = %s for key share", (tenant,))
        assert len(line.claim(1)) == 1
        assert line.claim(1) == []
        assert is_awake(line, tenant)  # whoever holds it is about to make a job ready


def test_a_claim_of_nothing_takes_nothing(line: Line):
    """Also when a lone job is ready."""
    line.jobs(line.tenants(1)[0], 1)
    assert line.claim(0) == []
    assert len(line.claim(1)) == 1


def test_jobs_of_a_paused_type_do_not_keep_a_lane_awake(line: Line):
    """An idle worker would claim at every poll; resuming the type wakes the lane, mending leaves it asleep."""
    (tenant,) = line.tenants(1)
    line.jobs(tenant, 3, job_type="held")
    line.db.execute("select queue.set_paused('held', true)")
    assert line.claim(10, ["light", "held"]) == []
    assert not line.count("select due from queue.look()")
    assert line.count("select queue.mend()") == 0
    line.jobs(tenant, 1)
    assert len(line.claim(10, ["light", "held"])) == 1
    assert not line.count("select due from queue.look()")
    line.db.execute("select queue.set_paused('held', false)")
    assert line.count("select due from queue.look()")
    assert len(line.claim(10, ["light", "held"])) == 3

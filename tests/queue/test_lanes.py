"""lanes: how tenants stand in the queue, and what is held back."""

import uuid

import pytest

from worker.errors import NotFound
from worker.job import Ending, Outcome
from worker.queue.enqueue import NewJob, enqueue_many
from worker.queue.finish import finish
from worker.queue.lanes import (
    NO_TENANT,
    Lane,
    find_tenant,
    get_lane,
    is_known_type,
    list_lanes,
    pause_type,
    paused,
    set_lane,
)


def fill(queue, **jobs):
    """A tenant a name, with so many jobs each."""
    tenants = {name: uuid.uuid4() for name in jobs}
    queue.ask(enqueue_many, [NewJob("full_index", user_id=tenants[name]) for name, n in jobs.items() for _ in range(n)])
    return tenants


def test_lanes_count_what_waits_and_runs(queue):
    """Those with most waiting jobs first; jobs without a tenant have a lane too; idle lanes are left out."""
    tenants = fill(queue, a=5, b=3, idle=1)
    queue.ask(enqueue_many, [NewJob("full_index")])
    queue.claim(queue.worker(), limit=4)
    queue.db.execute("delete from indexing_jobs where user_id = %s", (tenants["idle"],))
    found = queue.ask(list_lanes, limit=10)
    assert [(lane.user_id, lane.waiting, lane.running) for lane in found] == [
        (tenants["a"], 4, 1), (tenants["b"], 2, 1), (NO_TENANT, 0, 1),
    ]  # fmt: skip
    assert len(queue.ask(list_lanes, limit=2)) == 2


def test_a_lanes_settings_take_effect(queue):
    """Weight, cap and pause are kept until set again; 0 takes a cap away."""
    tenant = fill(queue, a=5)["a"]
    queue.ask(set_lane, tenant, weight=2, max_running=3)
    queue.ask(set_lane, tenant, paused=True)
    lane = queue.ask(get_lane, tenant)
    assert (lane.weight, lane.max_running, lane.paused) == (2, 3, True)
    assert queue.claim(queue.worker()) == []
    queue.ask(set_lane, tenant, paused=False)
    assert len(queue.claim(queue.worker())) == 3
    queue.ask(set_lane, tenant, max_running=0)
    assert len(queue.claim(queue.worker())) == 2
    assert queue.ask(get_lane, tenant).max_running is None


def test_a_tenant_that_was_served_is_ahead_of_one_that_waits(queue):
    """The lag says whose turn it is; a lane that sleeps is never behind."""
    tenants = fill(queue, a=6, b=6)
    queue.ask(set_lane, tenants["b"], paused=True)
    queue.claim(queue.worker(), limit=3)
    served, held = queue.ask(get_lane, tenants["a"]), queue.ask(get_lane, tenants["b"])
    assert held.lag > served.lag
    asleep = fill(queue, c=1)["c"]
    queue.db.execute("update queue_lanes set active = false, virtual_time = 0 where user_id = %s", (asleep,))
    assert queue.ask(get_lane, asleep).lag == 0
    assert queue.ask(get_lane, unknown := uuid.uuid4()) == Lane(unknown, 1.0, None, False, 0, 0, 0.0)


def test_a_paused_type_is_not_claimed(queue):
    """Of any tenant, until it is resumed."""
    fill(queue, a=1, b=1)
    queue.ask(pause_type, "full_index", True)
    assert queue.ask(paused) == (["full_index"], [])
    assert queue.claim(queue.worker()) == []
    queue.ask(pause_type, "full_index", False)
    assert len(queue.claim(queue.worker())) == 2
    assert queue.ask(is_known_type, "full_index")
    assert not queue.ask(is_known_type, "nothing")


def test_a_tenant_is_found_by_what_people_type(queue, make_repository):
    """Its id, or an end of it if it had a job; a user without jobs counts, a stranger does not."""
    tenant = fill(queue, a=1)["a"]
    new = uuid.uuid4()
    make_repository(user_id=new)
    assert queue.ask(find_tenant, str(tenant)) == tenant
    assert queue.ask(find_tenant, str(tenant)[-12:].upper()) == tenant
    assert queue.ask(find_tenant, str(new)) == new
    assert queue.ask(find_tenant, "none") == NO_TENANT
    for text in (str(uuid.uuid4()), "zzzz", "", str(tenant)[:2], "%%%%"):
        with pytest.raises(NotFound):
            queue.ask(find_tenant, text)


def test_a_capped_tenant_goes_on_when_a_repository_is_removed(queue, make_repository):
    """The job that ran took the tenant's only slot with it: the next one starts without waiting to be mended."""
    tenant = uuid.uuid4()
    gone, left = (make_repository(user_id=tenant) for _ in range(2))
    queue.ask(set_lane, tenant, max_running=1)
    queue.push(gone)
    assert len(queue.claim(queue.worker())) == 1
    waiting = queue.push(left).job_id
    assert queue.claim(queue.worker()) == []
    queue.db.execute("delete from repositories where id = %s", (gone,))
    assert [job.id for job in queue.claim(queue.worker())] == [waiting]


@pytest.mark.parametrize("deleted", ["the one that runs", "the one that was woken"])
def test_a_job_put_aside_goes_on_when_the_one_before_it_is_deleted(queue, make_repository, deleted):
    """Whether that one runs or is the repository's next one, those behind it do not wait to be mended."""
    repository = make_repository()
    first, second, third = queue.ask(enqueue_many, [NewJob("full_index", repository) for _ in range(3)])
    (running,) = queue.claim(queue.worker())
    assert running.id == first
    assert queue.claim(queue.worker()) == []
    if deleted == "the one that was woken":
        queue.ask(finish, running, Outcome(Ending.COMPLETE), crash_limit=3)
        queue.db.execute("delete from indexing_jobs where id = %s", (second,))
    else:
        queue.db.execute("delete from indexing_jobs where id = %s", (first,))
    expected = third if deleted == "the one that was woken" else second
    assert [job.id for job in queue.claim(queue.worker())] == [expected]

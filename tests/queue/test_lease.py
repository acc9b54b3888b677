"""Leases: renewing, losing, rescuing."""

import uuid

from worker.database.connect import connect
from worker.job import Ending, Outcome
from worker.queue import lease
from worker.queue.cancel import cancel
from worker.queue.finish import finish
from worker.queue.rescue import rescue

LEASE = 30.0


def renew(queue, worker_id, tokens):
    """One heartbeat."""
    with connect(queue.url, name="test") as connection:
        return lease.renew(connection, worker_id, tokens, LEASE)


def take_back(queue, worker_id):
    """One rescue by this worker: job id → verb."""
    found = queue.ask(rescue, worker_id, lease_seconds=LEASE, crash_limit=3, on_error=lambda *_: None)
    return {rescued.job_id: rescued.verb for rescued in found}


def test_a_renewal_tells_which_tokens_are_held_and_which_to_cancel(queue, make_repository):
    """The answer to a heartbeat names exactly the tokens that are still the worker's."""
    for _ in range(2):
        queue.push(make_repository())
    worker_id = queue.worker()
    kept, asked = queue.claim(worker_id)
    queue.ask(cancel, asked.id)
    renewal = renew(queue, worker_id, [kept.lease_token, asked.lease_token, 999_999])
    assert renewal.known
    assert renewal.held == {kept.lease_token, asked.lease_token}
    assert renewal.cancel == {asked.lease_token}


def test_a_worker_that_was_given_up_is_unknown_and_must_fence_itself(queue):
    """Renewals of lost or never registered workers are refused."""
    assert not renew(queue, queue.worker(state="lost"), []).known
    assert not renew(queue, uuid.uuid4(), []).known


def test_a_claim_whose_reply_was_lost_is_released(queue, make_repository):
    """A job claimed before the last renewal that the worker does not hold goes back, at no cost."""
    queue.push(make_repository())
    worker_id = queue.worker()
    (job,) = queue.claim(worker_id)
    assert renew(queue, worker_id, []).released == frozenset()  # claimed after the last renewal: the reply may come
    assert renew(queue, worker_id, []).released == {job.lease_token}
    row = queue.row(job.id)
    assert (row["status"], row["errors"], row["crashes"]) == ("queued", 0, 0)


def test_promise_3_the_jobs_of_a_silent_worker_are_taken_back(queue, make_repository):
    """A worker silent for a whole lease loses its jobs to one that has renewed for a whole lease."""
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    queue.db.execute("update workers set last_seen_at = clock_timestamp() - interval '31 seconds'")
    assert take_back(queue, queue.worker(renewing_seconds=31)) == {job.id: "rescue"}
    row = queue.row(job.id)
    assert (row["status"], row["crashes"], row["errors"]) == ("queued", 1, 0)
    assert queue.events(job.id)[-1] == "rescue"


def test_after_an_outage_nobody_looks_dead(queue, make_repository):
    """A worker that has not itself renewed for a whole lease rescues nobody."""
    queue.push(make_repository())
    queue.claim(queue.worker())
    queue.db.execute("update workers set last_seen_at = clock_timestamp() - interval '300 seconds'")
    assert take_back(queue, queue.worker(renewing_seconds=29)) == {}
    late = queue.worker(silent_seconds=20, renewing_seconds=100)
    renew(queue, late, [])  # a gap of more than half a lease breaks its row of renewals
    assert take_back(queue, late) == {}


def test_promise_3_a_draining_workers_death_spends_no_crash(queue, make_repository):
    """Jobs of a worker that had marked itself draining or fenced come back at no cost."""
    for state in ("draining", "fenced"):
        queue.push(make_repository())
        gone = queue.worker()
        (job,) = queue.claim(gone)
        queue.db.execute(
            "update workers set state = %s, last_seen_at = clock_timestamp() - interval '31 seconds' where id = %s",
            (state, gone),
        )
        assert take_back(queue, queue.worker(renewing_seconds=31)) == {job.id: "rescue"}
        assert queue.row(job.id)["crashes"] == 0
        queue.ask(finish, queue.claim(queue.worker())[0], Outcome(Ending.COMPLETE), crash_limit=3)


def test_promise_3_a_crash_loop_ends(queue, make_repository):
    """The third worker death under one job fails it."""
    job_id = queue.push(make_repository()).job_id
    verbs = []
    for _ in range(3):
        queue.claim(queue.worker())
        queue.db.execute("update workers set last_seen_at = clock_timestamp() - interval '31 seconds'")
        verbs.append(take_back(queue, queue.worker(renewing_seconds=31))[job_id])
    assert verbs == ["rescue", "rescue", "fail"]
    assert queue.row(job_id)["error_class"] == "worker_lost"


def test_a_fenced_life_is_handed_back(queue, make_repository):
    """After self-fencing, the process itself releases what its former id still held."""
    queue.push(make_repository())
    worker_id = queue.worker()
    (job,) = queue.claim(worker_id)
    with connect(queue.url, name="test") as connection:
        lease.hand_back(connection, worker_id)
    row = queue.row(job.id)
    assert (row["status"], row["crashes"]) == ("queued", 0)
    assert queue.db.execute("select state from workers where id = %s", (worker_id,)).fetchone()["state"] == "fenced"

"""Leases: renewing, losing, rescuing."""

import contextlib
import time
import uuid

import psycopg
import pytest

from worker.database.connect import connect
from worker.job import Ending, Outcome
from worker.queue import lease
from worker.queue.cancel import cancel
from worker.queue.finish import finish
from worker.queue.rescue import rescue

LEASE = 30.0
ROWS_OF_A_JOB = {
    "repository": "select from repositories r where exists (select from indexing_jobs where id = %s"
    " and repository_id = r.id) for update",
    "job": "select from indexing_jobs where id = %s for update",
    "running": "select from queue.running where job_id = %s for update",
    "delivery": "select from webhook_deliveries where job_id = %s for update",
}


def renew(queue, worker_id, tokens):
    """One heartbeat."""
    with connect(queue.url, name="test") as connection:
        return lease.renew(connection, worker_id, tokens, LEASE)


def take_back(queue, worker_id, *, on_error=lambda *_: None, **options):
    """One rescue by this worker: job id → verb."""
    found = queue.ask(rescue, worker_id, lease_seconds=LEASE, crash_limit=3, on_error=on_error, **options)
    return {rescued.job_id: rescued.verb for rescued in found}


def hand_back(queue, worker_id):
    """Hand this life of a worker back: what was told of which jobs."""
    told = {}
    with connect(queue.url, name="test") as connection:
        lease.hand_back(connection, worker_id, on_error=told.__setitem__)
    return told


@contextlib.contextmanager
def held(queue, statement, *parameters):
    """While this lasts, a session is idle in a transaction that has locked these rows."""
    with connect(queue.url, name="holder") as holder, holder.transaction():
        assert holder.execute(statement, parameters).rowcount > 0
        yield


def claimed(queue, make_repository, number=2, **worker):
    """A worker with so many jobs, each with its delivery, in the order of their ids."""
    for _ in range(number):
        repository = make_repository()
        job_id = queue.push(repository).job_id
        queue.db.execute(
            "insert into webhook_deliveries (repository_id, delivery_id, event_type, status, job_id)"
            " values (%s, gen_random_uuid(), 'push', 'queued', %s)",
            (repository, job_id),
        )
    worker_id = queue.worker(**worker)
    return worker_id, sorted(queue.claim(worker_id, limit=number), key=lambda job: job.id)


def fall_silent(queue, worker_id, state="running"):
    """Let this worker be silent for longer than the lease."""
    queue.db.execute(
        "update workers set state = %s, last_seen_at = clock_timestamp() - interval '31 seconds' where id = %s",
        (state, worker_id),
    )


def make_unwritable(queue, job_id):
    """From now on every update of this job's row raises."""
    queue.db.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'a bad row'; end $$"
    )
    queue.db.execute("create table bad_jobs as select %s::uuid as id", (job_id,))
    queue.db.execute(
        "create function is_bad(uuid) returns boolean language sql"
        " as 'select exists (select from public.bad_jobs where id = $1)'"
    )
    queue.db.execute(
        "create trigger bad_row before update on indexing_jobs for each row when (is_bad(old.id))"
        " execute function refuse()"
    )


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
    assert hand_back(queue, worker_id) == {}
    row = queue.row(job.id)
    assert (row["status"], row["crashes"]) == ("queued", 0)
    assert queue.db.execute("select state from workers where id = %s", (worker_id,)).fetchone()["state"] == "fenced"


@pytest.mark.parametrize("row", ROWS_OF_A_JOB)
def test_promise_3_a_row_that_somebody_holds_stops_no_rescue(queue, make_repository, row):
    """Rescue goes on past a job of which another session holds a row, tells of it, and takes it back another time."""
    silent, (first, second) = claimed(queue, make_repository)
    fall_silent(queue, silent)
    rescuer, told = queue.worker(renewing_seconds=31), {}
    with held(queue, ROWS_OF_A_JOB[row], first.id):
        assert take_back(queue, rescuer, on_error=told.__setitem__) == {second.id: "rescue"}
    assert {job: type(failure) for job, failure in told.items()} == {first.id: psycopg.errors.LockNotAvailable}
    assert take_back(queue, rescuer) == {first.id: "rescue"}


def test_promise_3_a_row_that_raises_stops_no_rescue(queue, make_repository):
    """Rescue goes on past a job whose row refuses to be written, whatever the error's class."""
    silent, (first, second) = claimed(queue, make_repository)
    fall_silent(queue, silent)
    make_unwritable(queue, first.id)
    told = {}
    rescuer = queue.worker(renewing_seconds=31)
    assert take_back(queue, rescuer, on_error=told.__setitem__) == {second.id: "rescue"}
    assert list(told) == [first.id]


def test_promise_3_many_rows_that_somebody_holds_stop_no_rescue(queue, make_repository, monkeypatch):
    """A session that holds the rows of many jobs does not cost each of them the whole patience."""
    monkeypatch.setattr("worker.queue.rescue.PATIENCE_MS", 1000)
    silent, jobs = claimed(queue, make_repository, 40)
    fall_silent(queue, silent)
    rescuer, began_at = queue.worker(renewing_seconds=31), time.monotonic()
    with held(queue, "select from indexing_jobs where id = any (%s) for update", [job.id for job in jobs[:-1]]):
        assert take_back(queue, rescuer) == {jobs[-1].id: "rescue"}
    assert time.monotonic() - began_at < 20  # 39 s, were all waited for alike; 4.3 s as it is


def test_promise_3_a_held_workers_row_stops_no_rescue(queue, make_repository):
    """The silent worker's own row need not be free: its jobs are taken back, and it is marked lost another time."""
    silent, (job,) = claimed(queue, make_repository, 1)
    fall_silent(queue, silent)
    with held(queue, "select from workers where id = %s for update", silent):
        assert take_back(queue, queue.worker(renewing_seconds=31)) == {job.id: "rescue"}


def test_promise_3_what_one_pass_leaves_of_a_draining_worker_stays_excused(queue, make_repository):
    """A drained worker's jobs spend no crash, however many passes their rescue takes; then the worker is lost."""
    silent, jobs = claimed(queue, make_repository, 3)
    fall_silent(queue, silent, "draining")
    rescuer = queue.worker(renewing_seconds=31)
    for job in jobs:
        assert take_back(queue, rescuer, at_most=1) == {job.id: "rescue"}
    assert [queue.row(job.id)["crashes"] for job in jobs] == [0, 0, 0]
    assert queue.db.execute("select state from workers where id = %s", (silent,)).fetchone()["state"] == "lost"


@pytest.mark.parametrize("row", ROWS_OF_A_JOB)
def test_a_row_that_somebody_holds_keeps_no_worker_from_its_new_life(queue, make_repository, row):
    """Handing back goes on past a job of which another session holds a row, and tells of it."""
    fenced, (first, second) = claimed(queue, make_repository)
    with held(queue, ROWS_OF_A_JOB[row], first.id):
        told = hand_back(queue, fenced)
    assert {job: type(failure) for job, failure in told.items()} == {first.id: psycopg.errors.LockNotAvailable}
    assert [queue.row(job.id)["status"] for job in (first, second)] == ["in_progress", "queued"]


def test_a_row_that_raises_keeps_no_worker_from_its_new_life(queue, make_repository):
    """Handing back goes on past a job whose row refuses to be written, whatever the error's class."""
    fenced, (first, second) = claimed(queue, make_repository)
    make_unwritable(queue, first.id)
    assert list(hand_back(queue, fenced)) == [first.id]
    assert queue.row(second.id)["status"] == "queued"


def test_a_held_workers_row_keeps_no_worker_from_its_new_life(queue, make_repository):
    """The former life's own row need not be free: its jobs go back all the same."""
    fenced, (job,) = claimed(queue, make_repository, 1)
    with held(queue, "select from workers where id = %s for update", fenced):
        assert hand_back(queue, fenced) == {}
    assert queue.row(job.id)["status"] == "queued"


@pytest.mark.parametrize("row", ROWS_OF_A_JOB)
def test_a_renewal_succeeds_beside_a_lost_claim_that_somebody_holds(queue, make_repository, row):
    """A job whose claim's reply was lost and that cannot be released now is named, and waits for the next renewal."""
    worker_id, (first, second, kept) = claimed(queue, make_repository, 3)
    renew(queue, worker_id, [kept.lease_token])
    with held(queue, ROWS_OF_A_JOB[row], first.id):
        renewal = renew(queue, worker_id, [kept.lease_token])
    assert (renewal.known, renewal.held, renewal.released) == (True, {kept.lease_token}, {second.lease_token})
    assert [str(first.id) in reason for reason in renewal.stuck] == [True]
    assert renew(queue, worker_id, [kept.lease_token]).released == {first.lease_token}


def test_a_renewal_succeeds_beside_a_lost_claim_that_raises(queue, make_repository):
    """A job whose row refuses to be written ends no worker's lease."""
    worker_id, (first, second) = claimed(queue, make_repository)
    renew(queue, worker_id, [])
    make_unwritable(queue, first.id)
    renewal = renew(queue, worker_id, [])
    assert (renewal.released, renewal.stuck) == ({second.lease_token}, (f"job {first.id}: a bad row",))


def test_a_renewal_is_quick_beside_many_lost_claims_that_somebody_holds(queue, make_repository):
    """A session that holds the rows of many such jobs does not cost each of them the whole patience."""
    worker_id, jobs = claimed(queue, make_repository, 80)
    renew(queue, worker_id, [])
    with held(queue, "select from indexing_jobs where id = any (%s) for update", [job.id for job in jobs]):
        began_at = time.monotonic()
        assert len(renew(queue, worker_id, []).stuck) == 80
        assert time.monotonic() - began_at < 5  # 8 s, were all waited for alike; 0.5 s as it is


def test_patience_with_a_row_ends_with_its_call(queue):
    """The time-out of locks is not left to what follows in the same transaction or session."""
    with connect(queue.url, name="test") as connection, connection.transaction():
        before = connection.execute("show lock_timeout").fetchone()
        connection.execute("select queue.give_back_within(7, %s, 1, 'release', 'none', null, null)", (uuid.uuid4(),))
        assert connection.execute("show lock_timeout").fetchone() == before

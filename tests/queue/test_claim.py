"""claim: who gets which job, and who does not."""

import contextlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fixtures.workers import eventually
from worker.database.connect import connect
from worker.job import Ending, Outcome, new_job_id
from worker.queue.finish import finish


def test_a_claimed_job_is_in_progress_under_a_new_lease_token_with_its_event(queue, make_repository):
    """A claim changes status, attempt and token together, and writes its event."""
    job_id = queue.push(make_repository()).job_id
    worker_id = queue.worker()
    (job,) = queue.claim(worker_id)
    row = queue.row(job_id)
    assert (row["status"], row["attempt"], row["worker_id"]) == ("in_progress", 1, worker_id)
    assert row["lease_token"] == job.lease_token == row["log_token"]
    assert queue.events(job_id) == ["enqueue", "claim"]


def test_promise_5_one_job_at_a_time_for_a_repository(queue, make_repository):
    """Two refs of one repository are two jobs, and only one of them runs."""
    repository = make_repository()
    first = queue.push(repository).job_id
    queue.db.execute(
        "select * from queue.enqueue(%s, %s, 'full_index', '{}', 0, null, 'other-ref')", (new_job_id(), repository)
    )
    worker_id = queue.worker()
    assert [job.id for job in queue.claim(worker_id)] == [first]
    assert queue.claim(worker_id) == []


def test_promise_5_the_database_itself_refuses_a_second_running_job(queue, make_repository):
    """The exclusivity is a unique index, whatever the code above it does."""
    repository = make_repository()
    queue.push(repository)
    (job,) = queue.claim(queue.worker())
    with pytest.raises(psycopg.errors.UniqueViolation):
        queue.db.execute(
            "insert into queue.running select token + 1000, gen_random_uuid(), worker_id, user_id, repository_id,"
            " null, now() from queue.running where token = %s",
            (job.lease_token,),
        )


def test_two_claimers_of_one_repository_neither_wait_nor_fail(queue, make_repository):
    """Racing claimers of many refs of few repositories get disjoint repositories, with no error and no wait."""
    repositories = [make_repository() for _ in range(8)]
    for repository in repositories:
        for ref in range(4):
            queue.db.execute(
                "select * from queue.enqueue(gen_random_uuid(), %s, 'full_index', '{}', 0, null, %s)",
                (repository, f"{repository}-{ref}"),
            )
    workers = [queue.worker() for _ in range(4)]
    barrier = threading.Barrier(4)

    def race(worker_id):
        barrier.wait()
        return queue.claim(worker_id, 8)

    with ThreadPoolExecutor(4) as threads:
        claimed = [job for jobs in threads.map(race, workers) for job in jobs]
    assert len({job.repository_id for job in claimed}) == len(claimed)
    running = queue.db.execute("select count(*) as n from indexing_jobs where status = 'in_progress'").fetchone()
    assert running["n"] == len(claimed) >= 1


def test_promise_5_a_claim_that_waits_for_another_sees_what_that_one_took(queue, make_repository):
    """Claims go one by one through the gate: the second one looks only after the first has committed."""
    repository = make_repository()
    queue.push(repository)
    queue.db.execute(
        "select * from queue.enqueue(gen_random_uuid(), %s, 'full_index', '{}', 1, null, 'other')", (repository,)
    )
    first, second = queue.worker(), queue.worker()
    with ThreadPoolExecutor(1) as thread:
        with queue.db.transaction():
            assert len(queue.db.execute("select * from queue.claim(%s, '{full_index}', 5)", (first,)).fetchall()) == 1
            claiming = thread.submit(queue.claim, second)
            with connect(queue.url, name="test") as other:
                eventually(
                    lambda: other.execute(
                        "select 1 from pg_locks where locktype = 'advisory' and not granted"
                    ).fetchone(),
                    what="the second claim at the gate",
                )
        assert claiming.result() == []


def test_a_claim_waits_for_nobody_who_holds_a_repository_a_job_or_a_lane(queue, make_repository):
    """Whatever row somebody holds, a claim takes the other jobs at once."""
    held_job, idle = queue.push(make_repository()).job_id, queue.push(make_repository()).job_id
    held_lane = queue.row(queue.push(make_repository()).job_id)["user_id"]
    worker_id = queue.worker()
    with queue.db.transaction():
        queue.db.execute("select from repositories for update")
        queue.db.execute("select from indexing_jobs where id = %s for update", (held_job,))
        queue.db.execute("select from queue_lanes where user_id = %s for update", (held_lane,))
        started = time.monotonic()
        assert [job.id for job in queue.claim(worker_id)] == [idle]
        assert time.monotonic() - started < 2
    assert len(queue.claim(worker_id)) == 2


def test_jobs_not_due_of_other_types_or_of_paused_tenants_are_not_claimed(queue, make_repository):
    """claim takes due jobs of its own types from tenants that are not paused."""
    later = queue.push(make_repository()).job_id
    queue.set_run_after(3600, later)
    queue.push(make_repository(), job_type="something_else")
    paused = queue.push(make_repository()).job_id
    tenant = queue.row(paused)["user_id"]
    queue.db.execute("select queue.set_lane(%s, p_paused => true)", (tenant,))
    worker_id = queue.worker()
    assert queue.claim(worker_id) == []
    queue.db.execute("select queue.set_lane(%s, p_paused => false)", (tenant,))
    assert [job.id for job in queue.claim(worker_id)] == [paused]


def test_higher_priority_first_then_order_of_arrival(queue, make_repository):
    """Priority orders a tenant's jobs, arrival decides among equals."""
    tenant = uuid.uuid4()
    low = [queue.push(make_repository(user_id=tenant)).job_id for _ in range(3)]
    high = queue.push(make_repository(user_id=tenant), priority=5).job_id
    worker_id = queue.worker()
    order = []
    while jobs := queue.claim(worker_id, 1):
        order.append(jobs[0].id)
        queue.ask(finish, jobs[0], Outcome(Ending.COMPLETE), crash_limit=3)
    assert order == [high, *low]


def test_a_worker_that_was_given_up_claims_nothing(queue, make_repository):
    """A fenced, lost or unknown worker id gets no job."""
    queue.push(make_repository())
    for state in ("draining", "fenced", "stopped", "lost"):
        assert queue.claim(queue.worker(state=state)) == []


def test_promise_3_a_client_that_does_not_read_its_claim_keeps_nobody_out_for_long(queue, make_repository):
    """A paused worker's claim hangs in sending, with the gate in its hand: whoever waits ends it."""
    for _ in range(8):
        queue.push(make_repository(), payload={"much": "x" * 5_000_000})
    paused, live = queue.worker(), queue.worker()
    with contextlib.closing(psycopg.connect(queue.url, autocommit=True)) as frozen:
        frozen.pgconn.send_query(f"select * from queue.claim('{paused}', '{{full_index}}', 6)".encode())
        frozen.pgconn.flush()
        eventually(
            lambda: queue.db.execute("select 1 from pg_stat_activity where wait_event = 'ClientWrite'").fetchone(),
            what="a claim that hangs in sending",
        )
        with ThreadPoolExecutor(1) as thread:
            assert len(thread.submit(queue.claim, live, 8).result(timeout=40)) == 8

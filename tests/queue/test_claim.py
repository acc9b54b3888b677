"""claim: who gets which job, and who does not."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.fixtures.workers import eventually
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
    rows = queue.db.execute("select indexdef from pg_indexes where indexname = 'indexing_jobs_one_running'").fetchall()
    assert "UNIQUE" in rows[0]["indexdef"]
    assert "in_progress" in rows[0]["indexdef"]


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


def test_promise_5_what_commits_while_a_claim_looks_is_seen_before_it_takes(queue, make_repository):
    """A job that began after the claim's first look is noticed by the second, under the repository's lock."""
    repository = make_repository()
    first = queue.push(repository).job_id
    queue.db.execute(
        "select * from queue.enqueue(gen_random_uuid(), %s, 'full_index', '{}', 1, null, 'other')", (repository,)
    )
    worker_id = queue.worker()
    # The first look reads queue_lanes: as a view that sleeps, it lasts long enough for somebody else to commit.
    queue.db.execute("alter table queue_lanes rename to lanes_kept")
    queue.db.execute(
        "create view queue_lanes as select l.user_id, l.paused"
        " from (select pg_sleep(1) is not null as slept) s left join lanes_kept l on s.slept"
    )
    with ThreadPoolExecutor(1) as thread:
        claiming = thread.submit(queue.claim, worker_id)
        eventually(
            lambda: queue.db.execute("select 1 from pg_stat_activity where wait_event = 'PgSleep'").fetchone(),
            what="the claim's first look",
        )
        queue.db.execute(
            "update indexing_jobs set status = 'in_progress', lease_token = nextval('lease_tokens') where id = %s",
            (first,),
        )
        assert claiming.result() == []


def test_a_locked_repository_is_passed_over_without_waiting(queue, make_repository):
    """A claim never waits for whoever holds a repository's row."""
    busy, idle = make_repository(), make_repository()
    queue.push(busy)
    waiting = queue.push(idle).job_id
    with queue.db.transaction():
        queue.db.execute("select 1 from repositories where id = %s for update", (busy,))
        queue.db.execute("set local lock_timeout = '1s'")
        assert [job.id for job in queue.claim(queue.worker())] == [waiting]


def test_jobs_not_due_of_other_types_or_of_paused_tenants_are_not_claimed(queue, make_repository):
    """claim takes due jobs of its own types from tenants that are not paused."""
    later = queue.push(make_repository()).job_id
    queue.db.execute("update indexing_jobs set run_after = now() + interval '1 hour' where id = %s", (later,))
    queue.push(make_repository(), job_type="something_else")
    paused = queue.push(make_repository()).job_id
    tenant = queue.row(paused)["user_id"]
    queue.db.execute("insert into queue_lanes (user_id, paused) values (%s, true)", (tenant,))
    worker_id = queue.worker()
    assert queue.claim(worker_id) == []
    queue.db.execute("update queue_lanes set paused = false")
    assert [job.id for job in queue.claim(worker_id)] == [paused]


def test_higher_priority_first_then_order_of_arrival(queue, make_repository):
    """Priority orders jobs, arrival decides among equals."""
    low = [queue.push(make_repository()).job_id for _ in range(3)]
    high = queue.push(make_repository(), priority=5).job_id
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

"""Promise 3 and 4 with real processes and real signals: who dies with whom, and what runs next."""

import signal
import time
import uuid

import psutil
import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.workers import eventually
from worker.job import new_job_id


@pytest.fixture
def sleeping(db, make_repository):
    """Enqueue a job that sleeps with a grandchild."""

    def put(seconds: float = 600) -> uuid.UUID:
        job_id = new_job_id()
        db.execute(
            "select * from queue.enqueue(%s, %s, 'sleep', %s)", (job_id, make_repository(), Jsonb({"seconds": seconds}))
        )
        return job_id

    return put


def told(db, job_id, attempt=1):
    """Pids of child and grandchild of an attempt, once they have told them."""

    def rows():
        return db.execute(
            "select context from indexing_job_events where job_id = %s and event_type = 'sleeping' order by id",
            (job_id,),
        ).fetchall()

    found = eventually(lambda: len(rows()) >= attempt and rows(), seconds=60, what=f"attempt {attempt} of {job_id}")
    return [found[attempt - 1]["context"]["pid"], found[attempt - 1]["context"]["grandchild"]]


def gone(processes):
    """Whether none of these processes runs any more."""
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def state_of(db, job_id):
    """Status, attempt and budgets of a job."""
    row = db.execute("select status, attempt, errors, crashes from indexing_jobs where id = %s", (job_id,)).fetchone()
    return tuple(row.values())


def test_promise_3_after_kill_9_of_the_worker_its_tree_dies_and_the_job_runs_elsewhere(
    start_worker, sleeping, db, scratch_dir
):
    """Children, forkserver and grandchildren are gone within 5 s; another worker runs the next attempt."""
    job_id = sleeping()
    first = start_worker()
    told(db, job_id)
    tree = first.descendants()
    assert len(tree) >= 3
    first.signal(signal.SIGKILL)
    eventually(lambda: gone(tree), seconds=5, what="death of the tree")
    second = start_worker()
    told(db, job_id, attempt=2)
    assert state_of(db, job_id) == ("in_progress", 2, 0, 1)
    second.signal(signal.SIGTERM)
    eventually(lambda: second.said("draining"), what="the drain")
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert list(scratch_dir.iterdir()) == []


def test_promise_3_kill_9_of_the_child_retries_the_job_and_the_worker_lives_on(start_worker, sleeping, db):
    """A killed child costs one crash; its grandchild goes with it."""
    job_id = sleeping()
    worker = start_worker()
    pids = told(db, job_id)
    processes = [psutil.Process(pid) for pid in pids]
    processes[0].kill()
    told(db, job_id, attempt=2)
    assert gone(processes)
    assert state_of(db, job_id) == ("in_progress", 2, 0, 1)
    assert worker.process.poll() is None


def test_promise_3_a_drain_waits_for_running_jobs_and_claims_no_more(start_worker, sleeping, db):
    """SIGTERM: what runs is finished, what waits is left, the process ends with 0."""
    running = sleeping(1.5)
    worker = start_worker(WORKER_SLOTS="1")
    told(db, running)
    waiting = sleeping(0)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert state_of(db, running)[0] == "completed"
    assert state_of(db, waiting)[0] == "queued"


def test_promise_3_a_drains_deadline_hands_jobs_back_at_no_cost(start_worker, sleeping, db):
    """What outlasts the drain is released, its tree killed, no budget spent."""
    job_id = sleeping()
    worker = start_worker(WORKER_DRAIN_SECONDS="0.5")
    told(db, job_id)
    tree = worker.descendants()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert state_of(db, job_id) == ("queued", 1, 0, 0)
    eventually(lambda: gone(tree), seconds=5, what="death of the tree")


def test_a_second_signal_stops_at_once(start_worker, sleeping, db):
    """The second SIGINT does not wait for the drain."""
    job_id = sleeping()
    worker = start_worker()
    told(db, job_id)
    worker.signal(signal.SIGINT)
    eventually(lambda: worker.said("draining"), what="the drain")
    started = time.monotonic()
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    assert time.monotonic() - started < 10
    assert state_of(db, job_id) == ("queued", 1, 0, 0)


def test_promise_2_a_worker_paused_beyond_its_lease_fences_itself(start_worker, sleeping, db):
    """SIGSTOP for longer than the lease: another worker takes over; the sleeper kills its own and takes a new id."""
    job_id = sleeping()
    paused = start_worker()
    pids = told(db, job_id)
    children = [psutil.Process(pid) for pid in pids]
    paused.signal(signal.SIGSTOP)
    start_worker(state="other")
    told(db, job_id, attempt=2)
    paused.signal(signal.SIGCONT)
    eventually(lambda: gone(children), seconds=10, what="death of the zombie's children")
    eventually(lambda: paused.said("worker fences itself"), seconds=10, what="self-fencing")
    assert state_of(db, job_id) == ("in_progress", 2, 0, 1)
    eventually(
        lambda: db.execute("select count(*) as n from workers where state = 'running'").fetchone()["n"] == 2,
        what="the paused worker's new id",
    )


def test_promise_11_connections_cut_again_and_again_lose_nothing(start_worker, db, make_repository):
    """Every backend of the workers terminated several times under load: each job still ends exactly once."""
    jobs = [new_job_id() for _ in range(60)]
    for job_id in jobs:
        db.execute("select * from queue.enqueue(%s, %s, 'nothing', '{}')", (job_id, make_repository()))
    start_worker(WORKER_SLOTS="4")
    for _ in range(5):
        eventually(
            lambda: db.execute(
                "select 1 from pg_stat_activity where application_name like 'indexing-worker%'"
            ).fetchone()
        )
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'indexing-worker%' and datname = current_database()"
        )
        time.sleep(0.3)
    eventually(
        lambda: db.execute("select count(*) as n from indexing_jobs where status = 'completed'").fetchone()["n"] == 60,
        seconds=60,
        what="completion of all jobs",
    )
    twice = db.execute(
        "select job_id from indexing_job_events where event_type = 'complete' group by job_id having count(*) > 1"
    ).fetchall()
    assert twice == []
    spent = db.execute("select sum(errors) as errors, sum(crashes) as crashes from indexing_jobs").fetchone()
    assert (spent["errors"], spent["crashes"]) == (0, 0)

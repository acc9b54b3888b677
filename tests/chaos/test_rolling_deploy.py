"""Promise 3: a deploy under load costs nothing, whether the old workers may finish or must hand back."""

import signal

import pytest

from tests.fixtures.load import processes_of
from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(300)


def deploy(start_worker, load, old, **settings):
    """Replace each worker by a new one while jobs come; the new ones."""
    new = []
    for number, worker in enumerate(old):
        load.flow_on(50)
        worker.signal(signal.SIGTERM)
        # A lease that a busy machine does not run out of: no rescue may look like the deploy's doing.
        new.append(start_worker(state=f"new-{number}-{worker.pid}", WORKER_LEASE_SECONDS="20", **settings))
        assert worker.wait(60) == 0
        assert [line for line in worker.lines if line.get("level") == "error"] == []
    load.flow_on(50)
    return new


def test_promise_3_a_rolling_deploy_of_three_workers_loses_and_repeats_nothing(
    start_worker, load, stop_all, scratch_dir
):
    """First every worker may finish what it runs, then none gets the time: jobs go back, and no budget is spent."""
    workers = [
        start_worker(state=f"old-{number}", WORKER_DRAIN_SECONDS="30", WORKER_LEASE_SECONDS="20") for number in range(3)
    ]
    before = load.usual_speed(3)
    with load.flowing():
        workers = deploy(start_worker, load, workers, WORKER_DRAIN_SECONDS="0.1")
        released = load.ask("select count(*) as n from indexing_job_events where event_type = 'release'")[0]["n"]
        workers = deploy(start_worker, load, workers)
    load.settle()
    load.check()
    assert load.ask("select from indexing_job_events where event_type in ('rescue', 'retry', 'snooze')") == []
    handed = load.ask("select count(*) as n from indexing_job_events where event_type = 'release'")[0]["n"]
    print(f"handed back: {released} in the patient deploy, {handed - released} in the hasty one")
    load.as_before(before, "two deploys")
    stop_all(*workers)
    assert processes_of(scratch_dir) == []


def test_promise_3_a_drain_hands_back_at_once_what_was_claimed_ahead(start_worker, load, stop_all):
    """Running light jobs are finished, those that wait in the worker go back at once, and another does them."""
    worker = start_worker(state="old", WORKER_INLINE_SLOTS="4")
    load.usual_speed(1)  # so that it claims ahead
    jobs = load.put([("inline_sleep", {"seconds": 1.5})] * 20, in_repositories=False)
    running = "select count(*) as n from queue.running"
    held = eventually(lambda: (n := load.ask(running)[0]["n"]) > 4 and n, what="claims ahead")
    worker.signal(signal.SIGTERM)
    eventually(lambda: load.ask(running)[0]["n"] <= 4, seconds=10, what="the release")
    assert worker.wait(30) == 0
    rows = load.ask("select status, attempt from indexing_jobs where id = any (%s)", jobs)
    assert [row for row in rows if row["status"] == "in_progress"] == []
    assert len([row for row in rows if row["status"] == "completed"]) <= held
    other = start_worker(state="new")
    load.settle()
    load.check()
    assert load.ask("select count(*) as n from indexing_job_events where event_type = 'release'")[0]["n"] > 0
    stop_all(other)

"""Promise 2: processes that sleep through their lease wake up as zombies, and change nothing."""

import signal
import urllib.request
import uuid

import psutil
import pytest

from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(240)


def metric(worker, name):
    """The sum of a metric's values in a worker's own exposition."""
    port = eventually(lambda: worker.said("worker starts"), what="the worker's start")[0]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"indexing_worker_{name}"))


def row_of(load, job_id):
    """A job as it stands."""
    return load.ask("select status, attempt, errors, crashes from indexing_jobs where id = %s", job_id)[0]


def is_on_attempt(load, job_ids, attempt):
    """Whether all these jobs have come to this attempt."""
    rows = load.ask("select id from indexing_jobs where id = any (%s) and attempt >= %s", job_ids, attempt)
    return len(rows) == len(job_ids)


def test_promise_2_a_paused_workers_light_jobs_are_done_by_others_once(start_worker, load, stop_all):
    """Stopped with light jobs running, waiting and finished but unrecorded: awake again, it changes none of them."""
    paused = start_worker(state="paused", WORKER_INLINE_SLOTS="5", WORKER_PREFETCH="900")
    load.usual_speed(1)  # so that it claims ahead
    jobs = load.put([("inline_sleep", {"seconds": 1})] * 12 + [("inline_nothing", {})] * 10, in_repositories=False)
    eventually(lambda: load.ask("select from queue.running having count(*) >= 5"), what="claims")
    paused.signal(signal.SIGSTOP)
    held = load.ask("select job_id from queue.running")
    assert len(held) >= 5
    other = start_worker(state="other")
    load.settle()
    assert {row["attempt"] for row in load.ask("select attempt from indexing_jobs where id = any (%s)", jobs)} <= {1, 2}
    paused.signal(signal.SIGCONT)
    eventually(lambda: paused.said("worker fences itself"), what="self-fencing")
    eventually(lambda: metric(paused, "attempts_total{") >= metric(paused, "claims_total"), what="the zombie's ends")
    load.check(most_crashes=len(held))
    more = load.put([("inline_nothing", {})] * 200)
    load.settle()
    load.check(most_crashes=len(held))
    assert len(more) == 200
    stop_all(paused, other)


def test_promise_2_the_zombies_late_completion_is_rejected_and_counted(start_worker, load, stop_all):
    """A light job done while the world thought its worker dead: the completion names an old token and is refused."""
    slow = start_worker(state="slow", WORKER_INLINE_SLOTS="1")
    job = load.put([("inline_block", {"seconds": 1})], in_repositories=False)[0]
    eventually(lambda: row_of(load, job)["status"] == "in_progress", what="the claim")
    slow.signal(signal.SIGSTOP)
    other = start_worker(state="other")
    eventually(lambda: row_of(load, job)["status"] == "completed", seconds=60, what="completion by the other")
    slow.signal(signal.SIGCONT)
    eventually(lambda: metric(slow, "rejected_writes_total") >= 1, what="the rejected write")
    load.settle()
    load.check(most_crashes=1)
    stop_all(slow, other)


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_promise_2_a_paused_workers_children_are_done_by_others_once(start_worker, load, stop_all, seconds):
    """The worker alone sleeps, its children go on and answer: what they answered to nobody is not recorded twice."""
    paused = start_worker(state="paused", WORKER_SLOTS="3")
    jobs = load.put([("talk", {"number": 10, "seconds": seconds / 10})] * 3, in_repositories=False)
    eventually(lambda: is_on_attempt(load, jobs, 1), what="the first attempts")
    paused.signal(signal.SIGSTOP)
    other = start_worker(state="other", WORKER_SLOTS="3")
    eventually(lambda: is_on_attempt(load, jobs, 2), seconds=60, what="the second attempts")
    paused.signal(signal.SIGCONT)
    eventually(lambda: paused.said("worker fences itself"), what="self-fencing")
    load.settle()
    load.check(most_crashes=3)
    assert [row_of(load, job)["crashes"] for job in jobs] == [1, 1, 1]
    stop_all(paused, other)


def test_promise_3_a_paused_child_is_its_own_workers_business(start_worker, load, stop_all):
    """Only the child sleeps, for longer than the lease: the lease is the worker's, nobody takes the job away."""
    worker, other = start_worker(state="one"), start_worker(state="two")
    job = load.put([("sleep", {"seconds": 4})])[0]

    def told():
        return load.ask(
            "select (context ->> 'pid')::int as pid from indexing_job_events"
            " where job_id = %s and event_type = 'sleeping'",
            job,
        )

    child = psutil.Process(eventually(told, what="the child")[0]["pid"])
    child.suspend()
    slept = load.ask("select clock_timestamp() as at")[0]["at"]
    lights = load.put([("inline_nothing", {})] * 50)
    eventually(
        lambda: load.ask(
            "select from workers where state = 'running' having min(last_seen_at) > %s::timestamptz + '5 s'", slept
        ),
        what="renewals for longer than the lease",
    )
    assert row_of(load, job) == {"status": "in_progress", "attempt": 1, "errors": 0, "crashes": 0}
    assert load.ask("select from indexing_jobs where id = any (%s) and status <> 'completed'", lights) == []
    child.resume()
    load.settle()
    load.check()
    stop_all(worker, other)


def test_promise_4_a_paused_child_ends_at_its_time_limit(start_worker, load, stop_all):
    """A child that never wakes up is killed when its time is over; the next attempt ends well."""
    worker = start_worker()
    job = uuid.uuid4()
    load.tell("select queue.enqueue(%s, null, 'sleep_once', '{}', p_timeout_seconds => 2)", job)
    load.settle()
    assert row_of(load, job) == {"status": "completed", "attempt": 2, "errors": 1, "crashes": 0}
    stop_all(worker)

"""Light jobs: async handlers in the worker's own loop, claimed ahead and completed in batches."""

import json
import urllib.request
import uuid

from psycopg.types.json import Jsonb

from tests.fixtures.workers import eventually
from worker.job import new_job_id


def test_a_light_job_runs_to_its_result_with_two_events_and_no_log(start_worker, put, ended, events, row):
    """Claim and completion are its whole story; nothing is sealed for it."""
    job_id = put("inline_nothing", number=7)
    start_worker()
    done = ended(job_id)
    assert (done["status"], done["result"], done["attempt"]) == ("completed", {"number": 7}, 1)
    assert events(job_id) == ["enqueue", "claim", "complete"]
    assert row(job_id)["log_parts"] is None


def test_what_an_earlier_attempt_logged_is_sealed_when_the_last_one_says_nothing(start_worker, put, ended, row):
    """Its log must not lie in pieces until somebody prunes the job."""
    job_id = put("inline_stumble", number=2)
    start_worker()
    assert ended(job_id)["attempt"] == 2
    sealed = eventually(lambda: (found := row(job_id))["log_sealed_at"] and found, what="the sealed log")
    assert sealed["log_lines"] > 1


def test_many_light_jobs_of_many_tenants_end_once_each(start_worker, db, make_repository):
    """Thousands in batches: each claimed once, completed once, and nothing is left in the narrow tables."""
    repositories = [make_repository() for _ in range(40)]
    jobs = [(new_job_id(), repositories[n % 40], Jsonb({"number": n})) for n in range(2_000)]
    with db.cursor() as cursor:
        cursor.executemany("select queue.enqueue(%s, %s, 'inline_nothing', %s)", jobs)
    start_worker()
    eventually(
        lambda: (
            db.execute("select count(*) as n from indexing_jobs where status = 'completed'").fetchone()["n"] == 2_000
        ),
        seconds=60,
        what="all jobs",
    )
    told = db.execute(
        "select event_type, count(*) as n from indexing_job_events group by event_type order by event_type"
    )
    assert {r["event_type"]: r["n"] for r in told} == {"claim": 2_000, "complete": 2_000, "enqueue": 2_000}
    left = db.execute("select (select count(*) from queue.waiting) + (select count(*) from queue.running) as n")
    assert left.fetchone()["n"] == 0


def test_what_a_light_job_says_is_written_before_its_end(start_worker, put, ended, events, row, db):
    """Its events come before its completion, its log is sealed, its progress is in the row."""
    job_id = put("inline_talk", marker="hello")
    start_worker()
    assert ended(job_id)["status"] == "completed"
    assert events(job_id) == ["enqueue", "claim", "said", "complete"]
    eventually(lambda: row(job_id)["log_sealed_at"], what="the sealed log")
    assert row(job_id)["log_lines"] >= 2
    assert db.execute("select count(*) as n from queue.unsealed").fetchone()["n"] == 0


def test_a_failover_that_a_handler_meets_spends_no_error(start_worker, put, ended, events):
    """A Postgres that takes no writes just now is an outage: the job comes back at no cost."""
    job_id = put("inline_read_only", max_attempts=1)
    start_worker()
    done = ended(job_id)
    assert (done["status"], done["errors"], done["result"]) == ("completed", 0, {"attempt": 2})
    assert "snooze" in events(job_id)


def test_a_light_job_that_fails_is_retried_with_its_reason(start_worker, put, ended, events):
    """An error spends its budget and backs off, as a child's does."""
    job_id = put("inline_stumble", number=3)
    hopeless = put("inline_stumble", max_attempts=2)
    start_worker()
    assert (ended(job_id)["attempt"], ended(job_id)["status"]) == (3, "completed")
    assert events(job_id).count("retry") == 2
    failed = ended(hopeless)
    assert (failed["status"], failed["errors"], failed["error_message"]) == ("failed", 2, "Not this time.")


def test_promise_4_a_light_job_over_its_time_limit_is_stopped_and_the_others_go_on(start_worker, put, ended, row):
    """The time limit holds inline too."""
    job_id = put("inline_sleep", timeout=1, max_attempts=1, seconds=600)
    start_worker()
    eventually(lambda: row(job_id)["status"] == "in_progress", what="its start")
    assert ended(put("inline_nothing"))["status"] == "completed"
    failed = ended(job_id)
    assert (failed["status"], failed["error_class"]) == ("failed", "timed_out")


def test_a_running_light_job_is_cancelled_within_a_heartbeat(start_worker, put, ended, row, db):
    """cancel reaches a handler that waits."""
    job_id = put("inline_sleep", seconds=600)
    start_worker()
    eventually(lambda: row(job_id)["status"] == "in_progress", what="its start")
    assert db.execute("select queue.cancel(%s) as answer", (job_id,)).fetchone()["answer"] == "requested"
    assert ended(job_id)["status"] == "cancelled"


def test_one_result_that_cannot_be_stored_spoils_no_other(start_worker, put, ended):
    """In a batch of completions the bad one fails, with its own error class, and the others are completed."""
    jobs = [put("inline_unstorable", number=number) for number in range(1, 30)]
    start_worker()
    ends = [ended(job_id) for job_id in jobs]
    bad = [end for number, end in enumerate(ends, start=1) if number % 7 == 0]
    assert {(end["status"], end["error_class"]) for end in bad} == {("failed", "unstorable")}
    assert {end["status"] for end in ends if end not in bad} == {"completed"}
    assert {end["attempt"] for end in ends} == {1}


def test_a_light_job_may_use_the_workers_connections(start_worker, put, ended):
    """context.connection() lends one."""
    job_id = put("inline_ask", number=2)
    start_worker()
    assert ended(job_id)["result"] == {"answer": 42}


def test_a_worker_of_chosen_job_types_leaves_the_others(start_worker, put, ended, row):
    """WORKER_JOB_TYPES narrows what is claimed; a type without a handler is refused with a sentence."""
    left, done = put("nothing"), put("inline_nothing")
    start_worker(WORKER_JOB_TYPES="inline_nothing")
    assert ended(done)["status"] == "completed"
    assert row(left)["status"] == "queued"
    wrong = start_worker(state="wrong", WORKER_JOB_TYPES="no_such_type")
    assert wrong.wait() == 1
    eventually(
        lambda: any("no_such_type" in json.dumps(line) for line in wrong.lines), what="the sentence about the type"
    )


def test_promise_3_a_drain_ends_light_jobs_that_run_and_gives_back_those_that_wait(start_worker, put, ended, row, db):
    """Running handlers finish; claimed ahead and not begun, jobs go back at no cost, to be run elsewhere."""
    import signal

    for number in range(600):  # so that the worker knows itself to be fast, and claims ahead
        put_light(db, number)
    worker = start_worker(WORKER_INLINE_SLOTS="2", WORKER_DRAIN_SECONDS="20")
    eventually(
        lambda: db.execute("select count(*) as n from indexing_jobs where status = 'completed'").fetchone()["n"] == 600,
        seconds=60,
        what="the quick jobs",
    )
    slow = [put("inline_sleep", seconds=2) for _ in range(12)]
    eventually(lambda: any(row(job)["status"] == "in_progress" for job in slow), what="a slow job's start")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    rows = [row(job) for job in slow]
    assert {r["status"] for r in rows} <= {"completed", "queued"}
    assert any(r["status"] == "completed" for r in rows)
    assert {(r["errors"], r["crashes"]) for r in rows} == {(0, 0)}
    start_worker(state="next")
    assert {ended(job)["status"] for job in slow} == {"completed"}


def put_light(db, number: int) -> uuid.UUID:
    """A quick light job without a repository."""
    job_id = new_job_id()
    db.execute("select queue.enqueue(%s, null, 'inline_nothing', %s)", (job_id, Jsonb({"number": number})))
    return job_id


def test_the_metrics_of_a_worker_count_light_jobs(start_worker, put, ended, db):
    """Attempts and pickups of inline jobs are counted like the others'."""
    job_id = put("inline_nothing")
    worker = start_worker()
    ended(job_id)
    port = eventually(lambda: worker.said("worker starts"), what="its port")[0]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    wanted = 'indexing_worker_attempts_total{error_class="none",job_type="inline_nothing",outcome="complete"} 1.0'
    assert wanted in text


def test_slow_light_jobs_claimed_ahead_go_to_a_worker_that_has_room(start_worker, put, ended, db, row):
    """What a worker took too much of, thinking itself fast, does not wait there while another idles."""
    for number in range(800):
        put_light(db, number)
    slow = [new_job_id() for _ in range(10)]
    for job_id in slow:
        db.execute("select queue.enqueue(%s, null, 'inline_sleep', %s, -1)", (job_id, Jsonb({"seconds": 5})))
    start_worker(state="one", WORKER_INLINE_SLOTS="2", WORKER_LOG_LEVEL="info")
    eventually(lambda: any(row(job)["status"] == "in_progress" for job in slow), seconds=60, what="a slow job's start")
    start_worker(state="two", WORKER_INLINE_SLOTS="2")
    assert {ended(job, seconds=90)["status"] for job in slow} == {"completed"}
    workers = db.execute(
        "select count(distinct worker_id) as n from indexing_jobs where id = any (%s)", (slow,)
    ).fetchone()
    assert workers["n"] == 2

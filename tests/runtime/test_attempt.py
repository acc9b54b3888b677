"""Attempts in real child processes: every way they can end."""

import psutil
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.fixtures.workers import eventually
from worker.database.connect import connect
from worker.job import new_job_id


def events(db, job_id):
    """Event types of a job, oldest first."""
    rows = db.execute("select event_type from indexing_job_events where job_id = %s order by id", (job_id,))
    return [event["event_type"] for event in rows]


def pids_of(db, job_id):
    """Child and grandchild of a sleeping job, as its event tells."""

    def told():
        return db.execute(
            "select context from indexing_job_events where job_id = %s and event_type = 'sleeping' order by id desc",
            (job_id,),
        ).fetchone()

    context = eventually(told, what="the sleeping event")["context"]
    return [context["pid"], context["grandchild"]]


def alive(pids):
    """Which of these processes still run."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_job_runs_to_its_result_with_its_events_in_order(start_worker, put, ended, db):
    """The happy way: enqueue, claim, start, complete."""
    job_id = put("nothing", number=7)
    start_worker()
    assert ended(job_id)["result"] == {"number": 7}
    assert events(db, job_id) == ["enqueue", "claim", "start", "complete"]


def test_endings_of_failing_handlers_are_told_apart(start_worker, put, ended):
    """Permanent errors fail at once, others spend the error budget, crashes theirs; each has its class and sentence."""
    jobs = {
        "permanent": put("fail"),
        "job_error": put("stumble", max_attempts=2),
        "unexpected": put("bug", max_attempts=1, marker="here"),
        "child_crashed": put("die"),
        "invalid_payload": put("nothing", number="many"),
    }
    start_worker()
    rows = {name: ended(job_id) for name, job_id in jobs.items()}
    assert {name: found["error_class"] for name, found in rows.items()} == {name: name for name in jobs}
    assert rows["permanent"]["attempt"] == 1
    assert (rows["job_error"]["errors"], rows["job_error"]["crashes"]) == (2, 0)
    assert (rows["child_crashed"]["errors"], rows["child_crashed"]["crashes"]) == (0, 3)
    assert "unexpected here" in rows["unexpected"]["error_message"]
    assert "number" in rows["invalid_payload"]["error_message"]


def test_promise_4_a_job_over_its_time_limit_is_killed_with_its_whole_tree(start_worker, put, ended, db):
    """A hanging job that ignores SIGTERM is killed, grandchild included, and the worker goes on."""
    job_id = put("sleep", seconds=600, timeout=1, max_attempts=1)
    worker = start_worker()
    pids = pids_of(db, job_id)
    found = ended(job_id)
    assert (found["status"], found["error_class"]) == ("failed", "timed_out")
    eventually(lambda: not alive(pids), seconds=5, what="death of the tree")
    after = put("nothing")
    assert ended(after)["status"] == "completed"
    assert worker.process.poll() is None


def test_promise_4_a_job_over_its_memory_limit_is_killed_with_its_whole_tree(start_worker, put, ended, db):
    """Memory is summed over the tree: a grandchild's hunger counts, as a crash."""
    job_id = put("hog")
    start_worker(WORKER_MEMORY_MB="400", WORKER_CRASH_LIMIT="1")
    found = ended(job_id, seconds=60)
    assert (found["status"], found["error_class"], found["errors"]) == ("failed", "out_of_memory", 0)


def test_a_running_job_is_cancelled_within_seconds(start_worker, put, ended, db):
    """Cancel reaches the child through the heartbeat, kills its tree, and ends the job as cancelled."""
    job_id = put("sleep", seconds=600)
    start_worker()
    pids = pids_of(db, job_id)
    assert db.execute("select queue.cancel(%s) as answer", (job_id,)).fetchone()["answer"] == "requested"
    assert ended(job_id, seconds=10)["status"] == "cancelled"
    assert not alive(pids)


def test_an_attempt_that_lost_its_job_is_killed_and_changes_nothing(start_worker, put, row, db):
    """A job taken away under a running attempt: the attempt dies, the row stays as the taker left it."""
    job_id = put("sleep", seconds=600)
    start_worker()
    pids = pids_of(db, job_id)
    db.execute(
        "select queue.give_back(id, lease_token, 'rescue', 'none', '1 hour', 'x', 'taken away')"
        " from indexing_jobs where id = %s",
        (job_id,),
    )
    eventually(lambda: not alive(pids), seconds=10, what="death of the zombie")
    assert row(job_id)["status"] == "queued"
    assert events(db, job_id)[-1] == "rescue"


def test_promise_10_secrets_in_errors_do_not_reach_row_event_or_log(start_worker, put, ended, db, tmp_path):
    """A token in an exception's text is masked in the row, the events and the job's log."""
    token = "ghp_" + "A1b2C3d4E5" * 4
    job_id = put("bug", max_attempts=1, marker=token)
    permanent = put("fail", marker=token)
    worker = start_worker()
    found = ended(job_id)
    eventually(
        lambda: db.execute("select log_sealed_at from indexing_jobs where id = %s", (job_id,)).fetchone()[
            "log_sealed_at"
        ]
    )
    rows = db.execute("select message, context::text from indexing_job_events where job_id = %s", (job_id,)).fetchall()
    logs = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert "unexpected" in found["error_message"]
    assert "ValueError" in logs
    for place in (found["error_message"], ended(permanent)["error_message"], str(rows), logs, str(worker.lines)):
        assert token not in place


def test_a_repository_url_that_is_refused_fails_the_job_at_once(start_worker, ended, db, make_repository):
    """What a room refuses is final: one attempt, its own class, a sentence that says what to do."""
    job_id = new_job_id()
    repository_id = make_repository(git_url="ssh://git@example.com/acme/repo")
    db.execute("select queue.enqueue(%s, %s, 'full_index', '{}')", (job_id, repository_id))
    start_worker()
    found = ended(job_id)
    assert (found["status"], found["error_class"], found["attempt"]) == ("failed", "unsafe_url", 1)
    assert "https" in found["error_message"]


@pytest.mark.parametrize("number", [0, 1])
def test_what_postgres_cannot_hold_ends_the_job_with_a_reason(start_worker, put, ended, db, number):
    """A NUL in a result, a message or an event: no endless round, no lost neighbour, each event once."""
    job_id = put("unstorable", number=number, max_attempts=2)
    start_worker()
    found = ended(job_id)
    assert (found["status"], found["error_class"], found["attempt"]) == ("failed", "unstorable", 1)
    assert events(db, job_id).count("good") == 1
    assert "bad" not in events(db, job_id)


def test_promise_3_a_slow_task_or_a_lost_log_stops_no_rescue(start_worker, put, ended, db, database_url):
    """Maintenance waits in one task and fails in another, and still a dead worker's job is taken back."""
    lost_log = put("fail")
    db.execute(
        "update indexing_jobs set status = 'failed', finished_at = now() - interval '11 minutes', attempt = 2,"
        " log_token = nextval('lease_tokens'), log_parts = %s where id = %s",
        (Jsonb([{"key": "logs/2026-01-01/gone.1.log", "bytes": 1, "lines": 1}]), lost_log),
    )
    db.execute("insert into queue.unsealed values (%s, now() - interval '11 minutes')", (lost_log,))
    db.execute(
        "insert into workers (id, hostname, pid, version, slots, last_seen_at)"
        " values (gen_random_uuid(), 'old', 1, '0', 1, now() - interval '2 days')"
    )
    with connect(database_url, name="holder") as holder, holder.transaction():
        holder.execute("select 1 from workers where hostname = 'old' for update")
        start_worker()
        eventually(
            lambda: db.execute(
                "select 1 from maintenance_tasks where name = 'forget_workers' and last_run_at is not null"
            ).fetchone(),
            what="the task that waits for the lock",
        )
        with db.transaction():  # nobody sees it queued
            victim = put("nothing")
            db.execute("delete from queue.waiting where job_id = %s", (victim,))
            db.execute(
                "with job as (update indexing_jobs set status = 'in_progress', lease_token = nextval('lease_tokens')"
                "  where id = %s returning *)"
                " insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)"
                " select lease_token, id, gen_random_uuid(), queue.lane(user_id), repository_id, now() from job",
                (victim,),
            )
        assert ended(victim)["status"] == "completed"
    eventually(
        lambda: db.execute("select log_sealed_at from indexing_jobs where id = %s", (lost_log,)).fetchone()[
            "log_sealed_at"
        ],
        what="sealing of the log that has lost a part",
    )


def test_promise_11_a_read_only_postgres_ends_no_worker(start_worker, put, ended, db, database_url):
    """In the middle of a failover Postgres takes no writes: the worker waits, and goes on after it."""
    worker = start_worker(WORKER_LEASE_SECONDS="30", WORKER_HEARTBEAT_SECONDS="5")
    assert ended(put("nothing"))["status"] == "completed"
    name = sql.Identifier(database_url.rsplit("/", 1)[1])
    db.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
    try:
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name in ('indexing-worker', 'indexing-worker claim')"
        )
        job_id = put("nothing")
        eventually(lambda: worker.said("cannot claim"), what="a refused claim")
    finally:
        db.execute(sql.SQL("alter database {} reset default_transaction_read_only").format(name))
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name in ('indexing-worker', 'indexing-worker claim')"
    )
    assert ended(job_id)["status"] == "completed"
    assert worker.process.poll() is None

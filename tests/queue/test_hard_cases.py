"""Cases that need two transactions at once, or two pushes in one job."""

import threading

import psycopg
import pytest

from tests.fixtures.workers import eventually
from worker.database.connect import connect
from worker.job import Ending, Outcome
from worker.queue.enqueue import NewDelivery, NewJob, deliver
from worker.queue.events import progress
from worker.queue.finish import finish


def waiting(db):
    """How many sessions of this database wait for a lock."""
    row = db.execute(
        "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ).fetchone()
    return row["n"]


def push(repository, number):
    """A delivery whose job coalesces with the others of the repository."""
    return NewDelivery(
        repository, "github", f"d{number}", "push", {}, {}, job=NewJob("full_index", repository, coalesce_key="k")
    )


def test_a_rebuild_that_was_asked_for_survives_a_push_that_joins(queue, make_repository):
    """Coalescing merges payloads, and the wish to rebuild is not lost in it."""
    repository = make_repository()
    queue.push(repository, payload={"rebuild": True})
    joined = queue.push(repository, payload={"rebuild": False, "hints": "unknown"})
    assert joined.joined
    assert queue.row(joined.job_id)["payload"]["rebuild"] is True


def test_every_commit_that_joined_pushes_came_from_is_remembered(queue, make_repository):
    """Also when a running job is superseded: a server that shows one of these commits lags behind."""
    repository = make_repository()
    queue.push(repository, after="b" * 40, payload={"before": "a" * 40})
    (job,) = queue.claim(queue.worker())
    queue.push(repository, after="c" * 40, payload={"before": "b" * 40})
    follow_up = queue.push(repository, after="d" * 40, payload={"before": "c" * 40}).job_id
    assert queue.ask(finish, job, Outcome(Ending.SNOOZE, delay_seconds=1), crash_limit=3) == "supersede"
    payload = queue.row(follow_up)["payload"]
    assert sorted(payload["befores"]) == ["a" * 40, "b" * 40, "c" * 40]
    assert payload["after"] == "d" * 40


def test_an_error_after_a_snooze_makes_the_wait_our_own_again(queue, make_repository):
    """A job that once snoozed and now backs off by itself runs at once when a newer push joins."""
    repository = make_repository()
    job_id = queue.push(repository).job_id
    for ending in (Ending.SNOOZE, Ending.RETRY):
        queue.set_run_after()
        (job,) = queue.claim(queue.worker())
        queue.ask(finish, job, Outcome(ending, error_class="x", message="x", delay_seconds=3600), crash_limit=3)
    queue.push(repository)
    assert [job.id for job in queue.claim(queue.worker())] == [job_id]


def test_a_redelivery_and_a_manual_retry_do_not_deadlock(queue, make_repository):
    """Both take jobs before deliveries, whoever comes first."""
    repository = make_repository()
    first = queue.ask(deliver, push(repository, 1)).job_id
    (job,) = queue.claim(queue.worker())
    queue.ask(finish, job, Outcome(Ending.FAIL, error_class="x", message="x"), crash_limit=3)
    queued = queue.ask(deliver, push(repository, 2)).job_id
    failures = []

    def run(act):
        try:
            act()
        except psycopg.Error as failure:
            failures.append(failure)

    def retry():
        with connect(queue.url, name="retry") as connection:
            connection.execute("select queue.retry_finished(%s)", (first,))

    with connect(queue.url, name="holder") as holder:
        with holder.transaction():
            holder.execute("select 1 from indexing_jobs where id = %s for update", (queued,))
            retrying = threading.Thread(target=run, args=(retry,))
            retrying.start()
            eventually(lambda: waiting(queue.db) == 1, what="the retry waiting for the queued job")
            redelivering = threading.Thread(target=run, args=(lambda: queue.ask(deliver, push(repository, 1)),))
            redelivering.start()
            eventually(lambda: waiting(queue.db) == 2, what="the redelivery waiting too")
        retrying.join()
        redelivering.join()
    assert failures == []


def test_progress_does_not_wait_for_the_jobs_own_publish(queue, make_repository):
    """While publish holds the row, a progress write is left out instead of holding a connection."""
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    with connect(queue.url, name="publishing") as holder, holder.transaction():
        holder.execute("select 1 from indexing_jobs where id = %s for update", (job.id,))
        assert queue.ask(progress, job, {"phase": "publish"})
    assert queue.row(job.id)["progress"] is None


@pytest.mark.parametrize("number", range(2))
def test_two_redeliveries_of_a_failed_delivery_meet_in_one_job(queue, make_repository, number):
    """GitHub's button pressed twice runs the work once."""
    repository = make_repository()
    queue.ask(deliver, push(repository, 1))
    (job,) = queue.claim(queue.worker())
    queue.ask(finish, job, Outcome(Ending.FAIL, error_class="x", message="x"), crash_limit=3)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(queue.ask(deliver, push(repository, 1)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.job_id for answer in answers}) == 1
    assert queue.db.execute("select count(*) as n from indexing_jobs where status = 'queued'").fetchone()["n"] == 1

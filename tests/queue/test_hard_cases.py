"""Cases that need two transactions at once, or two pushes in one job."""

import threading
from datetime import timedelta

import psycopg
import pytest

from tests.fixtures.workers import eventually
from worker.database.connect import connect
from worker.job import Ending, Outcome
from worker.queue.cancel import cancel, retry_finished
from worker.queue.enqueue import NewDelivery, NewJob, deliver, enqueue
from worker.queue.events import progress
from worker.queue.finish import complete_in_transaction, complete_many, finish, release_many
from worker.queue.prune import prune
from worker.queue.seal import seal_log, take_unsealed, unsealed


def waiting(db):
    """How many sessions of this database wait for a lock."""
    row = db.execute(
        "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ).fetchone()
    return row["n"]


def push(repository, number, *, supersede=False):
    """A delivery whose job coalesces with the others of the repository."""
    job = NewJob("full_index", repository, coalesce_key="k", supersede=supersede)
    return NewDelivery(repository, "github", f"d{number}", "push", {}, {}, job=job)


def deliveries(queue):
    """The status of each delivery, and the job that answers for it, in order."""
    rows = queue.db.execute("select status, job_id from webhook_deliveries order by id")
    return [(row["status"], row["job_id"]) for row in rows]


def ended(queue, job, ending, delay_seconds=None):
    """The verb that came of it."""
    outcome = Outcome(ending, error_class="x", message="x", delay_seconds=delay_seconds)
    return queue.ask(finish, job, outcome, crash_limit=3)


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


def test_what_an_attempt_says_after_its_own_publish_is_no_zombies(queue, make_repository):
    """The child has published, and its last progress comes after: the attempt is told that all is well."""
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    with queue.db.transaction():
        complete_in_transaction(queue.db, job, {})
    before = queue.row(job.id)
    assert queue.ask(progress, job, {"phase": "publish"})
    assert queue.row(job.id) == before


def test_a_jobs_last_log_is_sealed_where_an_earlier_attempt_wrote_one(queue):
    """The second attempt of a light job has nothing to say: prune waits for the first one's log all the same."""
    silent, told = (queue.ask(enqueue, NewJob("full_index")).job_id for _ in range(2))
    jobs = {job.id: job for job in queue.claim(queue.worker())}
    assert queue.ask(complete_many, [(jobs[silent], {})]) == {jobs[silent].lease_token}
    assert ended(queue, jobs[told], Ending.RETRY) == "retry"
    queue.set_run_after()
    (again,) = queue.claim(queue.worker())
    assert queue.ask(complete_many, [(again, {})]) == {again.lease_token}
    assert queue.ask(prune, completed_days=0, failed_days=0) == 1
    assert queue.ask(unsealed, [silent, told]) == {told}
    (state,) = queue.ask(take_unsealed, after_seconds=0)
    assert state.job_id == told
    assert queue.ask(seal_log, told, state.token, [], 0, 0)
    assert queue.ask(prune, completed_days=0, failed_days=0) == 1


def test_a_job_that_was_given_back_before_it_started_has_no_log_to_seal(queue):
    """A drain gives back hundreds that were claimed ahead: nobody has to look for logs of theirs."""
    job_id = queue.ask(enqueue, NewJob("full_index")).job_id
    assert len(queue.ask(release_many, queue.claim(queue.worker()), "the worker is shutting down")) == 1
    (again,) = queue.claim(queue.worker())
    assert queue.ask(complete_many, [(again, {})]) == {again.lease_token}
    assert queue.ask(unsealed, [job_id]) == set()
    assert queue.ask(prune, completed_days=0, failed_days=0) == 1


def test_a_manual_retry_that_joins_a_queued_job_keeps_what_was_asked_for(queue, make_repository):
    """Its rebuild, its hints and the commits it came from are the queued job's; the queued one's newer target stays."""
    repository = make_repository()
    old = queue.push(repository, after="b" * 40, payload={"rebuild": True, "before": "a" * 40, "branch": "old"}).job_id
    ended(queue, queue.claim(queue.worker())[0], Ending.FAIL)
    queued = queue.push(repository, after="c" * 40, payload={"before": "b" * 40, "branch": "new"}, priority=3).job_id
    assert queue.ask(retry_finished, old) == queued
    payload = queue.row(queued)["payload"]
    assert (payload["rebuild"], payload["after"], payload["branch"]) == (True, "c" * 40, "new")
    assert sorted(payload["befores"]) == ["a" * 40, "b" * 40]
    assert queue.row(queued)["priority"] == 3
    assert "asked_at" not in payload


@pytest.mark.parametrize("joined_again", [False, True])
def test_the_newest_request_wins_whichever_job_is_queued(queue, make_repository, joined_again):
    """An older job that was retried by hand takes a newer one's target over, unless a newer push still has joined."""
    repository = make_repository()
    jobs = []
    for commit in "bc":
        jobs.append(queue.push(repository, after=commit * 40).job_id)
        ended(queue, queue.claim(queue.worker())[0], Ending.FAIL)
    assert queue.ask(retry_finished, jobs[0]) == jobs[0]
    if joined_again:
        assert queue.push(repository, after="d" * 40).job_id == jobs[0]
    assert queue.ask(retry_finished, jobs[1]) == jobs[0]
    assert queue.row(jobs[0])["payload"]["after"] == ("d" if joined_again else "c") * 40


def test_a_job_that_goes_back_does_not_lose_its_newer_target(queue, make_repository):
    """The follow-up may be an older job that was retried by hand: what it says of the target is out of date."""
    repository = make_repository()
    old = queue.push(repository, after="b" * 40).job_id
    ended(queue, queue.claim(queue.worker())[0], Ending.FAIL)
    queue.push(repository, after="c" * 40)
    (job,) = queue.claim(queue.worker())
    assert queue.ask(retry_finished, old) == old
    assert ended(queue, job, Ending.RELEASE) == "supersede"
    assert queue.row(old)["payload"]["after"] == "c" * 40


def test_a_payload_of_somebody_else_holds_no_job_up(queue, make_repository):
    """Whatever stands where the time of a push is expected, the job goes back, and its follow-up takes it over."""
    repository = make_repository()
    queue.push(repository, payload={"asked_at": "yesterday, thirteenth month"})
    (job,) = queue.claim(queue.worker())
    queue.push(repository, after="c" * 40)
    assert ended(queue, job, Ending.RELEASE) == "supersede"


@pytest.mark.parametrize(("ending", "waits"), [(Ending.RETRY, False), (Ending.SNOOZE, True)])
def test_a_manual_retry_that_joins_a_queued_job_is_due_as_a_push_would_be(queue, make_repository, ending, waits):
    """Our own backoff and what was spent are forgotten; a wait that the other side asked for stays."""
    repository = make_repository()
    old = queue.push(repository).job_id
    ended(queue, queue.claim(queue.worker())[0], Ending.FAIL)
    queued = queue.push(repository).job_id
    (job,) = queue.claim(queue.worker())
    ended(queue, job, ending, delay_seconds=3600)
    queue.set(queued, errors=2, crashes=1)
    assert queue.ask(retry_finished, old) == queued
    row = queue.row(queued)
    assert (row["errors"], row["crashes"]) == (0, 0)
    assert (row["run_after"] > row["updated_at"] + timedelta(minutes=30)) is waits
    assert [job.id for job in queue.claim(queue.worker())] == ([] if waits else [queued])


def test_a_superseded_run_goes_on_when_its_follow_up_is_cancelled(queue, make_repository):
    """It goes back to the queue at no cost, and its deliveries with it; the follow-up's end with the person's word."""
    repository = make_repository()
    first = queue.ask(deliver, push(repository, 1)).job_id
    (job,) = queue.claim(queue.worker())
    follow_up = queue.ask(deliver, push(repository, 2, supersede=True)).job_id
    assert queue.ask(cancel, follow_up) == "cancelled"
    assert queue.ask(finish, job, Outcome(Ending.CANCEL), crash_limit=3) == "release"
    row = queue.row(first)
    assert (row["status"], row["errors"], row["crashes"], row["attempt"]) == ("queued", 0, 0, 1)
    assert deliveries(queue) == [("queued", first), ("failed", follow_up)]
    (again,) = queue.claim(queue.worker())
    assert again.id == first
    assert ended(queue, again, Ending.COMPLETE) == "complete"
    assert deliveries(queue) == [("processed", first), ("failed", follow_up)]

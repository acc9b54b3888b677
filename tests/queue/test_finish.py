"""How a job leaves an attempt: each verb, its budget, its event, and the fence before it."""

import pytest

from worker.errors import LeaseLost
from worker.job import Ending, Outcome
from worker.queue.cancel import cancel, retry_finished
from worker.queue.enqueue import NewDelivery, NewJob, deliver, index_coalesce_key
from worker.queue.finish import finish, has_completed


def end(queue, job, ending, **facts):
    """Finish a job as the runtime does."""
    return queue.ask(finish, job, Outcome(ending, **facts), crash_limit=3)


def delivery(repository, number, job=True):
    """A delivery whose job coalesces on the repository's main branch."""
    new = NewJob("full_index", repository, {"after": str(number)}, coalesce_key=index_coalesce_key(repository, "main"))
    return NewDelivery(repository, "github", f"delivery-{number}", "push", {}, {}, job=new if job else None)


def delivery_row(queue, number):
    """A delivery's row."""
    return queue.db.execute(
        "select * from webhook_deliveries where delivery_id = %s", (f"delivery-{number}",)
    ).fetchone()


@pytest.fixture
def claimed(queue, make_repository):
    """A claimed job."""
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    return job


def test_complete_records_result_and_event(queue, claimed):
    """complete ends the job with its result."""
    assert end(queue, claimed, Ending.COMPLETE, result={"files": 3}) == "complete"
    row = queue.row(claimed.id)
    assert (row["status"], row["result"], row["lease_token"]) == ("completed", {"files": 3}, None)
    assert queue.events(claimed.id)[-1] == "complete"


@pytest.mark.parametrize(
    "ending", [Ending.COMPLETE, Ending.RETRY, Ending.FAIL, Ending.RELEASE, Ending.CANCEL, Ending.CRASH]
)
def test_promise_2_a_zombie_that_finishes_an_old_attempt_changes_nothing(queue, claimed, ending):
    """Once the job has been taken back, no verb under the old token changes a row."""
    end(queue, claimed, Ending.RELEASE)
    (again,) = queue.claim(queue.worker())
    before = queue.row(claimed.id), queue.events(claimed.id)
    with pytest.raises(LeaseLost):
        end(queue, claimed, ending, error_class="x", message="x")
    assert (queue.row(claimed.id), queue.events(claimed.id)) == before
    assert again.lease_token > claimed.lease_token


def test_retry_spends_an_error_until_the_budget_is_gone(queue, make_repository):
    """max_attempts errors fail the job; before that it goes back to queued with a delay."""
    queue.push(make_repository(), max_attempts=2)
    worker_id = queue.worker()
    (job,) = queue.claim(worker_id)
    assert end(queue, job, Ending.RETRY, error_class="git_network", message="no route", delay_seconds=60) == "retry"
    row = queue.row(job.id)
    assert (row["status"], row["errors"], row["crashes"]) == ("queued", 1, 0)
    assert queue.claim(worker_id) == []  # not due yet
    queue.set_run_after()
    (job,) = queue.claim(worker_id)
    assert end(queue, job, Ending.RETRY, error_class="git_network", message="no route") == "fail"
    row = queue.row(job.id)
    assert (row["status"], row["error_class"], row["error_message"]) == ("failed", "git_network", "no route")


def test_promise_3_crashes_are_counted_apart_and_end_a_job_after_three(queue, claimed):
    """Three crashes fail a job that has spent no error."""
    verbs = []
    job = claimed
    for _ in range(3):
        verbs.append(end(queue, job, Ending.CRASH, error_class="child_crashed", message="died"))
        queue.set_run_after()
        job = next(iter(queue.claim(queue.worker())), None)
    assert verbs == ["retry", "retry", "fail"]
    row = queue.row(claimed.id)
    assert (row["status"], row["errors"], row["crashes"], row["attempt"]) == ("failed", 0, 3, 3)


def test_promise_3_a_release_spends_no_budget(queue, claimed):
    """A drain gives the job back at once and at no cost."""
    assert end(queue, claimed, Ending.RELEASE) == "release"
    row = queue.row(claimed.id)
    assert (row["status"], row["errors"], row["crashes"]) == ("queued", 0, 0)
    assert len(queue.claim(queue.worker())) == 1


def test_a_snooze_is_free_but_bounded(queue, claimed):
    """Snoozing costs no error; after the limit the job fails with the reason."""
    assert end(queue, claimed, Ending.SNOOZE, error_class="snoozed", message="later", delay_seconds=5) == "snooze"
    assert queue.row(claimed.id)["errors"] == 0
    queue.db.execute("update indexing_jobs set snoozes = 50")
    queue.set_run_after()
    (job,) = queue.claim(queue.worker())
    assert end(queue, job, Ending.SNOOZE, error_class="snoozed", message="later", delay_seconds=5) == "fail"


def test_cancel_of_a_queued_job_is_at_once_and_of_a_running_one_is_asked(queue, make_repository):
    """cancel ends what waits, and asks the worker of what runs."""
    waiting = queue.push(make_repository()).job_id
    assert queue.ask(cancel, waiting) == "cancelled"
    assert queue.row(waiting)["status"] == "cancelled"
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    assert queue.ask(cancel, job.id) == "requested"
    assert queue.row(job.id)["status"] == "in_progress"
    assert end(queue, job, Ending.CANCEL) == "cancel"
    assert queue.ask(cancel, job.id) == "cancelled"


def test_a_job_asked_to_cancel_does_not_come_back_by_retry(queue, claimed):
    """A cancel that was asked for wins over a retry."""
    queue.ask(cancel, claimed.id)
    assert end(queue, claimed, Ending.RETRY, error_class="x", message="x") == "cancel"
    assert queue.row(claimed.id)["status"] == "cancelled"


def test_manual_retry_starts_the_budgets_anew_and_the_token_goes_on_growing(queue, claimed):
    """A failed job that a person retries is queued with new budgets, its attempt number growing."""
    end(queue, claimed, Ending.FAIL, error_class="access_denied", message="no")
    assert queue.ask(retry_finished, claimed.id) == claimed.id
    (again,) = queue.claim(queue.worker())
    assert (again.attempt, again.errors) == (2, 0)
    assert again.lease_token > claimed.lease_token
    assert queue.ask(retry_finished, claimed.id) is None  # it runs


def test_deliveries_follow_their_job(queue, make_repository):
    """received → queued → processing → processed, and failed with the reason."""
    repository = make_repository()
    queue.ask(deliver, delivery(repository, 1))
    assert delivery_row(queue, 1)["status"] == "queued"
    (job,) = queue.claim(queue.worker())
    assert delivery_row(queue, 1)["status"] == "processing"
    end(queue, job, Ending.FAIL, error_class="too_large", message="too many paths")
    row = delivery_row(queue, 1)
    assert (row["status"], row["error_message"]) == ("failed", "too many paths")
    answer = queue.ask(deliver, delivery(repository, 1))  # GitHub's redelivery of a failed one
    assert answer.duplicate
    assert answer.status == "queued"
    (job,) = queue.claim(queue.worker())
    end(queue, job, Ending.COMPLETE)
    assert delivery_row(queue, 1)["status"] == "processed"
    assert queue.ask(deliver, delivery(repository, 1)).job_id == job.id


def test_promise_1_the_same_delivery_twice_makes_one_job(queue, make_repository):
    """A duplicate answers with the first one's job."""
    repository = make_repository()
    first = queue.ask(deliver, delivery(repository, 1))
    second = queue.ask(deliver, delivery(repository, 1))
    assert (second.job_id, second.duplicate) == (first.job_id, True)
    assert queue.db.execute("select count(*) as n from indexing_jobs").fetchone()["n"] == 1


def test_promise_5_pushes_coalesce_into_one_follow_up_and_the_newest_wins(queue, make_repository):
    """While a job runs, any number of pushes make one queued follow-up with the newest target and all deliveries."""
    repository = make_repository()
    queue.ask(deliver, delivery(repository, 1))
    (running,) = queue.claim(queue.worker())
    answers = [queue.ask(deliver, delivery(repository, number)) for number in (2, 3, 4)]
    follow_up = answers[0].job_id
    assert {answer.job_id for answer in answers} == {follow_up}
    assert follow_up != running.id
    assert queue.row(follow_up)["payload"]["after"] == "4"
    assert queue.events(follow_up) == ["enqueue", "coalesce", "coalesce"]


@pytest.mark.parametrize("ending", [Ending.RETRY, Ending.SNOOZE, Ending.RELEASE, Ending.CRASH])
def test_promise_5_a_job_that_goes_back_is_superseded_by_its_follow_up(queue, make_repository, ending):
    """Retry, snooze, release and crash of a superseded job hand its deliveries to the follow-up."""
    repository = make_repository()
    queue.ask(deliver, delivery(repository, 1))
    (running,) = queue.claim(queue.worker())
    follow_up = queue.ask(deliver, delivery(repository, 2)).job_id
    assert end(queue, running, ending, error_class="x", message="x", delay_seconds=1) == "supersede"
    row = queue.row(running.id)
    assert (row["status"], row["error_class"]) == ("cancelled", "superseded")
    for number in (1, 2):
        assert (delivery_row(queue, number)["job_id"], delivery_row(queue, number)["status"]) == (follow_up, "queued")


def test_coalescing_resets_budgets_and_backoff_but_keeps_a_retry_after(queue, claimed):
    """A newer push runs at once, unless the git server had asked to wait."""
    key = {"repository": claimed.repository_id}
    end(queue, claimed, Ending.RETRY, error_class="x", message="x", delay_seconds=600)
    assert queue.push(key["repository"]).joined
    assert queue.row(claimed.id)["errors"] == 0
    (job,) = queue.claim(queue.worker())
    end(queue, job, Ending.SNOOZE, error_class="x", message="Retry-After", delay_seconds=600)
    assert queue.push(key["repository"]).joined
    assert queue.claim(queue.worker()) == []


def test_hints_are_merged_capped_and_then_unknown(queue, make_repository):
    """File hints of coalesced pushes are joined; too many become "unknown"."""
    repository = make_repository()
    hints = [
        {"added": ["a"], "modified": ["m"], "removed": []},
        {"added": ["b", "a"], "modified": [], "removed": ["r"]},
    ]
    job_id = queue.push(repository, payload={"hints": hints[0]}).job_id
    queue.push(repository, payload={"hints": hints[1]})
    assert queue.row(job_id)["payload"]["hints"] == {"added": ["a", "b"], "modified": ["m"], "removed": ["r"]}
    queue.push(repository, payload={"hints": {"added": [str(n) for n in range(3001)], "modified": [], "removed": []}})
    assert queue.row(job_id)["payload"]["hints"] == "unknown"
    queue.push(repository, payload={"hints": hints[0]})
    assert queue.row(job_id)["payload"]["hints"] == "unknown"


def test_the_reply_to_a_completion_may_be_lost(queue, claimed):
    """Whether this very attempt completed the job can be asked afterwards; another's completion does not count."""
    end(queue, claimed, Ending.COMPLETE)
    assert queue.ask(has_completed, claimed)
    assert end(queue, claimed, Ending.PUBLISHED) == "complete"


def test_the_repository_shows_what_its_jobs_do(queue, make_repository):
    """sync_state follows the newest job: queued, syncing, error."""
    repository = make_repository()

    def state():
        return queue.db.execute("select status, sync_state from repositories where id = %s", (repository,)).fetchone()

    assert state() == {"status": "pending", "sync_state": "pending"}
    queue.push(repository)
    assert state()["sync_state"] == "queued"
    (job,) = queue.claim(queue.worker())
    assert state()["sync_state"] == "syncing"
    end(queue, job, Ending.FAIL, error_class="x", message="x")
    assert state() == {"status": "error", "sync_state": "error"}

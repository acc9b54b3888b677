"""hurry: a queued job that waits for its time runs now."""

import uuid

import pytest

from worker.job import Ending, Outcome
from worker.queue.cancel import hurry
from worker.queue.finish import finish


@pytest.mark.parametrize("ending", [Ending.RETRY, Ending.SNOOZE])
def test_a_job_that_waits_for_its_time_is_claimed_at_once(queue, make_repository, ending):
    """A backoff and a snooze alike; what it has spent stays spent."""
    job_id = queue.push(make_repository()).job_id
    worker_id = queue.worker()
    (job,) = queue.claim(worker_id)
    queue.ask(finish, job, Outcome(ending, error_class="x", message="x", delay_seconds=3600), crash_limit=3)
    before = queue.row(job_id)
    assert queue.claim(worker_id) == []
    assert queue.ask(hurry, job_id)
    row = queue.row(job_id)
    assert (row["errors"], row["snoozes"]) == (before["errors"], before["snoozes"])
    assert queue.events(job_id)[-1] == "enqueue"
    assert [claimed.id for claimed in queue.claim(worker_id)] == [job_id]


def test_a_job_that_waits_for_no_time_is_left_alone(queue, make_repository):
    """Ready, running, ended or unknown: nothing changes, no event is written."""
    job_id = queue.push(make_repository()).job_id
    assert not queue.ask(hurry, job_id)
    queue.claim(queue.worker())
    assert not queue.ask(hurry, job_id)
    assert not queue.ask(hurry, uuid.uuid4())
    assert queue.events(job_id) == ["enqueue", "claim"]


def test_a_job_in_a_hurry_still_waits_for_its_repository(queue, make_repository):
    """One job at a time for a repository holds; it is the next one."""
    repository = make_repository()
    queue.push(repository)
    (job,) = queue.claim(worker_id := queue.worker())
    follow_up = queue.push(repository).job_id
    queue.set_run_after(3600, follow_up)
    assert queue.ask(hurry, follow_up)
    assert queue.claim(worker_id) == []
    queue.ask(finish, job, Outcome(Ending.COMPLETE), crash_limit=3)
    assert [claimed.id for claimed in queue.claim(worker_id)] == [follow_up]

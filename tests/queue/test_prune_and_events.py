"""prune, events, progress, sealing: what remains of a job and for how long."""

from worker.job import Ending, Outcome
from worker.queue.events import events_of, progress, tell
from worker.queue.finish import finish
from worker.queue.maintenance import take_due
from worker.queue.prune import prune
from worker.queue.seal import log_state, seal_log, take_unsealed


def finished(queue, repository):
    """A completed job."""
    queue.push(repository)
    (job,) = queue.claim(queue.worker())
    queue.ask(finish, job, Outcome(Ending.COMPLETE), crash_limit=3)
    return job


def test_events_and_progress_are_fenced_by_the_token(queue, make_repository):
    """An attempt that lost its job writes neither events nor progress."""
    queue.push(make_repository())
    (job,) = queue.claim(queue.worker())
    assert queue.ask(tell, job, "start", "go", {"pid": 1})
    assert queue.ask(progress, job, {"phase": "fetch"})
    queue.ask(finish, job, Outcome(Ending.RELEASE), crash_limit=3)
    assert not queue.ask(tell, job, "start", "zombie", {})
    assert not queue.ask(progress, job, {"phase": "zombie"})
    verbs = [event["event_type"] for event in queue.ask(events_of, job.id)]
    assert verbs == ["enqueue", "claim", "start", "release"]


def test_prune_takes_old_jobs_with_their_events_and_spares_unsealed_logs(queue, make_repository):
    """Retention deletes finished jobs and their events, but never one whose log is not sealed."""
    sealed, unsealed, young = (finished(queue, make_repository()) for _ in range(3))
    for job in (sealed, young):
        assert queue.ask(seal_log, job.id, job.lease_token, [], 0, 0)
    for job in (sealed, unsealed):
        queue.db.execute("update indexing_jobs set finished_at = now() - interval '31 days' where id = %s", (job.id,))
    assert queue.ask(prune, retention_days=30) == 1
    left = {row["id"] for row in queue.db.execute("select id from indexing_jobs")}
    assert left == {unsealed.id, young.id}
    assert queue.events(sealed.id) == []
    assert queue.events(young.id) != []


def test_sealing_is_fenced_by_the_newest_attempt_and_may_be_said_twice(queue, make_repository):
    """A zombie cannot name its log; the owner may repeat itself."""
    job = finished(queue, make_repository())
    parts = [{"key": "logs/x", "bytes": 1}]
    assert not queue.ask(seal_log, job.id, job.lease_token - 1, parts, 1, 1)
    assert queue.ask(seal_log, job.id, job.lease_token, parts, 1, 1)
    assert queue.ask(seal_log, job.id, job.lease_token, parts, 1, 1)
    assert not queue.ask(seal_log, job.id, job.lease_token, [{"key": "logs/other"}], 1, 1)
    assert queue.ask(log_state, job.id).sealed


def test_an_abandoned_log_is_taken_over_under_a_new_token(queue, make_repository):
    """Whoever seals for a dead worker gets a token of its own, so that the two cannot write one object."""
    job = finished(queue, make_repository())
    assert queue.ask(take_unsealed, after_seconds=600) == []
    queue.db.execute("update indexing_jobs set finished_at = now() - interval '11 minutes'")
    (state,) = queue.ask(take_unsealed, after_seconds=600)
    assert state.job_id == job.id
    assert state.token > job.lease_token
    assert not queue.ask(seal_log, job.id, job.lease_token, [], 0, 0)


def test_a_maintenance_task_is_taken_by_one_worker_and_set_to_its_next_time(queue):
    """A due task is handed out once."""
    first, second = queue.worker(), queue.worker()
    taken = [queue.ask(take_due, worker, ["rescue"]) for worker in (first, second)]
    assert taken == ["rescue", None]

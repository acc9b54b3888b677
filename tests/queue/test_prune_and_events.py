"""prune, events, progress, sealing: what remains of a job and for how long."""

import uuid

from worker.job import Ending, Outcome
from worker.queue.events import events_of, progress, tell
from worker.queue.finish import finish
from worker.queue.maintenance import take_due
from worker.queue.prune import prune
from worker.queue.seal import log_state, seal_log, take_unsealed, unfinished


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


def made_older(queue, job_id, *, days):
    """Let a finished job and all of its rows be this old; answers its id, which says its age."""
    row = queue.db.execute("select queue.uuid7(now() - make_interval(days => %s)) as id", (days,)).fetchone()
    queue.db.execute(
        "update indexing_jobs set id = %s, finished_at = finished_at - make_interval(days => %s) where id = %s",
        (row["id"], days, job_id),
    )
    for table in ("indexing_job_events", "queue.unsealed"):
        queue.db.execute(f"update {table} set job_id = %s where job_id = %s", (row["id"], job_id))
    return row["id"]


def test_prune_takes_old_jobs_with_their_events_and_spares_unsealed_logs(queue, make_repository):
    """Retention deletes finished jobs and their events, but never one whose log is not sealed."""
    sealed, unsealed, young = (finished(queue, make_repository()) for _ in range(3))
    for job in (sealed, young):
        assert queue.ask(seal_log, job.id, job.lease_token, [], 0, 0)
    old_sealed, old_unsealed = made_older(queue, sealed.id, days=31), made_older(queue, unsealed.id, days=31)
    assert queue.events(old_sealed) != []
    assert queue.ask(prune, completed_days=30, failed_days=30) == 1
    left = {row["id"] for row in queue.db.execute("select id from indexing_jobs")}
    assert left == {old_unsealed, young.id}
    assert queue.events(old_sealed) == []
    assert queue.events(young.id) != []


def test_failed_jobs_are_kept_for_a_time_of_their_own(queue, make_repository):
    """Each status has its retention; prune walks in small steps past what it keeps."""
    jobs = {"completed": [], "failed": []}
    for status in ("completed", "failed", "completed", "failed", "failed", "completed"):
        job = finished(queue, make_repository())
        assert queue.ask(seal_log, job.id, job.lease_token, [], 0, 0)
        queue.set(job.id, status=status)
        jobs[status].append(made_older(queue, job.id, days=31))
    assert queue.ask(prune, completed_days=30, failed_days=90, window=2) == 3
    assert {row["id"] for row in queue.db.execute("select id from indexing_jobs")} == set(jobs["failed"])
    assert queue.ask(prune, completed_days=30, failed_days=30, window=2) == 3


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
    queue.db.execute("update queue.unsealed set ended_at = now() - interval '11 minutes'")
    (state,) = queue.ask(take_unsealed, after_seconds=600)
    assert state.job_id == job.id
    assert state.token > job.lease_token
    assert not queue.ask(seal_log, job.id, job.lease_token, [], 0, 0)


def test_who_has_taken_a_log_over_has_time_to_seal_it(queue, make_repository):
    """Ever longer: else a log whose sealing takes longer than the pause would go from hand to hand for ever."""
    finished(queue, make_repository())
    queue.db.execute("update queue.unsealed set ended_at = now() - interval '1 day'")
    for minutes in (0, 20, 40, 80):
        if minutes:
            queue.db.execute("update queue.unsealed set taken_at = now() - make_interval(mins => %s)", (minutes - 1,))
            assert queue.ask(take_unsealed, after_seconds=600) == []
            queue.db.execute("update queue.unsealed set taken_at = now() - make_interval(mins => %s)", (minutes + 1,))
        assert len(queue.ask(take_unsealed, after_seconds=600)) == 1


def test_a_maintenance_task_is_taken_by_one_worker_and_set_to_its_next_time(queue):
    """A due task is handed out once."""
    first, second = queue.worker(), queue.worker()
    taken = [queue.ask(take_due, worker, ["rescue"]) for worker in (first, second)]
    assert taken == ["rescue", None]


def test_logs_of_jobs_that_go_on_or_wait_for_sealing_are_named(queue, make_repository):
    """The sweep spares them: queued, running, and ended with pieces that nobody has joined yet."""
    sealed, unsealed = finished(queue, make_repository()), finished(queue, make_repository())
    assert queue.ask(seal_log, sealed.id, sealed.lease_token, [], 0, 0)
    queue.push(make_repository())
    (running,) = queue.claim(queue.worker())
    queued = queue.push(make_repository()).job_id
    asked = [sealed.id, unsealed.id, running.id, queued, uuid.uuid4()]
    assert queue.ask(unfinished, asked) == {unsealed.id, running.id, queued}

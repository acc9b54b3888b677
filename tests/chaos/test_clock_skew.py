"""Promises 3, 5 and 11: the database's clock decides; a worker whose own is an hour off does as every other."""

import signal

import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(240)
ENQUEUE_LATER = """
select queue.enqueue(gen_random_uuid(), null, 'inline_nothing', '{}', p_run_after => now() + %s::interval)"""
STARTED_LATE = """
select started_at - run_after as late from indexing_jobs
where run_after > created_at + interval '1 s' and status = 'completed'"""
HANDLERS = "tests.fixtures.handlers,tests.fixtures.skew"


def test_promise_3_workers_with_wrong_clocks_lease_rescue_and_wait_as_others_do(start_worker, load, stop_all):
    """One worker an hour ahead, one an hour behind: no job starts early or late, nobody is rescued but the dead."""
    ahead = start_worker(state="ahead", WORKER_HANDLERS=HANDLERS, CLOCK_SKEW="3600")
    behind = start_worker(state="behind", WORKER_HANDLERS=HANDLERS, CLOCK_SKEW="-3600")
    load.usual_speed(2)
    with load.flowing(100):
        for pause in ("4 s", "30 minutes"):
            load.tell(ENQUEUE_LATER, pause)
        eventually(lambda: load.ask(STARTED_LATE), seconds=30, what="the job that is due in a moment")
        assert [row for row in load.ask(STARTED_LATE) if row["late"].total_seconds() < 0] == []
        began = load.ask("select clock_timestamp() as at")[0]["at"]
        eventually(
            lambda: load.ask("select from (select 1) one where clock_timestamp() > %s + interval '6 s'", began),
            what="two leases",
        )
    assert load.ask("select from indexing_job_events where event_type = 'rescue'") == []
    later = load.ask(
        "select id from indexing_jobs where run_after > now() + interval '10 minutes' and status = 'queued'"
    )
    assert len(later) == 1
    load.tell("select queue.cancel(%s)", later[0]["id"])
    load.settle()
    load.tell("delete from indexing_jobs where status = 'cancelled'")
    load.check()
    held = load.put([("sleep", {"seconds": 600})])[0]
    row = eventually(
        lambda: load.ask(
            "select w.pid from indexing_jobs j join workers w on w.id = j.worker_id where j.id = %s", held
        ),
        what="the claim",
    )[0]
    victim, other = (ahead, behind) if row["pid"] == ahead.pid else (behind, ahead)
    victim.signal(signal.SIGKILL)
    eventually(
        lambda: load.ask("select from indexing_jobs where id = %s and attempt = 2 and crashes = 1", held),
        seconds=30,
        what="the next attempt",
    )
    load.tell("select queue.cancel(%s)", held)
    load.settle()
    victim.wait()
    fresh = start_worker(state="fresh")  # sweeps the dead one's folder
    eventually(lambda: fresh.said("listening for new jobs"), what="the start")
    stop_all(other, fresh)


def test_promise_5_a_worker_ahead_of_its_time_waits_for_a_push_that_is_not_shown_yet(
    start_worker, load, db, make_repository, git_repository, stop_all
):
    """The server shows the commit before the push: a clock an hour ahead does not make the push look old."""
    git = git_repository(files={"one.py": "a = 1\n"})
    before = git.head
    after = git.commit({"one.py": "a = 2\n"})
    git.git("reset", "--quiet", "--hard", before)
    repository_id = make_repository(git_url=git.url)
    job = load.ask(
        "select job_id from queue.enqueue(gen_random_uuid(), %s, 'incremental_update', %s)",
        repository_id,
        Jsonb({"ref": "refs/heads/main", "before": before, "after": after}),
    )[0]["job_id"]
    worker = start_worker(WORKER_HANDLERS=HANDLERS, CLOCK_SKEW="3600")
    kinds = "select from indexing_job_events where job_id = %s and event_type = any (%s)"
    eventually(lambda: load.ask(kinds, job, ["snooze", "complete"]), seconds=60, what="the first attempt's end")
    git.git("reset", "--quiet", "--hard", after)
    load.settle()
    indexed = load.ask("select last_indexed_commit from repositories where id = %s", repository_id)[0]
    assert indexed["last_indexed_commit"] == after
    stop_all(worker)

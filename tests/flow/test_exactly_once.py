"""Many jobs, several worker processes, and death in the middle of the real work."""

import signal
import uuid

import pytest

from tests.fixtures.workers import eventually
from worker.job import new_job_id


def enqueue_many(db, repositories, each):
    """`each` jobs for every repository, interleaved."""
    ids = [(new_job_id(), repository) for _ in range(each) for repository in repositories]
    with db.cursor() as cursor:
        cursor.executemany("select queue.enqueue(%s, %s, 'nothing', '{}')", ids)


def check_story(db, jobs):
    """From the events alone: every job claimed and completed once, never two at a time for a repository."""
    events = db.execute(
        """
        select j.repository_id, e.job_id, e.event_type from indexing_job_events e
        join indexing_jobs j on j.id = e.job_id
        where e.event_type in ('claim', 'complete') order by e.id"""
    ).fetchall()
    running = {}
    completed = set()
    for event in events:
        repository, job_id = event["repository_id"], event["job_id"]
        if event["event_type"] == "claim":
            assert repository not in running, f"{job_id} began while {running[repository]} ran"
            running[repository] = job_id
        else:
            assert running.pop(repository) == job_id
            assert job_id not in completed
            completed.add(job_id)
    assert len(completed) == jobs
    assert running == {}


@pytest.mark.parametrize(
    ("repositories", "each"), [(40, 5), pytest.param(200, 10, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_promise_5_two_workers_run_every_job_once_and_never_two_of_a_repository(
    start_worker, db, make_repository, repositories, each
):
    """Two worker processes on one queue: each job once, one at a time for a repository."""
    owner = uuid.uuid4()
    enqueue_many(db, [make_repository(user_id=owner) for _ in range(repositories)], each)
    for name in ("one", "two"):
        start_worker(state=name, WORKER_SLOTS="4")
    total = repositories * each
    eventually(
        lambda: (
            db.execute("select count(*) as n from indexing_jobs where status = 'completed'").fetchone()["n"] == total
        ),
        seconds=500,
        what="completion of all jobs",
    )
    check_story(db, total)
    workers = db.execute(
        "select count(distinct context ->> 'worker') as n from indexing_job_events where event_type = 'claim'"
    ).fetchone()["n"]
    assert workers == 2


@pytest.mark.parametrize("phase", ["fetch", "extract", "publish"])
def test_promise_2_kill_9_in_the_middle_of_an_index_job_leaves_the_effects_of_one_run(
    start_worker, db, make_repository, git_repository, phase
):
    """The worker is killed in a phase; the next attempt elsewhere publishes once, bills once, ends the deliveries."""
    body = "\n".join(f"def function_{n}(a, b):\n    return call_{n}(a) + b\n" for n in range(200))
    git = git_repository(files={f"m{n}.py": f"# {n}\n{body}" for n in range(150)})
    repository_id = make_repository(git_url=git.url)
    db.execute(
        "select * from queue.deliver(%s, 'github', 'd1', 'push', '{}', '{}', null, null, %s, 'incremental_update')",
        (repository_id, new_job_id()),
    )
    first = start_worker(state="one")

    def reached():
        row = db.execute("select status, progress ->> 'phase' as phase from indexing_jobs").fetchone()
        return row["phase"] == phase or row["status"] == "completed"

    eventually(reached, seconds=60, what=f"phase {phase}")
    first.signal(signal.SIGKILL)
    start_worker(state="two")
    eventually(
        lambda: db.execute("select status from indexing_jobs").fetchone()["status"] == "completed",
        seconds=60,
        what="completion by the second worker",
    )
    billed = db.execute("select array_agg(tokens_used) as n from token_usage").fetchone()["n"]
    stored = db.execute("select sum(tokens) as n from idx.blobs").fetchone()["n"]
    files = db.execute("select count(*) as n from idx.files").fetchone()["n"]
    delivery = db.execute("select status from webhook_deliveries").fetchone()["status"]
    symbols = db.execute("select count(*) as n from idx.symbols").fetchone()["n"]
    assert (billed, files, symbols, delivery) == ([stored], 150, 150 * 200, "processed")

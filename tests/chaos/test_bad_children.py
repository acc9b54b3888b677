"""Promise 4: children that fork, eat, shout and do not listen; the worker and its other jobs go on, all of it goes."""

import psutil
import pytest

from tests.fixtures.load import processes_of
from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(300)


def end_of(load, job_id, seconds=60):
    """A job's row when it has ended."""
    query = "select * from indexing_jobs where id = %s and status not in ('queued', 'in_progress')"
    return eventually(lambda: load.ask(query, job_id), seconds=seconds, what="the end of a job")[0]


def put(load, job_type, payload="{}", *, crashes=0, seconds=None):
    """Enqueue one job without a repository; its id. With `crashes` it has crashed so often before."""
    row = load.ask(
        "select job_id from queue.enqueue(gen_random_uuid(), null, %s, %s::jsonb, p_timeout_seconds => %s)",
        job_type, payload, seconds,
    )[0]  # fmt: skip
    if crashes:
        load.tell("update indexing_jobs set crashes = %s where id = %s", crashes, row["job_id"])
    return row["job_id"]


@pytest.fixture
def only_the_worker(scratch_dir):
    """Wait until nothing but a worker, its forkserver and resource tracker is left of it."""

    def wait(seconds=15):
        eventually(lambda: len(processes_of(scratch_dir)) <= 3, seconds=seconds, what="the end of what jobs started")

    return wait


def test_promise_4_what_a_job_forked_ends_with_it(start_worker, load, stop_all, only_the_worker):
    """Orphans that stay in the child's session are gone when the job is; other jobs never noticed."""
    worker = start_worker(WORKER_SLOTS="3")
    job = put(load, "fork", '{"seconds": 0.5}')
    others = load.put([("inline_nothing", {}), ("nothing", {})] * 10)
    assert end_of(load, job)["status"] == "completed"
    load.settle()
    load.check()
    assert len(others) == 20
    only_the_worker()
    stop_all(worker)


@pytest.mark.slow
def test_promise_4_a_process_that_leaves_its_session_is_known_to_escape(start_worker, load, stop_all, scratch_dir):
    """What calls setsid itself is out of reach of a kill by session: it lives on, and harms neither worker nor jobs.

    docs/writing-a-handler.md says so; only a container or a control group would catch it.
    """
    worker = start_worker()
    job = put(load, "fork", '{"marker": "away"}')
    assert end_of(load, job)["status"] == "completed"
    load.put([("nothing", {}), ("inline_nothing", {})])
    load.settle()
    escaped = [process for process in processes_of(scratch_dir) if "time.sleep(3600)" in " ".join(process.cmdline())]
    for process in escaped:
        process.kill()
    assert len(escaped) <= 1
    psutil.wait_procs(escaped, timeout=10)
    load.check()
    stop_all(worker)


def test_promise_4_eating_deaf_and_hanging_children_are_killed_and_the_others_go_on(
    start_worker, load, stop_all, only_the_worker
):
    """Memory without end, deafness to SIGTERM and a time limit at once, beside a load of good jobs."""
    worker = start_worker(WORKER_SLOTS="4", WORKER_MEMORY_MB="300")
    hog, deaf = put(load, "hog", crashes=2), put(load, "sleep", '{"seconds": 600}', seconds=2)
    load.tell("update indexing_jobs set max_attempts = 1 where id = %s", deaf)
    with load.flowing(100):
        assert end_of(load, hog)["error_class"] == "out_of_memory"
        assert end_of(load, deaf)["error_class"] == "timed_out"
        load.flow_on()
    load.settle()
    load.tell("delete from indexing_jobs where id = any (%s)", [hog, deaf])
    load.check()
    only_the_worker()
    assert worker.process.poll() is None
    stop_all(worker)


@pytest.mark.parametrize(
    "megabytes",
    [
        10,
        pytest.param(50, marks=pytest.mark.slow),
        pytest.param(1024, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_promise_4_a_flood_of_log_lines_drowns_nobody(start_worker, load, stop_all, tmp_path, megabytes):
    """One job logs as fast as it can: light jobs are done meanwhile, the log is sealed, the spool is empty."""
    worker = start_worker()
    before = load.usual_speed(1)
    job = put(load, "flood", f'{{"number": {megabytes}}}')
    eventually(lambda: load.ask("select from indexing_jobs where id = %s and attempt = 1", job), what="the claim")
    during = load.put([("inline_nothing", {})] * 1000, in_repositories=False)
    eventually(
        lambda: not load.ask("select from indexing_jobs where id = any (%s) and status <> 'completed'", during),
        what="the light jobs",
    )
    assert end_of(load, job, seconds=800)["status"] == "completed"
    load.settle()
    load.check()
    sealed = "select log_bytes from indexing_jobs where id = %s and log_sealed_at is not null"
    log = eventually(lambda: load.ask(sealed, job), seconds=300, what="the sealed log")[0]
    print(f"{log['log_bytes'] / 2**20:.0f} MB are kept of {megabytes} MB")
    assert list((tmp_path / "state" / "spool").glob("*.ndjson")) == []
    load.as_before(before, f"{megabytes} MB of log")
    stop_all(worker)

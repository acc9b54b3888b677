"""Promise 3 and 4 for git: a fetch that hangs dies with its worker, and at its job's time limit."""

import signal
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.fixtures.workers import eventually
from worker.job import new_job_id


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A git server that accepts connections and never says a word; its URL."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hangs.git"
        server.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


def gits_of(worker):
    """The git processes below a worker."""
    return [process for process in worker.descendants() if "git" in process.name()]


def gone(processes):
    """Whether none of these processes runs any more."""
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_promise_3_a_hanging_git_is_gone_within_seconds_of_its_workers_kill_9(
    start_worker, silent_server, make_repository, db
):
    """The worker is killed while git waits for a server: git and its helper are gone within 5 s."""
    db.execute(
        "select queue.enqueue(%s, %s, 'full_index', '{}')", (new_job_id(), make_repository(git_url=silent_server))
    )
    worker = start_worker(WORKER_ALLOW_PRIVATE_HOSTS="true")
    gits = eventually(lambda: gits_of(worker), what="a running git")
    tree = worker.descendants()
    worker.signal(signal.SIGKILL)
    eventually(lambda: gone([*tree, *gits]), seconds=5, what="death of git")


def test_promise_4_a_hanging_git_is_killed_at_the_time_limit(start_worker, silent_server, make_repository, db):
    """The attempt's time limit holds for git too, and the worker goes on."""
    job_id = new_job_id()
    db.execute(
        "select queue.enqueue(%s, %s, 'full_index', '{}', p_max_attempts => 1, p_timeout_seconds => 2)",
        (job_id, make_repository(git_url=silent_server)),
    )
    worker = start_worker(WORKER_ALLOW_PRIVATE_HOSTS="true")
    gits = eventually(lambda: gits_of(worker), what="a running git")
    row = eventually(
        lambda: db.execute("select error_class from indexing_jobs where status = 'failed'").fetchone(), what="the end"
    )
    assert row["error_class"] == "timed_out"
    assert gone(gits)
    assert worker.process.poll() is None

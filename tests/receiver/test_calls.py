"""The receiver wakes the workers that listen, and on request stops the run that a push has overtaken."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.workers import WorkerProcess, eventually
from tests.receiver.conftest import Proxy, Sender, make_push, make_settings, running
from worker.database.connect import connect
from worker.queue.wake import CHANNEL

Database = psycopg.Connection[dict[str, Any]]


@contextmanager
def _listening(url: str) -> Iterator[list[str]]:
    """What is called out on the channel."""
    heard, ended = list[str](), threading.Event()
    with connect(url, name="test listener") as connection:
        connection.execute(f"listen {CHANNEL}")

        def hear() -> None:
            while not ended.is_set():
                heard.extend(message.payload for message in connection.notifies(timeout=0.1))

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield heard
        finally:
            ended.set()
            thread.join()


def test_a_delivery_with_a_job_calls_the_workers(sender: Sender, database_url: str, db: Database) -> None:
    """After its commit: whoever hears the call finds the job. What makes no job calls nobody."""
    with _listening(database_url) as heard:
        sender.post(make_push("refs/heads/other"))
        sender.post(make_push(), event="star")
        sender.post({"zen": "x", "hook_id": 1}, event="ping")
        sender.post(make_push(), delivery="d-1")
        eventually(lambda: heard, what="the call")
        assert heard == ["incremental_update"]
        assert db.execute("select count(*) as n from indexing_jobs").fetchone() == {"n": 1}


def test_many_deliveries_call_only_now_and_then(sender: Sender, database_url: str) -> None:
    """Calls of one moment are one."""
    with _listening(database_url) as heard:
        started = time.monotonic()
        for _ in range(40):
            assert sender.post(make_push()).status_code == 202
        elapsed = time.monotonic() - started
        eventually(lambda: heard, what="the call")
        time.sleep(0.1)
        assert 1 <= len(heard) <= elapsed / 0.02 + 2


def test_the_last_call_goes_out_before_the_receiver_ends(database_url: str, make_sender: Callable[..., Sender]) -> None:
    """A stop right after a delivery loses no call."""
    with _listening(database_url) as heard:
        with running(make_settings(database_url)) as client:
            make_sender(client).post(make_push())
        eventually(lambda: heard == ["incremental_update"], seconds=2, what="the call")


def test_a_call_that_cannot_go_out_delays_no_answer_and_no_end(
    make_sender: Callable[..., Sender], proxy: Proxy
) -> None:
    """The call's way dies after the commit; the next delivery is answered as ever."""
    with running(make_settings(proxy.url)) as client:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 202
        proxy.cut()
        proxy.restore()
        eventually(lambda: sender.post(make_push()).status_code == 202, what="a delivery after the cut")
        proxy.freeze()
        started = time.monotonic()
    assert time.monotonic() - started < 8
    proxy.thaw()


@pytest.mark.parametrize("supersede", [True, False])
def test_a_push_stops_the_run_it_has_overtaken(
    database_url: str, make_sender: Callable[..., Sender], db: Database, supersede: bool
) -> None:
    """Only with WORKER_CANCEL_SUPERSEDED."""
    with running(make_settings(database_url, worker_cancel_superseded=supersede)) as client:
        sender = make_sender(client)
        job_id = sender.post(make_push()).json()["job_id"]
        _pretend_to_run(db)
        follow_up = sender.post(make_push()).json()["job_id"]
    assert follow_up != job_id
    row = db.execute("select cancel_requested_at, cancel_reason from indexing_jobs where id = %s", (job_id,)).fetchone()
    assert row is not None
    assert (row["cancel_reason"] == "superseded") is supersede
    assert (row["cancel_requested_at"] is not None) is supersede


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A git server that accepts connections and never says a word; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hangs.git"  # the backlog takes them in


def _pretend_to_run(db: Database) -> None:
    db.execute("insert into workers (id, hostname, pid, version, slots) values (gen_random_uuid(), 'here', 1, '1', 1)")
    claimed = db.execute("select id from queue.claim((select id from workers), array['incremental_update'], 1)")
    assert len(claimed.fetchall()) == 1


def test_a_superseded_run_is_killed_and_its_follow_up_answers_its_deliveries(
    database_url: str,
    make_sender: Callable[..., Sender],
    db: Database,
    start_worker: Callable[..., WorkerProcess],
    silent_server: str,
) -> None:
    """Through a real worker, whose fetch would hang for ever."""
    with running(make_settings(database_url, worker_cancel_superseded=True)) as client:
        sender = make_sender(client, git_url=silent_server)
        worker = start_worker(WORKER_ALLOW_PRIVATE_HOSTS="true")
        first = _post(sender, "d-1")
        eventually(lambda: _status(db, first) == "in_progress", what="the first run")
        second = _post(sender, "d-2")
        eventually(lambda: _status(db, first) == "cancelled", what="the end of the first run")
        eventually(lambda: _status(db, second) == "in_progress", what="the follow-up's run")
    row = db.execute("select error_class, error_message from indexing_jobs where id = %s", (first,)).fetchone()
    assert row == {"error_class": "superseded", "error_message": f"superseded by job {second}"}
    deliveries = db.execute("select job_id::text, status from webhook_deliveries order by id").fetchall()
    assert deliveries == [{"job_id": second, "status": "processing"}] * 2
    assert worker.process.poll() is None


def _post(sender: Sender, delivery: str) -> str:
    answer: httpx.Response = sender.post(make_push(), delivery=delivery)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


def _status(db: Database, job_id: str) -> str:
    row = db.execute("select status from indexing_jobs where id = %s", (job_id,)).fetchone()
    assert row is not None
    return row["status"]


def test_a_pushs_job_starts_at_once_however_seldom_workers_poll(
    database_url: str,
    make_sender: Callable[..., Sender],
    db: Database,
    start_worker: Callable[..., WorkerProcess],
    silent_server: str,
) -> None:
    """The worker polls once a minute; the call reaches it."""
    worker = start_worker(WORKER_ALLOW_PRIVATE_HOSTS="true", WORKER_POLL_SECONDS="60")
    eventually(lambda: worker.said("listening for new jobs"), what="the worker listens")
    with running(make_settings(database_url)) as client:
        job_id = _post(make_sender(client, git_url=silent_server), "d-1")
        eventually(lambda: _status(db, job_id) == "in_progress", seconds=10, what="the start")


def test_the_first_call_goes_along_with_its_delivery(sender: Sender, database_url: str, db: Database) -> None:
    """After a quiet moment nothing is sent but the delivery; the next ones are called for when the moment is over."""
    calls = "select query from pg_stat_activity where application_name = 'indexing-worker calls'"
    with _listening(database_url) as heard:
        assert sender.post(make_push()).status_code == 202
        eventually(lambda: heard, what="the call")
        assert db.execute(calls).fetchall() == [{"query": ""}]
        time.sleep(0.2)
        assert heard == ["incremental_update"]

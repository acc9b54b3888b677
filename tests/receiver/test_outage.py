"""The receiver when things die: itself, Postgres, the way between."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.fixtures.receivers import ReceiverProcess
from tests.receiver.conftest import KEYS, Proxy, Sender, make_push, make_settings, running

Database = psycopg.Connection[dict[str, Any]]
ROOT = Path(__file__).parents[2]
_SERVE = """
import os, sys
from worker.receiver.serve import serve
from worker.settings import Settings
settings = Settings(_env_file=None)
serve(settings, os.environ["DATABASE_URL"], ready=lambda port: print(port, flush=True))
print("stopped", flush=True)
"""

_LOCK_WAITERS = """
select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"""


@contextmanager
def _process(database_url: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A receiver in a process of its own."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "WORKER_MASTER_KEYS": KEYS,
        "WORKER_RECEIVER_PORT": "0",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def _until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come"
        time.sleep(0.02)


def test_promise_1_a_2xx_means_committed(database_url: str, make_sender: Callable[..., Sender], db: Database) -> None:
    """Kill -9 in a stream of posts: every delivery that was answered 2xx is there with its job."""
    with _process(database_url) as (process, client):
        senders = [make_sender(client) for _ in range(4)]
        accepted, refused = dict[str, str](), list[int]()
        threads = [threading.Thread(target=_stream, args=(sender, accepted, refused)) for sender in senders]
        for thread in threads:
            thread.start()
        _until(lambda: len(accepted) >= 80)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(20)
    assert not refused
    rows = db.execute(
        "select d.delivery_id, d.job_id::text from webhook_deliveries d join indexing_jobs j on j.id = d.job_id"
    ).fetchall()
    committed = {row["delivery_id"]: row["job_id"] for row in rows}
    assert len(accepted) >= 80
    assert accepted.items() <= committed.items()


def _stream(sender: Sender, accepted: dict[str, str], refused: list[int]) -> None:
    """Post until the receiver is gone."""
    for number in range(100_000):
        delivery = str(uuid.uuid4())
        try:
            answer = sender.post(
                make_push(f"refs/heads/{number % 3}", repository={"default_branch": str(number % 3)}), delivery=delivery
            )
        except httpx.TransportError:
            return
        if answer.is_success:
            accepted[delivery] = answer.json()["job_id"]
        else:
            refused.append(answer.status_code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_gracefully(number: signal.Signals, database_url: str) -> None:
    """The receiver ends by itself, with exit code 0, soon."""
    with _process(database_url) as (process, client):
        assert client.get("/health/live").status_code == 200
        client.close()
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert out == "stopped\n"
        assert process.returncode == 0


def test_without_postgres_it_says_so_within_two_seconds_and_recovers(
    proxy: Proxy, make_sender: Callable[..., Sender], db: Database
) -> None:
    """Postgres gone: 503 with Retry-After in time, the process lives; back again: accepted without a restart."""
    with running(make_settings(proxy.url, cache_ttl_seconds=0)) as client:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 202
        proxy.cut()
        _is_unavailable(sender)
        assert client.get("/health/live").status_code == 200
        proxy.restore()
        _until(lambda: sender.post(make_push()).status_code == 202)
        _until(lambda: client.get("/health").status_code == 200)
    assert db.execute("select count(*) as jobs from indexing_jobs").fetchone() == {"jobs": 1}


def test_it_starts_without_postgres(proxy: Proxy, make_sender: Callable[..., Sender]) -> None:
    """Started during an outage, the receiver answers 503 and takes deliveries once Postgres is there."""
    proxy.cut()
    with running(make_settings(proxy.url)) as client:
        sender = make_sender(client)
        _is_unavailable(sender)
        proxy.restore()
        _until(lambda: sender.post(make_push()).status_code == 202)


def test_the_command_starts_without_postgres(
    proxy: Proxy, start_receiver: Callable[..., ReceiverProcess], make_sender: Callable[..., Sender]
) -> None:
    """An outage is no reason to be away as well."""
    proxy.cut()
    receiver = start_receiver(database_url=proxy.url, WORKER_MASTER_KEYS=KEYS)
    with httpx.Client(base_url=receiver.url, timeout=10) as client:
        assert receiver.said("starting without Postgres: no delivery is taken until it is back")
        sender = make_sender(client)
        _is_unavailable(sender)
        proxy.restore()
        _until(lambda: sender.post(make_push()).status_code == 202)


def test_the_command_does_not_start_where_postgres_lets_nobody_in(
    database_url: str, start_receiver: Callable[..., ReceiverProcess]
) -> None:
    """A wrong user or password does not become right by waiting."""
    parts = urlsplit(database_url)
    stranger = parts._replace(netloc=f"nobody:wrong@{parts.netloc.rpartition('@')[2]}").geturl()
    assert start_receiver(database_url=stranger).wait(60) == 1


def test_a_silent_postgres_is_not_waited_for(proxy: Proxy, make_sender: Callable[..., Sender]) -> None:
    """Packets that vanish are worse than a refusal: the answer comes in time all the same, and recovery too."""
    with running(make_settings(proxy.url)) as client:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 202
        proxy.freeze()
        _is_unavailable(sender)
        proxy.thaw()
        _until(lambda: sender.post(make_push()).status_code == 202)


def test_a_locked_row_is_not_waited_for(sender: Sender, database_url: str, db: Database) -> None:
    """Somebody holds the queued job's row: 503 in time, and no session stays behind waiting in Postgres."""
    assert sender.post(make_push()).status_code == 202
    with psycopg.connect(database_url) as holder:
        holder.execute("select from indexing_jobs for update")
        _is_unavailable(sender, health=200)
        _until(lambda: db.execute(_LOCK_WAITERS).fetchone() == {"n": 0})
    assert sender.post(make_push()).status_code == 202


def test_a_killed_receiver_leaves_no_session_waiting(
    database_url: str, make_sender: Callable[..., Sender], db: Database
) -> None:
    """Kill -9 while Postgres waits for a lock: the server ends the statement by itself."""
    with _process(database_url) as (process, client), psycopg.connect(database_url) as holder:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 202
        holder.execute("select from indexing_jobs for update")
        with ThreadPoolExecutor(1) as threads:
            post = threads.submit(sender.post, make_push())
            _until(lambda: db.execute(_LOCK_WAITERS).fetchone() == {"n": 1})
            process.send_signal(signal.SIGKILL)
            assert isinstance(post.exception(10), httpx.TransportError)
        _until(lambda: db.execute(_LOCK_WAITERS).fetchone() == {"n": 0}, seconds=4)


def test_after_a_restart_of_postgres_the_next_posts_are_taken(
    database_url: str, make_sender: Callable[..., Sender], db: Database
) -> None:
    """All sessions of a busy pool end at once, as by a restart: a moment of 503 however many they were."""
    with running(make_settings(database_url, database_pool_size=12)) as client, ThreadPoolExecutor(24) as threads:
        sender = make_sender(client)
        assert {answer.status_code for answer in threads.map(sender.post, [make_push()] * 100)} == {202}
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        started = time.monotonic()
        _until(lambda: sender.post(make_push()).status_code == 202)
        assert time.monotonic() - started < 12  # each dead one by itself would cost a request its second and a half


def _is_unavailable(sender: Sender, health: int = 503) -> None:
    """Posts and health, asked at once, are answered soon: in two seconds on a machine that has time for them."""

    def timed(ask: Callable[[], httpx.Response]) -> httpx.Response:
        started = time.monotonic()
        answer = ask()
        assert time.monotonic() - started < 8  # and never as late as GitHub gives up, however busy the machine
        return answer

    with ThreadPoolExecutor(8) as threads:
        posts = [threads.submit(timed, lambda: sender.post(make_push())) for _ in range(7)]
        told = threads.submit(timed, lambda: sender.client.get("/health")).result()
    for post in posts:
        answer = post.result()
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["status"] == "unavailable"
    assert told.status_code == health
    assert told.json()["supabase_status"] == ("up" if health == 200 else "down")

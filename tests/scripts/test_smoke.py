"""scripts/smoke against real processes: green when the deployment works, and otherwise it says what does not."""

import http.server
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.proxy import Proxy
from tests.fixtures.receivers import KEYS, ReceiverProcess
from tests.fixtures.workers import WorkerProcess, eventually
from worker.credentials.master_keys import load_master_keys
from worker.receiver.provision import provision_secret
from worker.settings import Settings

SMOKE = Path(__file__).parents[2] / "scripts/smoke"


def smoke(*arguments: object, secret: str = "") -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [SMOKE, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "SMOKE_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_working_deployment_is_healthy_and_a_broken_one_says_why(
    start_worker: Callable[..., WorkerProcess],
    start_receiver: Callable[..., ReceiverProcess],
    make_repository: Callable[..., object],
    db: psycopg.Connection[dict[str, object]],
    database_url: str,
) -> None:
    """A receiver alone is not enough; with a worker it is green, with a signed ping too; a wrong secret is named."""
    receiver = start_receiver()
    alone = smoke(receiver.url)
    assert alone.returncode == 1
    assert "No worker has been seen" in alone.stderr
    worker = start_worker()
    port = eventually(lambda: worker.said("worker starts"), seconds=60, what="the worker")[0]["metrics_port"]
    repository = make_repository()
    settings = Settings(_env_file=None, database_url=database_url, worker_master_keys=KEYS)  # type: ignore[call-arg]
    secret = provision_secret(db, load_master_keys(settings), repository)  # type: ignore[arg-type]
    where = ["--repository", repository, "--worker", f"http://127.0.0.1:{port}"]
    green = smoke(receiver.url, "--wait", 60, *where, secret=secret)
    assert green.returncode == 0, green.stderr
    assert green.stdout.startswith("healthy: ")
    wrong = smoke(receiver.url, *where, secret="guessed")
    assert wrong.returncode == 1
    assert "wrong secret" in wrong.stderr
    assert "guessed" not in wrong.stderr
    mistaken = smoke(f"http://127.0.0.1:{port}")
    assert mistaken.returncode == 1
    assert re.fullmatch("not healthy: .* is a worker. Give the receiver's address, .*\n", mistaken.stderr)
    receiver.signal(signal.SIGTERM)
    assert receiver.wait() == 0
    gone = smoke(receiver.url)
    assert gone.returncode == 1
    assert "no answer" in gone.stderr
    assert len(gone.stderr.splitlines()) == 1


def test_a_deployment_without_postgres_is_not_healthy(
    start_receiver: Callable[..., ReceiverProcess], proxy: Proxy
) -> None:
    """The receiver lives on without its database, and says so."""
    receiver = start_receiver(database_url=proxy.url)
    assert receiver.port
    proxy.refuse()
    proxy.cut()
    done = smoke(receiver.url)
    assert done.returncode == 1
    assert "Postgres does not answer" in done.stderr


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of another program, which sends everybody elsewhere."""

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_another_program_at_the_address_is_not_taken_for_ours(stranger: str) -> None:
    """A redirect is no health, because GitHub would not follow it."""
    done = smoke(stranger)
    assert done.returncode == 1
    assert re.search("answers 301.*redirect", done.stderr)


@pytest.mark.parametrize(
    "arguments", [[], ["indexing-worker.fly.dev"], ["http://x", "--repository", "7"], ["http://x/webhooks/github/7"]]
)
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    """Exit code 2 and a sentence."""
    assert smoke(*arguments).returncode == 2

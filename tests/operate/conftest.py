"""A deployment as an operator has it: receivers and workers as processes, scraped by a real Prometheus."""

import contextlib
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from scripts.lib.alerts import rules
from tests.fixtures.prometheus import Prometheus
from tests.fixtures.workers import ROOT, SETTINGS, WorkerProcess, eventually
from worker.credentials.master_keys import load_master_keys
from worker.job import new_job_id
from worker.receiver.provision import provision_secret
from worker.receiver.signature import sign
from worker.settings import Settings

KEYS = "k1=" + "0123456789abcdef" * 2
OFTEN = {"WORKER_METRICS_SECONDS": "0.3"}


@pytest.fixture
def shorter() -> int:
    """The alerts' times are divided by this; a test may be parametrized with another number."""
    return 100


class ReceiverProcess:
    """One `worker receive`, on a free port; ended with the test."""

    def __init__(self, database_url: str, state_dir: Path, **settings: str) -> None:
        environment = {
            **SETTINGS,
            **OFTEN,
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
        }
        environment |= {"WORKER_MASTER_KEYS": KEYS, "WORKER_STATE_DIR": str(state_dir)} | settings
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", "receive", "--port", "0"], cwd=state_dir, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens, once it does."""
        said = [line for line in self.lines if line.get("event") == "receiver listens"]
        return said[0]["port"] if said else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                self.lines.append(json.loads(line))


@dataclass(slots=True)
class Deployment:
    """What runs, and how to use it."""

    db: psycopg.Connection[dict[str, Any]]
    prometheus: Prometheus
    start_receiver: Callable[..., ReceiverProcess]
    start_worker: Callable[..., WorkerProcess]
    make_repository: Callable[..., uuid.UUID]
    database_url: str
    receiver: ReceiverProcess | None = None
    workers: list[WorkerProcess] = field(default_factory=list)

    def receive(self, **settings: str) -> ReceiverProcess:
        """Start the receiver and scrape it."""
        self.receiver = receiver = self.start_receiver(**settings)
        port = eventually(lambda: receiver.port, seconds=60, what="the receiver's port")
        self.prometheus.scrape(port)
        return receiver

    def work(self, **settings: str) -> WorkerProcess:
        """Start another worker and scrape it."""
        worker = self.start_worker(state=f"worker-{len(self.workers)}", **OFTEN | settings)
        self.workers.append(worker)
        self.prometheus.scrape(port_of(worker))
        return worker

    def put(self, job_type: str, jobs: int = 1, **payload: Any) -> list[uuid.UUID]:
        """Enqueue jobs, each for a repository of its own; their ids."""
        return [self._put(job_type, payload) for _ in range(jobs)]

    def _put(self, job_type: str, payload: dict[str, Any]) -> uuid.UUID:
        job_id = new_job_id()
        row = (job_id, self.make_repository(), job_type, Jsonb(payload))
        self.db.execute("select * from queue.enqueue(%s, %s, %s, %s)", row)
        return job_id

    def push(self, repository: uuid.UUID, secret: str) -> int:
        """One signed push to the receiver; the status it answers."""
        assert self.receiver is not None
        body = json.dumps({
            "ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "created": False, "deleted": False,
            "forced": False, "commits": [], "repository": {"id": 7, "full_name": "acme/repo", "default_branch": "main"},
        }).encode()  # fmt: skip
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": sign(body, secret),
        }
        url = f"http://127.0.0.1:{self.receiver.port}/webhooks/github/{repository}"
        return httpx.post(url, content=body, headers=headers, timeout=20).status_code

    def secret(self, repository: uuid.UUID) -> str:
        """The repository's webhook secret."""
        settings = Settings(_env_file=None, database_url=self.database_url, worker_master_keys=KEYS)  # type: ignore[call-arg]
        return provision_secret(self.db, load_master_keys(settings), repository)

    def fires(self, alert: str) -> None:
        """Wait until this alert fires."""
        name = f"IndexingWorker{alert}"
        eventually(lambda: name in self.prometheus.firing(), seconds=90, what=f"the alert {name}")

    def clears(self, alert: str) -> None:
        """Wait until it fires no more."""
        name = f"IndexingWorker{alert}"
        eventually(lambda: name not in self.prometheus.firing(), seconds=90, what=f"the end of the alert {name}")


def port_of(worker: WorkerProcess) -> int:
    """Where its metrics are."""
    return eventually(lambda: worker.said("worker starts"), seconds=60, what="a worker's start")[0]["metrics_port"]


@pytest.fixture
def start_receiver(database_url: str, tmp_path: Path) -> Iterator[Callable[..., ReceiverProcess]]:
    """Start receivers; they end with the test. `database_url` leads elsewhere, the rest are settings."""
    started: list[ReceiverProcess] = []

    def start(*, database_url: str = database_url, **settings: str) -> ReceiverProcess:
        folder = tmp_path / "receiver"
        folder.mkdir(exist_ok=True)
        started.append(ReceiverProcess(database_url, folder, **settings))
        return started[-1]

    yield start
    for receiver in started:
        receiver.process.kill()
        receiver.process.wait(10)


@pytest.fixture
def deployment(
    db: psycopg.Connection[dict[str, Any]],
    start_prometheus: Callable[..., Prometheus],
    start_receiver: Callable[..., ReceiverProcess],
    start_worker: Callable[..., WorkerProcess],
    make_repository: Callable[..., uuid.UUID],
    database_url: str,
    shorter: int,
) -> Deployment:
    """Nothing but a Prometheus with the alerts, their times shortened."""
    prometheus = start_prometheus(rules(shorter))
    return Deployment(db, prometheus, start_receiver, start_worker, make_repository, database_url)

"""A release on Fly, rehearsed: three workers and two receivers, a new version and its migration rolled in under load.

The signals and the time-outs are those of fly.toml. What stands for Fly's proxy sends each delivery to a receiver that
takes connections, and to the other where one is refused; whatever happens after that, GitHub would see.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.git_repositories import GitRepository
from tests.fixtures.load import Load
from tests.fixtures.receivers import KEYS, ReceiverProcess
from tests.fixtures.workers import WorkerProcess, eventually
from worker.credentials.master_keys import load_master_keys
from worker.receiver.provision import provision_secret
from worker.receiver.signature import sign
from worker.settings import Settings

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
FLY = tomllib.loads((ROOT / "fly.toml").read_text("utf-8"))
KILL_SIGNAL = signal.Signals[FLY["kill_signal"]]
KILL_TIMEOUT = FLY["kill_timeout"]
DRAIN = {"WORKER_DRAIN_SECONDS": FLY["env"]["WORKER_DRAIN_SECONDS"], "WORKER_LEASE_SECONDS": "20"}
NEXT_VERSION = "99.0.0"
NEXT_MIGRATION = """
alter table public.indexing_jobs add column if not exists rehearsed_at timestamptz;
create table public.rehearsals (id bigint primary key, at timestamptz not null default now());
alter table public.rehearsals enable row level security;
revoke all on public.rehearsals from anon, authenticated;
"""


class GitHub:
    """Commits to repositories and posts a signed push of each commit, a connection each, and remembers the answers."""

    def __init__(self, db: psycopg.Connection[dict[str, Any]], database_url: str, receivers: list[str]) -> None:
        self.receivers = receivers
        self.answers: dict[str, int | str] = {}
        self._db, self._targets = db, list[tuple[uuid.UUID, GitRepository, str]]()
        self._keys = load_master_keys(
            Settings(_env_file=None, database_url=database_url, worker_master_keys=KEYS)  # type: ignore[call-arg]
        )

    def know(self, repository: uuid.UUID, git: GitRepository) -> None:
        """Send pushes of this repository from now on."""
        self._targets.append((repository, git, provision_secret(self._db, self._keys, repository)))

    @contextmanager
    def pushing(self, pause: float = 0.1) -> Iterator[None]:
        """Meanwhile a push comes every now and then, for one repository after the other."""
        ended, failures = threading.Event(), list[BaseException]()

        def push_on() -> None:
            try:
                number = 0
                while not ended.wait(pause):
                    self._push(*self._targets[number % len(self._targets)], number)
                    number += 1
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=push_on, name="GitHub")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(60)
        assert not failures, failures

    def go_on(self, pushes: int) -> None:
        """Wait until so many more were answered."""
        until = len(self.answers) + pushes
        eventually(lambda: len(self.answers) >= until, seconds=100, what=f"{pushes} more pushes")

    def _push(self, repository: uuid.UUID, git: GitRepository, secret: str, number: int) -> None:
        before = git.head
        after = git.commit({f"m{number % 7}.py": f"def f{number}():\n    return {number}\n"}, f"Change {number}")
        payload = {
            "ref": "refs/heads/main", "before": before, "after": after, "created": False, "deleted": False,
            "forced": False, "commits": [{"added": [], "modified": [f"m{number % 7}.py"], "removed": []}],
            "repository": {"id": 7, "full_name": "acme/repo", "default_branch": "main"},
        }  # fmt: skip
        delivery = str(uuid.uuid4())
        self.answers[delivery] = self._post(repository, json.dumps(payload).encode(), secret, delivery)

    def _post(self, repository: uuid.UUID, body: bytes, secret: str, delivery: str) -> int | str:
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": sign(body, secret),
        }
        for receiver in list(self.receivers):
            try:
                with httpx.Client(timeout=10) as client:  # as long as GitHub waits
                    return client.post(
                        f"{receiver}/webhooks/github/{repository}", content=body, headers=headers
                    ).status_code
            except httpx.ConnectError:
                continue  # nobody took the connection: the proxy asks the next
            except httpx.HTTPError as failure:
                return f"{type(failure).__name__} from {receiver}"
        return "no receiver took the connection"


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """The program with another version and one more migration: what the deploy brings."""
    release = tmp_path / "next"
    for name in ("worker", "supabase"):
        shutil.copytree(ROOT / name, release / name, ignore=shutil.ignore_patterns("__pycache__"))
    facts = release / f"indexing_worker-{NEXT_VERSION}.dist-info"  # found before the installed one's
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: indexing-worker\nVersion: {NEXT_VERSION}\n")
    (release / "supabase/migrations/20981231000000_rehearsal.sql").write_text(NEXT_MIGRATION, encoding="utf-8")
    return release


def release_command(release: Path, database_url: str) -> str:
    """What fly.toml runs before the first new process starts; its output."""
    done = subprocess.run(
        [sys.executable, "-m", *FLY["deploy"]["release_command"].split()],
        cwd=release,
        env={**os.environ, "PYTHONPATH": str(release), "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def end(process: WorkerProcess | ReceiverProcess) -> None:
    """As Fly ends a Machine: the signal, and SIGKILL after the time-out, which must not be needed."""
    process.signal(KILL_SIGNAL)
    assert process.wait(KILL_TIMEOUT) == 0
    assert [line for line in process.lines if line.get("level") in ("error", "critical")] == []


@pytest.mark.slow
def test_promise_3_a_release_with_a_migration_loses_repeats_and_refuses_nothing(
    start_worker: Callable[..., WorkerProcess],
    start_receiver: Callable[..., ReceiverProcess],
    load: Load,
    db: psycopg.Connection[dict[str, Any]],
    database_url: str,
    next_release: Path,
    make_repository: Callable[..., uuid.UUID],
    git_repository: Callable[..., GitRepository],
) -> None:
    """Every push is answered with 2xx and indexed, every job is completed once, and the new version runs at the end."""
    new = {"PYTHONPATH": f"{next_release}:{ROOT}", **DRAIN}
    workers = [start_worker(state=f"old-{number}", **DRAIN) for number in range(3)]
    receivers = [start_receiver(state=f"old-receiver-{number}") for number in range(2)]
    github = GitHub(db, database_url, [receiver.url for receiver in receivers])
    gits = [git_repository(f"repo-{number}", {"README.md": "# hello\n"}) for number in range(4)]
    repositories = [make_repository(git_url=git.url) for git in gits]
    for repository, git in zip(repositories, gits, strict=True):
        github.know(repository, git)
    load.usual_speed(3)
    with load.flowing(), github.pushing():
        github.go_on(10)
        assert "rehearsal" in release_command(next_release, database_url)
        github.go_on(10)
        for number, receiver in enumerate(receivers):
            newer = start_receiver(state=f"new-receiver-{number}", **new)
            github.receivers.append(newer.url)
            end(receiver)
            github.receivers.remove(receiver.url)
            github.go_on(10)
        for number, worker in enumerate(workers):
            end(worker)
            start_worker(state=f"new-{number}", **new)
            load.flow_on(50)
        github.go_on(10)
    load.settle(200)
    load.check()
    assert set(github.answers.values()) == {202}
    deliveries = load.ask("select delivery_id, status from webhook_deliveries")
    assert {row["delivery_id"] for row in deliveries} == set(github.answers)
    assert [row for row in deliveries if row["status"] != "processed"] == []
    for repository, git in zip(repositories, gits, strict=True):
        assert load.ask("select last_indexed_commit from repositories where id = %s", repository) == [
            {"last_indexed_commit": git.head}
        ]
    assert load.ask("select from indexing_job_events where event_type in ('rescue', 'retry')") == []
    running = load.ask("select distinct version from workers where state = 'running'")
    assert [row["version"] for row in running] == [NEXT_VERSION]
    assert {httpx.get(f"{url}/health").json()["version"] for url in github.receivers} == {NEXT_VERSION}
    print(f"{len(github.answers)} pushes, {len(load.jobs)} other jobs, 5 processes replaced")


def test_a_receiver_is_replaced_without_a_failed_delivery(
    start_receiver: Callable[..., ReceiverProcess],
    db: psycopg.Connection[dict[str, Any]],
    database_url: str,
    make_repository: Callable[..., uuid.UUID],
    git_repository: Callable[..., GitRepository],
) -> None:
    """Whoever was let in is answered: the open requests of a receiver that ends are finished."""
    old, other = start_receiver(state="old"), start_receiver(state="other")
    github = GitHub(db, database_url, [old.url, other.url])
    github.know(make_repository(), git_repository("repo", {"README.md": "# hello\n"}))
    with github.pushing(pause=0.0):
        github.go_on(20)
        end(old)
        github.go_on(20)
    assert set(github.answers.values()) == {202}
    rows = db.execute("select count(*) as n from webhook_deliveries").fetchone()
    assert rows == {"n": len(github.answers)}

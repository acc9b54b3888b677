"""A storm of deliveries while Postgres restarts and the receiver is killed: nothing is lost, nothing is twice."""

import json
import random
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.git_server import GIT_ENVIRONMENT
from tests.fixtures.own_server import OwnServer
from tests.fixtures.proxy import held_port
from tests.fixtures.receivers import KEYS, ReceiverProcess
from tests.fixtures.workers import eventually
from tests.receiver import samples
from tests.receiver.conftest import make_settings
from tests.receiver.github_sender import GitHubSender
from worker.credentials.master_keys import load_master_keys
from worker.database.connect import connect
from worker.errors import DatabaseUnavailable
from worker.receiver.provision import provision_secret

_COMMITS = 4
_LEFT = "select (select count(*) from queue.waiting) + (select count(*) from queue.running) as n"
_ENDS = "select status, count(*) as n from indexing_jobs group by status"
_DELIVERIES = "select delivery_id, status from webhook_deliveries"
_INDEX = """
select r.id, f.path, encode(b.oid, 'hex') as oid
from repositories r left join idx.files f on f.repo_no = r.repo_no left join idx.blobs b on b.id = f.blob_id"""


@dataclass(slots=True)
class Pushed:
    """A repository at GitHub: its commits, of which the storm makes one after another the branch's tip."""

    path: Path
    commits: list[str]
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    secret: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, number: int) -> None:
        """Move the branch forward to this commit; never back."""
        with self.lock:
            ref = self.path / "refs/heads/main"
            if self.commits.index(ref.read_text().strip()) < number:
                ref.with_suffix(".new").write_text(self.commits[number] + "\n")
                ref.with_suffix(".new").rename(ref)

    def tree(self) -> dict[str, str]:
        """Path → oid of the branch."""
        command = ["git", f"--git-dir={self.path}", "ls-tree", "-r", "main"]
        lines = subprocess.run(command, env=GIT_ENVIRONMENT, check=True, capture_output=True, text=True).stdout
        return {path: facts.split()[2] for facts, path in (line.split("\t") for line in lines.splitlines())}


def _made(path: Path, number: int) -> Pushed:
    """A bare repository whose commits add, change and remove files."""
    lines = []
    for commit in range(_COMMITS):
        text = f"def f{number}_{commit}():\n    return {commit}\n"
        who = f"t <t@example.org> {1000 + commit} +0000"
        lines.append(f"commit refs/heads/main\nmark :{commit + 1}\ncommitter {who}\ndata 1\nx")
        lines.append(f"M 100644 inline always.py\ndata {len(text)}\n{text}")
        lines.append(f"M 100644 inline c{commit}.py\ndata {len(text)}\n{text}")
        if commit:
            lines.append(f"D c{commit - 1}.py")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], env=GIT_ENVIRONMENT, check=True)
    marks = path / "marks"
    command = ["git", f"--git-dir={path}", "fast-import", "--quiet", f"--export-marks={marks}"]
    subprocess.run(command, input="\n".join(lines) + "\n", env=GIT_ENVIRONMENT, check=True, text=True)
    commits = [line.split()[1] for line in sorted(marks.read_text().splitlines())]
    (path / "refs/heads/main").write_text(commits[0] + "\n")
    return Pushed(path, commits)


def _registered(url: str, repositories: list[Pushed]) -> None:
    keys = load_master_keys(make_settings(url, worker_master_keys=KEYS))
    owners = [uuid.uuid4() for _ in range(10)]
    with connect(url, name="test") as connection:
        for owner in owners:
            connection.execute("insert into auth.users (id) values (%s)", (owner,))
        for number, each in enumerate(repositories):
            connection.execute(
                "insert into repositories (id, user_id, name, git_url, default_branch)"
                " values (%s, %s, 'r', %s, 'main')",
                (each.id, owners[number % 10], f"file://{each.path}"),
            )
            each.secret = provision_secret(connection, keys, each.id)


class Storm:
    """Sends as many deliveries as are let go, each until it was answered with 202, and remembers which were."""

    def __init__(self, port: int, repositories: list[Pushed], deliveries: int) -> None:
        self._port, self._repositories = port, repositories
        self.wanted = [f"storm-{number}" for number in range(deliveries)]
        self.answered: set[str] = set()
        self.refused = 0
        self._order = list(range(deliveries))
        random.Random(7).shuffle(self._order)
        self._may_go = threading.Semaphore(0)

    def let_go(self, part: float) -> None:
        """This part of all deliveries may be sent from now on."""
        self._may_go.release(round(part * len(self._order)))

    def run(self) -> None:
        """Until all are answered; deliveries of a repository come out of order, and one in ten twice."""
        with ThreadPoolExecutor(16) as threads:
            again = [number for number in self._order if number % 10 == 0]
            self._may_go.release(len(again))
            list(threads.map(self._send, self._order + again))

    def _send(self, number: int) -> None:
        self._may_go.acquire()
        repository = self._repositories[number % len(self._repositories)]
        step = number // len(self._repositories) % _COMMITS
        repository.show(step)
        before = repository.commits[step - 1] if step else "0" * 40
        body = json.dumps(samples.push(before=before, after=repository.commits[step])).encode()
        github = GitHubSender(self._port, f"/webhooks/github/{repository.id}", repository.secret)
        deadline = time.monotonic() + 120
        while True:
            try:
                status = github.post(body, delivery=self.wanted[number], timeout=10).status
            except OSError:
                status = 0
            if status == 202:
                self.answered.add(self.wanted[number])
                return
            assert status in (0, 503), status
            assert time.monotonic() < deadline, "the receiver did not come back"
            self.refused += 1
            time.sleep(0.05)


@pytest.mark.parametrize("is_spooled", [False, True])
@pytest.mark.parametrize(
    ("deliveries", "count"),
    [
        pytest.param(120, 5, marks=pytest.mark.timeout(600)),
        pytest.param(10_000, 500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_promises_1_and_11_a_storm_loses_nothing(
    own_server: OwnServer,
    start_receiver: Callable[..., ReceiverProcess],
    start_worker: Callable[..., Any],
    tmp_path: Path,
    deliveries: int,
    count: int,
    *,
    is_spooled: bool,
) -> None:
    """Postgres restarts twice and the receiver is killed twice: every 202 is in the table once, every job ends, and the
    index is the tree.
    """
    repositories = [_made(tmp_path / f"r{number}.git", number) for number in range(count)]
    _registered(own_server.url, repositories)
    given = {"WORKER_RECEIVER_SPOOL_DIR": str(tmp_path / "spool")} if is_spooled else {}
    with held_port() as port:

        def receive() -> ReceiverProcess:
            receiver = start_receiver(database_url=own_server.url, port=port, **given)
            receiver.port  # noqa: B018  (waits for it)
            return receiver

        receiver = receive()
        start_worker(database_url=own_server.url, WORKER_LOG_LEVEL="warning")
        storm = Storm(port, repositories, deliveries)
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(storm.run)
            storm.let_go(0.2)
            for turn in (1, 2, 3, 4):
                wanted = deliveries * turn // 5
                eventually(lambda wanted=wanted: len(storm.answered) >= wanted or running.done(), seconds=600)
                assert not running.done()
                storm.let_go(0.1)  # on its way when the fault strikes
                if turn % 2:
                    own_server.stop("immediate")
                    storm.let_go(0.1)  # comes while it lasts
                    threading.Event().wait(1)
                    own_server.start()
                else:
                    receiver.signal(signal.SIGKILL)
                    storm.let_go(0.1)
                    receiver.wait(10)
                    receiver = receive()
            running.result(1200)
        eventually(lambda: not list((tmp_path / "spool").glob("*.posts")), seconds=60, what="the end of the spool")
        eventually(lambda: _ask(own_server.url, _LEFT) == [{"n": 0}], seconds=2400, what="the end of all jobs")
    assert storm.refused > 0  # it did meet an outage
    rows = _ask(own_server.url, _DELIVERIES)
    assert sorted(row["delivery_id"] for row in rows) == sorted(storm.wanted)
    assert storm.answered == set(storm.wanted)
    assert {row["status"] for row in rows} == {"processed"}
    assert {row["status"] for row in _ask(own_server.url, _ENDS)} <= {"completed", "cancelled"}
    _is_the_tree(own_server.url, repositories)


def _is_the_tree(url: str, repositories: list[Pushed]) -> None:
    indexed: dict[uuid.UUID, dict[str, str]] = {each.id: {} for each in repositories}
    for row in _ask(url, _INDEX):
        if row["path"] is not None:
            indexed[row["id"]][row["path"]] = row["oid"]
    for each in repositories:
        assert each.commits.index((each.path / "refs/heads/main").read_text().strip()) == _COMMITS - 1
        assert indexed[each.id] == each.tree()


def _ask(url: str, query: Any) -> list[dict[str, Any]]:
    """Its rows; none while Postgres is away."""
    try:
        with connect(url, name="test") as connection:
            return connection.execute(query).fetchall()
    except DatabaseUnavailable:
        return []

"""`worker index`: with its own worker and with another's, interrupted, and as part of what pushes ask for."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.cli.conftest import USER
from tests.fixtures.own_server import OwnServer
from tests.fixtures.workers import WorkerProcess, eventually
from worker.database.connect import connect

Worker = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]
SOURCE = {"app.py": "def main():\n    return 1\n", "lib/deep/tool.py": "class Tool:\n    pass\n"}


def test_index_search_logs(worker: Worker, git_repository: Callable[..., Any]) -> None:
    """One command from a path below the top to a searchable index; its worker has ended afterwards."""
    made = git_repository("project", files=SOURCE)
    ended = worker("index", str(made.path / "lib"), "--json")
    result = ended.json
    assert (ended.code, ended.err) == (0, "")
    assert (result["status"], result["files"], result["commit"]) == ("completed", 2, made.head)
    assert [child for child in psutil.Process().children() if "worker.cli.owned" in " ".join(child.cmdline())] == []

    (hit,) = worker("search", "def main", "--json").json
    assert (hit["repository"], hit["path"], hit["line"]) == ("project", "app.py", 1)
    assert worker("search", "DEF MAIN").out == "project/app.py:1:def main():\n"
    assert worker("symbols", "Tool").out.split() == ["class", "Tool", "project/lib/deep/tool.py:1"]
    assert "python    2      4      2" in worker("repo", "show", "project").out

    lines = [json.loads(line) for line in worker("logs", result["job_id"], "--json").out.splitlines()]
    assert lines[-1]["event"] == "complete"
    followed = worker("logs", result["job_id"][-12:], "--follow")
    assert followed.code == 0
    assert len(followed.out.splitlines()) == len(lines)
    assert "complete" in worker("job", result["job_id"]).out


@pytest.mark.parametrize("state", ["empty", "detached"])
def test_unusual_repositories(worker: Worker, git_repository: Callable[..., Any], state: str) -> None:
    """One without a commit fails with a sentence; one with a detached HEAD is indexed where it stands."""
    made = git_repository("project")
    if state == "empty":
        ended = worker("index", str(made.path))
        assert (ended.code, ended.out) == (1, "")
        assert "has no commit" in ended.err
        assert "`worker logs " in ended.err
        return
    first = made.commit(SOURCE)
    made.commit({"app.py": None})
    made.git("checkout", "--quiet", first)
    assert worker("index", str(made.path), "--json").json["commit"] == first


def test_a_branch_that_is_not_there_is_not_tracked(worker: Worker, git_repository: Callable[..., Any]) -> None:
    """A slip of the hand leaves nothing that pushes and comparisons would go on looking for."""
    made = git_repository("project", files=SOURCE)
    for _ in range(2):  # as the main branch of a new repository, then beside the main branch
        ended = worker("index", str(made.path), "--branch", "mian")
        assert ended.code == 1
        assert "has no branch mian" in ended.err
        shown = worker("repo", "show", "project", "--json").json
        assert (shown["branch"], shown["branches"] or []) == (None, [])
    assert worker("index", str(made.path), "--json").json["status"] == "completed"


@pytest.mark.parametrize("words", [("index",), ("repo", "add")])
@pytest.mark.parametrize("branch", ["no such", "", "a..b", "-x"])
def test_no_branch_has_such_a_name(worker: Worker, words: tuple[str, ...], branch: str) -> None:
    """Wrong usage, said before anything is registered."""
    ended = worker(*words, ".", f"--branch={branch}")
    assert (ended.code, ended.out) == (2, "")
    assert "is not a name a branch can have" in " ".join(ended.err.replace("│", " ").split())
    assert worker("repo", "list", "--json").json == []


def test_a_running_worker_is_used(
    worker: Worker, git_repository: Callable[..., Any], start_worker: Callable[..., WorkerProcess]
) -> None:
    """No second worker is started where one takes jobs; it is still there afterwards."""
    other = start_worker()
    eventually(lambda: worker("status", "--json").json["workers"], what="the worker has registered")
    made = git_repository("project", files=SOURCE)
    job_id = worker("index", str(made.path), "--json").json["job_id"]
    (claim,) = [event for event in worker("job", job_id, "--json").json["events"] if event["event_type"] == "claim"]
    assert [claim["context"]["worker"]] == [row["id"] for row in worker("status", "--json").json["workers"]]
    assert other.process.poll() is None


def test_detached_and_coalesced(worker: Worker, git_repository: Callable[..., Any], db: Any) -> None:
    """--detach only enqueues; the same branch asked for again, by a person or a push, is the same job."""
    made = git_repository("project", files=SOURCE)
    first = worker("index", str(made.path), "--detach", "--json").json
    assert first["status"] == "queued"
    assert worker("index", str(made.path), "--detach", "--json").json["job_id"] == first["job_id"]
    db.execute("update public.repositories set default_branch = 'main'")
    worker("index", str(made.path), "--detach")
    keys = [row["coalesce_key"] for row in db.execute("select coalesce_key from public.indexing_jobs order by id")]
    assert keys[-1] == f"index:{first['repository_id']}:refs/heads/main"


def test_follow_waits_for_a_queued_job(worker: Worker, start: Start, git_repository: Callable[..., Any]) -> None:
    """`logs --follow` of a queued job says that it waits, prints what comes from another process, and ends with it."""
    made = git_repository("project", files=SOURCE)
    job_id = worker("index", str(made.path), "--detach", "--json").json["job_id"]
    following = start("logs", job_id, "--follow")
    assert following.stderr is not None
    eventually(lambda: "no worker is running" in (following.stderr.readline() if following.stderr else ""))
    assert worker("index", str(made.path), "--json").json["job_id"] == job_id
    out, _ = following.communicate(timeout=20)
    assert following.returncode == 0
    assert "attempt started" in out
    assert " complete " in out


def test_follow_goes_on_when_postgres_comes_back(
    start: Start, git_repository: Callable[..., Any], own_server: OwnServer
) -> None:
    """`logs --follow` says once that it waits, and then prints what it would have printed."""
    made, database = git_repository("project", files=SOURCE), {"DATABASE_URL": own_server.url}
    with connect(own_server.url, name="test") as connection:
        connection.execute("insert into auth.users (id) values (%s)", (USER,))
    out, err = start("index", str(made.path), "--detach", "--json", **database).communicate(timeout=60)
    assert out, err
    job_id = json.loads(out)["job_id"]
    following = start("logs", job_id, "--follow", **database)
    assert following.stderr is not None
    said: list[str] = []
    reading = threading.Thread(target=lambda: said.extend(following.stderr or ()), daemon=True)
    reading.start()
    eventually(lambda: "no worker is running" in "".join(said), what="the sentence about workers")
    own_server.stop()
    eventually(lambda: "Trying again" in "".join(said), what="the sentence about Postgres")
    own_server.start()
    start("index", str(made.path), **database).communicate(timeout=60)
    assert following.stdout is not None
    assert " complete " in following.stdout.read()
    assert following.wait(30) == 0
    reading.join(10)
    assert "".join(said).count("Trying again") == 1


@pytest.fixture
def stuck(worker: Worker, db: Any, git_repository: Callable[..., Any]) -> Any:
    """A repository whose job stays in its first step, as behind a lock: there is time to interrupt it."""
    made = git_repository("project", files=SOURCE)
    worker("repo", "add", str(made.path))
    with db.transaction():
        db.execute("lock table public.repository_branches in access exclusive mode")
        yield made


def interrupted(start: Start, made: Any, number: signal.Signals) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """`worker index`, sent a signal in the middle of its job; and every process it had started."""
    index = start("index", str(made.path))
    tree = eventually(lambda: _busy(index.pid), what="the attempt runs")
    index.send_signal(number)
    return index, tree


def _busy(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children(recursive=True)
    return found if len(found) >= 5 else []  # worker, forkserver, its tracker, child, nursery


def alive(processes: list[psutil.Process]) -> list[str]:
    """Which of them still run."""
    return [process.name() for process in processes if process.is_running() and process.status() != "zombie"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle(start: Start, stuck: Any, db: Any, number: signal.Signals, code: int) -> None:
    """Its worker ends at once, nothing is left running, and the job is back in the queue at no cost."""
    index, tree = interrupted(start, stuck, number)
    started = time.monotonic()
    _, err = index.communicate(timeout=15)
    assert time.monotonic() - started < 10
    assert index.returncode == code
    assert "is back in the queue" in err
    eventually(lambda: not alive(tree), seconds=5, what="everything it started is gone")
    row = db.execute("select status, errors, crashes from public.indexing_jobs").fetchone()
    assert row == {"status": "queued", "errors": 0, "crashes": 0}


def test_killed_in_the_middle(start: Start, stuck: Any) -> None:
    """A command that cannot tidy up leaves no worker behind either: that ends with its standard input."""
    index, tree = interrupted(start, stuck, signal.SIGKILL)
    assert index.wait(5) == -signal.SIGKILL
    eventually(lambda: not alive(tree), seconds=15, what="everything it started is gone")

"""`worker demo` from nothing: the embedded Postgres, both processes, two jobs, and nothing left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures.workers import ROOT, eventually
from worker.database.embedded import EmbeddedPostgres


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that the embedded Postgres's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="iw-demo-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        EmbeddedPostgres(Path(folder) / "state").stop()


@pytest.fixture
def demo(place: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `worker demo --json` with everything of its own in `place`."""
    started: list[subprocess.Popen[str]] = []
    (place / "tmp").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_"))}
    own = {
        "WORKER_STATE_DIR": str(place / "state"), "TMPDIR": str(place / "tmp"), "PYTHONPATH": str(ROOT),
        "WORKER_POLL_SECONDS": "0.1", "WORKER_LOG_LEVEL": "error",
    }  # fmt: skip

    def start(*places: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "demo", "--json", *places],
            cwd=place, env=clean | own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def left_of(place: Path) -> list[str]:
    """Processes that still use the folder, and temporary files in it."""
    users = [process.name() for process in psutil.process_iter(["environ"]) if _uses(process, place)]
    return users + [path.name for path in (place / "tmp").iterdir()]


def _uses(process: psutil.Process, place: Path) -> bool:
    return (process.info["environ"] or {}).get("WORKER_STATE_DIR") == str(place / "state")


def test_the_demo(demo: Callable[..., subprocess.Popen[str]], git_repository: Callable[..., Any], place: Path) -> None:
    """Its last line says what came of both jobs; of the change one file was parsed; everything has ended."""
    made = git_repository("project", files={"a.py": "def main():\n    return 1\n", "b.py": "x = 2\n"})
    out, err = (running := demo(str(made.path))).communicate(timeout=100)
    assert running.returncode == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert list(summary) == ["status", "files", "symbols", "tokens", "seconds", "incremental"]
    assert (summary["status"], summary["files"]) == ("completed", 2)
    assert summary["tokens"] > 0
    assert {**summary["incremental"], "tokens_billed": 0} == {"files_changed": 1, "files_parsed": 1, "tokens_billed": 0}
    assert 0 < summary["incremental"]["tokens_billed"] < 100
    assert left_of(place) == []
    assert not EmbeddedPostgres(place / "state").is_running()


def test_a_demo_that_fails_or_is_ended(
    demo: Callable[..., subprocess.Popen[str]], git_repository: Callable[..., Any], place: Path
) -> None:
    """The last line is JSON all the same, the exit code tells, and everything has ended here as well."""
    out, err = (failing := demo(str(git_repository("empty").path))).communicate(timeout=60)
    assert failing.returncode == 1
    assert json.loads(out)["status"] == "failed"
    assert "has no commit" in err
    ended = demo(str(git_repository("project", files={"a.py": "x = 1\n"}).path))
    eventually(lambda: len(psutil.Process(ended.pid).children()) >= 2, what="both processes have been started")
    ended.send_signal(signal.SIGINT)
    out, _ = ended.communicate(timeout=30)
    assert ended.returncode == 130
    assert json.loads(out)["status"] == "failed"
    eventually(lambda: left_of(place) == [], seconds=5, what="nothing is left")

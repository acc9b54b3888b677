"""What the image is made of, built and run without Docker: the same commands, a fresh prefix, tini as process 1."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.receivers import KEYS
from tests.fixtures.workers import eventually

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ["tini", "-s", "--", str(ROOT / "ops/image/as-worker")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can do what the image does"),
    pytest.mark.skipif(shutil.which("tini") is None, reason="tini is missing: scripts/setup-test-tools installs it"),
]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A folder with the build context as .dockerignore leaves it, and the environment installed from that alone."""
    with tempfile.TemporaryDirectory(prefix="indexing-worker-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
            if line.startswith("!"):
                _copy(ROOT / line[1:], folder / "src" / line[1:])
        done = subprocess.run(
            [folder / "src/ops/image/install", folder / "opt"],
            cwd=folder / "src",
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def environment(image: Path, database_url: str) -> dict[str, str]:
    """The image's environment and a deployment's; nothing of this process's own."""
    volume = image / "data"
    volume.mkdir(exist_ok=True)
    return {
        "PATH": f"{image / 'opt/bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONUNBUFFERED": "1",
        "WORKER_ACCOUNT": "nobody",
        "WORKER_VOLUME": str(volume),
        "WORKER_STATE_DIR": f"{volume}/state",
        "WORKER_SCRATCH_DIR": f"{volume}/scratch",
        "WORKER_GIT_CACHE_DIR": f"{volume}/git",
        "DATABASE_URL": database_url,
        "WORKER_MASTER_KEYS": KEYS,
        "WORKER_LOG_FORMAT": "json",
    }


def test_the_images_content_is_built_and_migrates(image: Path, empty_database_url: str) -> None:
    """The release command, from the installed wheel alone: the migrations are in it."""
    done = subprocess.run(
        [*ENTRYPOINT, "worker", "migrate"],
        cwd="/",
        env=environment(image, empty_database_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("applied ") == len(list((ROOT / "supabase/migrations").glob("*.sql")))
    assert list((image / "opt").rglob("hatchling")) == []


@pytest.mark.parametrize(
    ("command", "ready"),
    [(["run", "--metrics-port", "0"], "worker starts"), (["receive", "--port", "0"], "receiver listens")],
)
def test_its_processes_run_as_process_1_without_root_and_end_on_sigterm(
    image: Path, database_url: str, command: list[str], ready: str
) -> None:
    """In a process namespace of its own, as in a Machine: tini is process 1, SIGTERM drains, the exit code is 0."""
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *ENTRYPOINT, "worker", *command],
        cwd="/",
        env=environment(image, database_url),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        lines = [json.loads(line) for line in _until(process, ready) if line.startswith(b"{")]
        port = lines[-1].get("port") or lines[-1]["metrics_port"]
        eventually(lambda: _healthy(port), seconds=60, what="its health")
        (tini,) = psutil.Process(process.pid).children()
        (program,) = [child for child in tini.children() if child.name() != "tini"]
        assert tini.name() == "tini"
        everything = [program, *program.children(recursive=True)]
        assert [child for child in everything if 0 in child.uids()] == []
        tini.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not tini.is_running()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


def _until(process: subprocess.Popen[bytes], event: str) -> Iterator[bytes]:
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if event.encode() in line:
            return
    raise AssertionError(f"it ended with {process.wait(10)} before it said {event!r}")


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False

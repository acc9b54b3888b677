"""Real repositories to read from, and a real git server that can also misbehave."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.git_server import GitServer, Source


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Source]:
    """Make an empty bare repository of the given name."""

    def make(name: str = "source.git") -> Source:
        (tmp_path / "served").mkdir(exist_ok=True)
        return Source(tmp_path / "served" / name)

    return make


@pytest.fixture
def source(make_source: Callable[..., Source]) -> Source:
    """An empty bare repository."""
    return make_source()


@pytest.fixture
def git_dir(tmp_path: Path) -> Path:
    """Where to fetch to; not there yet."""
    return tmp_path / "fetched.git"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server over HTTP of what `make_source` makes."""
    (tmp_path / "served").mkdir(exist_ok=True)
    server = GitServer(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_git_left(server: GitServer) -> Iterator[None]:
    """After the test, with the server still up and silent, no git may be alive, nor a dead one unreaped."""
    _before.clear()
    _before.update(child.pid for child in psutil.Process().children(recursive=True))
    yield
    until = time.monotonic() + 5  # the server's own git may need a moment
    while left := _gits():
        assert time.monotonic() < until, left
        time.sleep(0.02)


def own_children(*, recursive: bool = False) -> list[psutil.Process]:
    """Processes that this test has started: those of other tests in this process are not its business."""
    return [child for child in psutil.Process().children(recursive=recursive) if child.pid not in _before]


_before: set[int] = set()


def _gits() -> list[str]:
    return [child.name() for child in own_children(recursive=True) if "git" in child.name()]

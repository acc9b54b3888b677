"""What the tests of the embedded Postgres stand on."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.database.data_folder import place_of
from worker.database.embedded import EmbeddedPostgres
from worker.database.postmaster import running

FAST = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="module")
def shared_state() -> Iterator[Path]:
    """A state folder every account may enter, whose database cluster the tests of a module share."""
    folder = Path(tempfile.mkdtemp(prefix="indexing-worker-embedded-"))
    folder.chmod(0o755)
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


@pytest.fixture
def state(shared_state: Path) -> Iterator[Path]:
    """The shared state folder, with no server running before and after."""
    EmbeddedPostgres(shared_state).stop()
    yield shared_state
    EmbeddedPostgres(shared_state).stop()


@pytest.fixture
def fresh_state() -> Iterator[Path]:
    """An empty state folder of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="indexing-worker-embedded-"))
    folder.chmod(0o755)
    yield folder
    if not (folder / "postgres" / "place").exists():
        EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


@pytest.fixture
def pid_of() -> Callable[[Path], int | None]:
    """The pid of a state folder's server; None when none runs."""

    def find(state: Path) -> int | None:
        server = running(place_of(state / "postgres") / "data")
        return server.process.pid if server else None

    return find


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server another account")

"""Scratch folders of workers that start at the same moment, and of dead ones."""

import fcntl
import shutil
import tempfile

import pytest

from worker.runtime import scratch
from worker.runtime.scratch import Scratch


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch):
    """A Scratch moves the process's temporary files: not beyond this test."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())


def test_a_folder_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """Another worker's start may take the new folder for a dead one's in the moment before its lock."""
    swept = []

    def sweep_first(descriptor, how):
        if not swept:
            swept.extend(tmp_path.iterdir())
            shutil.rmtree(swept[0])
        fcntl_flock(descriptor, how)

    fcntl_flock = fcntl.flock
    monkeypatch.setattr(scratch.fcntl, "flock", sweep_first)
    made = Scratch(tmp_path)
    monkeypatch.undo()
    (folder,) = tmp_path.iterdir()
    assert folder != swept[0]
    assert (folder / "lock").exists()
    made.close()


def test_a_dead_workers_folder_goes_and_a_living_ones_stays(tmp_path):
    """The lock tells them apart."""
    dead = tmp_path / "indexing-worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    living = Scratch(tmp_path)
    second = Scratch(tmp_path)
    assert not dead.exists()
    assert len(list(tmp_path.iterdir())) == 2
    living.close()
    second.close()

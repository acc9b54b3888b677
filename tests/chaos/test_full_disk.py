"""Promise 4 and 7: a disk without room fails or postpones the jobs that need it, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small_disk(tmp_path):
    """Mount file systems of some megabytes; without the right to, the test is skipped."""
    mounted: list[Path] = []

    def mount(name: str, megabytes: int = 8) -> Path:
        place = tmp_path / name
        place.mkdir()
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root may mount a small file system")
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder):
    """Leave no byte free; the file that does so."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def test_promise_7_a_full_spool_stops_no_job(start_worker, load, small_disk, stop_all):
    """No room for logs: light jobs, children and talkers end well, lines are lost; with room again lines are kept."""
    state = small_disk("state")
    worker = start_worker(state="state")
    eventually(lambda: load.ask("select from workers where state = 'running'"), what="the worker")
    filler = fill(state)
    load.put([("inline_nothing", {}), ("inline_talk", {}), ("nothing", {}), ("talk", {"number": 5})] * 10)
    load.settle()
    load.check()
    assert worker.process.poll() is None
    filler.unlink()
    after = load.put([("talk", {"number": 5})])[0]
    load.settle()
    load.check()
    eventually(
        lambda: load.ask("select from indexing_jobs where id = %s and log_lines >= 5", after), what="the log of a job"
    )
    stop_all(worker)


def test_promise_4_a_full_workspace_is_an_error_of_the_jobs_that_write(start_worker, load, small_disk, stop_all):
    """Those that need room fail with their own error; others go on, and with room again all do."""
    folder = small_disk("scratch")
    worker = start_worker(WORKER_SCRATCH_DIR=str(folder), WORKER_BACKOFF_SECONDS="1")
    eventually(lambda: load.ask("select from workers where state = 'running'"), what="the worker")
    load.put([("nothing", {})])
    load.settle()
    filler = fill(folder)
    writing = load.put([("fill", {"number": 4})], in_repositories=False)[0]
    others = load.put([("inline_nothing", {})] * 50)
    eventually(
        lambda: load.ask("select from indexing_jobs where id = %s and error_class is not null", writing),
        what="the failure of a writing job",
    )
    said = load.ask("select status, error_class, error_message, crashes from indexing_jobs where id = %s", writing)[0]
    assert (said["status"], said["error_class"]) == ("queued", "disk_full")
    assert "WORKER_SCRATCH_DIR" in said["error_message"]
    assert said["crashes"] == 0
    eventually(
        lambda: not load.ask("select from indexing_jobs where id = any (%s) and status <> 'completed'", others),
        what="the others",
    )
    assert worker.process.poll() is None
    filler.unlink()
    more = load.put([("fill", {"number": 4}), ("nothing", {})])
    load.settle()
    assert load.ask("select from indexing_jobs where id = any (%s) and status <> 'completed'", [writing, *more]) == []
    assert load.ask("select from indexing_jobs where crashes > 0") == []
    stop_all(worker)
    assert list(folder.iterdir()) == []

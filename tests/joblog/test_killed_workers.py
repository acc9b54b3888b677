"""Promise 7 with real workers: whatever dies, comes back or is away, a job's log is whole in the end."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.load import Load, load, stop_all
from tests.fixtures.workers import WorkerProcess, eventually
from worker.joblog.stores.local import LocalStore

__all__ = ["load", "stop_all"]
pytestmark = pytest.mark.timeout(240)
QUICK = {"WORKER_LOG_FLUSH_INTERVAL": "0.4"}


def entries_of(load: Load, folder: Path, job: Any) -> list[dict[str, Any]]:
    """A sealed log's lines; none while it is not sealed."""
    (row,) = load.ask("select log_parts, log_sealed_at from indexing_jobs where id = %s", job)
    if row["log_sealed_at"] is None:
        return []
    store = LocalStore(folder / "logs", "worker-logs")
    content = b"".join(b"".join(store.get(part["key"])) for part in row["log_parts"])
    return [json.loads(line) for line in content.splitlines()]


def numbers_of(entries: list[dict[str, Any]]) -> list[int]:
    """What the handler counted."""
    return [entry["number"] for entry in entries if entry["event"] == "line"]


def begun(load: Load, marker: Path, least: int = 1) -> Any:
    """A job that counts, and has come to `least`."""
    job = load.put([("count", {"marker": str(marker), "seconds": 0.002})])[0]
    eventually(lambda: marker.exists() and int(marker.read_bytes() or 0) >= least, seconds=60, what="the first lines")
    return job


def test_promise_7_kill_of_the_worker_at_any_moment_loses_no_line(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """Every line that the handler had logged before kill -9 is in the job's log, once and in order."""
    worker = start_worker(**QUICK)
    for number in range(2):
        marker = tmp_path / f"marker-{number}"
        job = begun(load, marker, random.randrange(1, 300))
        worker.signal(signal.SIGKILL)
        worker.wait()
        worker = start_worker(**QUICK)
        entries = eventually(lambda job=job: entries_of(load, tmp_path / "state", job), seconds=90, what="the log")
        numbers = numbers_of(entries)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= int(marker.read_bytes())
        assert [entry["attempt"] for entry in entries if entry["event"] == "attempt started"] == [1, 2]
        assert entries[-1]["event"] == "complete"
    stop_all(worker)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_promise_7_a_job_killed_at_many_moments_keeps_every_line_of_every_attempt(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """Killed while it starts, logs, flushes or brings home what the last one left: one log, whole and in order."""
    kills = 15
    settings = {**QUICK, "WORKER_CRASH_LIMIT": "100"}
    job = load.put([("count_on", {"marker": str(tmp_path / "marker"), "number": kills + 1, "seconds": 0.001})])[0]
    for attempt in range(1, kills + 1):
        worker = start_worker(**settings)
        marker = tmp_path / f"marker.{attempt}"
        eventually(lambda marker=marker: marker.exists() and marker.read_bytes(), seconds=60, what="the first line")
        time.sleep(random.uniform(0, 1.5))
        worker.signal(signal.SIGKILL)
        worker.wait()
    worker = start_worker(**settings)
    entries = eventually(lambda: entries_of(load, tmp_path / "state", job), seconds=90, what="the log")
    for attempt in range(1, kills + 1):
        numbers = numbers_of([entry for entry in entries if entry.get("attempt") == attempt])
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= int((tmp_path / f"marker.{attempt}").read_bytes())
    attempts = [entry["attempt"] for entry in entries if "attempt" in entry]
    assert attempts == sorted(attempts)
    eventually(lambda: not list((tmp_path / "state" / "spool").glob("*.ndjson")), what="an empty spool")
    stop_all(worker)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_promise_7_kill_around_a_jobs_end_loses_no_line(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """Killed while logs are sealed: each is sealed by the next worker, whole, whichever attempt was the last."""
    settings = {**QUICK, "WORKER_CRASH_LIMIT": "100"}
    jobs: list[Any] = []

    def ended() -> int:
        return len(load.ask("select from indexing_jobs where status = 'completed'"))

    for _ in range(8):
        before = ended()
        worker = start_worker(**settings)
        jobs += load.put([("talk", {"number": 40, "seconds": 0.005})] * 6)
        eventually(lambda before=before: ended() > before, seconds=60, what="the first end")
        time.sleep(random.uniform(0, 0.3))
        worker.signal(signal.SIGKILL)
        worker.wait()
    worker = start_worker(**settings)
    load.settle()
    left = "select from indexing_jobs where id = any (%s) and log_sealed_at is null"
    eventually(lambda: not load.ask(left, jobs), seconds=120, what="all logs sealed")
    for job in jobs:
        entries = entries_of(load, tmp_path / "state", job)
        last = max(entry.get("attempt", 0) for entry in entries)
        for attempt in range(1, last + 1):
            numbers = numbers_of([entry for entry in entries if entry.get("attempt") == attempt])
            assert numbers == list(range(40 if attempt == last else len(numbers)))
    live = tmp_path / "state" / "logs" / "worker-logs" / "live"
    eventually(lambda: not list(live.glob("*/*/*")), seconds=60, what="no segment left over")
    stop_all(worker)


def test_promise_7_a_lost_machine_costs_what_was_not_flushed_and_may_come_back(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """With the machine away its log has what was flushed, and says where it breaks off; what comes late is added."""
    for state in ("state", "other"):
        (tmp_path / state).mkdir()
    (tmp_path / "other" / "logs").symlink_to(tmp_path / "state" / "logs")
    lost = start_worker(**QUICK)
    marker = tmp_path / "marker"
    job = begun(load, marker)
    live = tmp_path / "state" / "logs" / "worker-logs" / "live"
    eventually(lambda: len(list(live.glob("*/*/*"))) >= 2, seconds=60, what="two flushes")
    flushed = sum(path.read_bytes().count(b'"line"') for path in live.glob("*/*/*"))
    lost.signal(signal.SIGKILL)
    lost.wait()
    other = start_worker(state="other", **QUICK)
    entries = eventually(
        lambda: entries_of(load, tmp_path / "state", job), seconds=90, what="the log without the machine"
    )
    numbers = numbers_of(entries)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= flushed
    events = [entry["event"] for entry in entries]
    assert events.index("log cut off") == events.index("attempt started", 1 + events.index("attempt started")) - 1
    stop_all(other)
    back = start_worker(**QUICK)
    logged = int(marker.read_bytes())

    def is_whole() -> bool:
        return len(numbers_of(entries_of(load, tmp_path / "state", job))) >= logged

    eventually(is_whole, seconds=90, what="the late lines")
    numbers = numbers_of(entries_of(load, tmp_path / "state", job))
    assert sorted(numbers) == list(range(len(numbers)))
    eventually(lambda: not list((tmp_path / "state" / "spool").glob("*.ndjson")), what="an empty spool")
    stop_all(back)


def test_promise_2_the_log_is_the_lease_holders_and_complete_after_a_zombie_wakes(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """A worker sleeps through its lease while its child logs on; another seals. Awake, it adds lines and takes none."""
    for state in ("state", "other"):
        (tmp_path / state).mkdir()
    (tmp_path / "other" / "logs").symlink_to(tmp_path / "state" / "logs")
    zombie = start_worker(**QUICK)
    marker = tmp_path / "marker"
    job = begun(load, marker, 50)
    live = tmp_path / "state" / "logs" / "worker-logs" / "live"
    eventually(lambda: list(live.glob("*/*/*")), seconds=60, what="a flush")
    zombie.signal(signal.SIGSTOP)
    other = start_worker(state="other", **QUICK)
    sealed = eventually(lambda: entries_of(load, tmp_path / "state", job), seconds=90, what="the lease holder's log")
    assert sealed[-1] | {"at": "", "event": "complete", "attempt": 2} == sealed[-1] | {"at": ""}
    zombie.signal(signal.SIGCONT)
    eventually(lambda: zombie.said("worker fences itself"), seconds=60, what="self-fencing")
    spool = tmp_path / "state" / "spool"
    eventually(lambda: not list(spool.glob("*.ndjson")), seconds=90, what="an empty spool of the zombie's")
    entries = eventually(lambda: entries_of(load, tmp_path / "state", job), seconds=60, what="the log with all lines")
    assert [entry for entry in entries if entry in sealed] == sealed
    numbers = numbers_of(entries)
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= int(marker.read_bytes())
    stop_all(zombie, other)


def test_promise_7_a_store_that_is_away_stops_no_job_and_loses_nothing(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """Jobs begin and end while the store refuses everything; when it is back their logs are sealed, whole."""
    worker = start_worker(**QUICK)
    bucket = tmp_path / "state" / "logs" / "worker-logs"
    eventually(bucket.exists, seconds=60, what="the bucket")
    bucket.rename(tmp_path / "aside")
    bucket.write_text("not a folder")
    jobs = load.put([("talk", {"number": 30, "seconds": 0.01}), ("inline_talk", {})] * 6)
    load.settle()
    left = "select from indexing_jobs where id = any (%s) and log_sealed_at is null"
    assert load.ask(f"{left} and status = 'completed'", jobs)
    eventually(lambda: worker.said("the log store fails; logs wait in the spool"), seconds=60, what="the warning")
    bucket.unlink()
    (tmp_path / "aside").rename(bucket)
    eventually(lambda: not load.ask(left, jobs), seconds=120, what="all logs sealed")
    for job in jobs[::2]:
        assert numbers_of(entries_of(load, tmp_path / "state", job)) == list(range(30))
    assert list((tmp_path / "state" / "spool").glob("*.ndjson")) == []
    stop_all(worker)


def test_logs_are_handed_on_at_shutdown(
    start_worker: Callable[..., WorkerProcess], load: Load, tmp_path: Path, stop_all: Callable[..., None]
) -> None:
    """A worker that is told to stop leaves nothing that only its own disk has."""
    worker = start_worker(WORKER_LOG_FLUSH_INTERVAL="3600", WORKER_DRAIN_SECONDS="0")
    marker = tmp_path / "marker"
    job = begun(load, marker, 20)
    stop_all(worker)
    shutil.rmtree(tmp_path / "state" / "spool")
    other = start_worker(**QUICK)
    entries = eventually(lambda: entries_of(load, tmp_path / "state", job), seconds=90, what="the log")
    numbers = numbers_of(entries)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= int(marker.read_bytes())
    stop_all(other)

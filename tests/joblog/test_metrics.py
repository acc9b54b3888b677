"""What the metrics say of job logs: how much was logged, how much the store has, and what waits."""

import os

import pytest

from tests.joblog.test_flush import Attempt, Bench, bench
from worker.errors import LogStoreError
from worker.joblog import log as log_module
from worker.joblog import room as room_module
from worker.joblog.log import open_job_log
from worker.joblog.room import LogLimits, SpoolRoom
from worker.joblog.spool import Spool
from worker.metrics import REGISTRY
from worker.redact import Redactor

__all__ = ["bench"]
COUNTERS = ("log_lines_total", "log_written_bytes_total", "log_bytes_total", "log_upload_errors_total")


def value(name: str, **labels: str) -> float:
    """What /metrics says now."""
    return REGISTRY.get_sample_value(f"indexing_worker_{name}", labels) or 0.0


def test_lines_bytes_and_errors_are_counted_and_what_waits_is_told(bench: Bench, attempt: Attempt) -> None:
    """Once each: while the attempt runs, while the store is away, and for the rest at its end."""
    before = {name: value(name) for name in COUNTERS}
    lags = value("log_flush_lag_seconds_count")
    bench.flusher.watch(attempt(1))
    bench.live(1)
    bench.write(attempt(1), range(10))
    bench.live(14)
    assert 13 <= value("log_oldest_unflushed_seconds") <= 15
    bench.store.fail_with = LogStoreError("away", retryable=True)
    bench.live(3)
    assert value("log_oldest_unflushed_seconds") > 15
    assert value("log_upload_errors_total") > before["log_upload_errors_total"]
    bench.store.fail_with = None
    bench.live(40)
    assert value("log_oldest_unflushed_seconds") == 0
    assert value("log_flush_lag_seconds_count") == lags + 1
    bench.write(attempt(1), range(10, 13))
    bench.flusher.let_go(attempt(1))
    bench.flusher.count_rest(attempt(1))
    size = bench.spool.size(attempt(1))
    assert value("log_lines_total") - before["log_lines_total"] == 13
    assert value("log_written_bytes_total") - before["log_written_bytes_total"] == size
    assert value("log_bytes_total") - before["log_bytes_total"] == sum(length for _, length in bench.store.puts)


def test_the_spool_and_what_it_has_no_room_for_are_told(
    spool: Spool, attempt: Attempt, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that wait here, how full that is, and the lines left out for it, by level."""
    monkeypatch.setattr(room_module, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(log_module, "SECONDS_BETWEEN_MARKERS", 0)
    opened = open_job_log(spool, attempt(1), Redactor(), source="worker", level="debug", limits=LogLimits(), worker="w")
    room = SpoolRoom(spool.root, most_bytes=spool.size(attempt(1)), least_free_bytes=0)
    room.look()
    assert value("log_spool_pressure") == 2
    assert value("log_spool_bytes") >= spool.size(attempt(1))
    before = {level: value("log_lines_dropped_total", level=level) for level in ("debug", "info", "warning")}
    for level in ("debug", "debug", "info", "warning"):
        getattr(opened.log, level)("line")
    opened.close()
    bench.flusher.watch(attempt(1))
    bench.live(16)
    dropped = {level: value("log_lines_dropped_total", level=level) - before[level] for level in before}
    assert dropped == {"debug": 2, "info": 1, "warning": 0}


def test_a_segment_is_on_the_disk_before_its_first_upload(
    bench: Bench, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store has must not outlive its spool in a power cut: the offsets would be given to other lines."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        files = bench.spool.root.iterdir()
        synced.append(next(file.suffix for file in files if os.path.samestat(file.stat(), os.fstat(descriptor))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    bench.store.on_put = lambda: synced.append("put")
    bench.flusher.watch(attempt(1))
    bench.write(attempt(1), range(10))
    bench.live(16)
    assert synced[: synced.index("put")] == [".ndjson", ".keys"]

"""Logs are bounded: debug lines go first, then info, counted, and nobody waits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.joblog import log as log_module
from worker.joblog import room as room_module
from worker.joblog.clean import clean_lines
from worker.joblog.identity import LogIdentity
from worker.joblog.log import OpenJobLog, open_job_log
from worker.joblog.room import DROPPED, LogLimits, SpoolRoom, dropped_by
from worker.joblog.spool import Spool
from worker.metrics import REGISTRY
from worker.redact import Redactor

Attempt = Callable[[int], LogIdentity]
NO_DISK = 0


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers and the worker look every time, not only now and then."""
    monkeypatch.setattr(room_module, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(log_module, "SECONDS_BETWEEN_MARKERS", 0)


def opened_log(spool: Spool, identity: LogIdentity, **limits: int) -> OpenJobLog:
    """A log of every level, with bounds."""
    return open_job_log(
        spool, identity, Redactor(), source="worker", level="debug", limits=LogLimits(**limits), worker="w"
    )


def one_of_each(opened: OpenJobLog) -> None:
    """A line of each level, named by it."""
    for level in ("debug", "info", "warning", "error"):
        getattr(opened.log, level)(level)


def entries(spool: Spool, identity: LogIdentity) -> list[dict[str, Any]]:
    """What is written."""
    return [json.loads(line) for line in clean_lines([spool.path(identity).read_bytes()])]


def written(spool: Spool, identity: LogIdentity, after: int = 0) -> list[str]:
    """The levels of the lines that one_of_each wrote."""
    events = [entry["event"] for entry in entries(spool, identity)[after:]]
    return [event for event in events if event in ("debug", "info", "warning", "error")]


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.5, ["debug", "info", "warning", "error"]),
        (0.95, ["info", "warning", "error"]),
        (1.05, ["warning", "error"]),
        (1.5, []),
    ],
)
def test_promise_7_debug_lines_go_first_then_info(
    spool: Spool, attempt: Attempt, tmp_path: Path, share: float, kept: list[str]
) -> None:
    """The fuller the spool, the graver a line must be; the worker measures, every writer of the machine heeds it."""
    opened = opened_log(spool, attempt(1))
    (spool.root / "other.ndjson").write_bytes(b"x" * 100_000)
    size = sum(path.stat().st_size for path in spool.root.iterdir())
    SpoolRoom(spool.root, most_bytes=round(size / share), least_free_bytes=NO_DISK).look()
    one_of_each(opened)
    assert written(spool, attempt(1)) == kept
    opened.end("complete")
    assert [entry["event"] for entry in entries(spool, attempt(1))][-1] == "complete"
    opened.close()


def test_what_was_dropped_is_counted_in_the_log(spool: Spool, attempt: Attempt) -> None:
    """Marker lines add up to every line left out, by level, also when the log ends right after."""
    opened = opened_log(spool, attempt(1), most_lines=10)
    for _ in range(50):
        one_of_each(opened)
    opened.close()
    found = entries(spool, attempt(1))
    kept = [entry["event"] for entry in found if entry["event"] in ("debug", "info", "warning", "error")]
    dropped: dict[str, int] = {}
    for line in clean_lines([spool.path(attempt(1)).read_bytes()]):
        compact = json.dumps(json.loads(line), separators=(",", ":")).encode()
        for level, count in dropped_by(compact).items() if DROPPED in compact else ():
            dropped[level] = dropped.get(level, 0) + count
    for level in ("debug", "info", "warning", "error"):
        assert kept.count(level) + dropped.get(level, 0) == 50
    assert kept.count("debug") <= kept.count("info") <= kept.count("warning")
    assert found[-1]["reason"] == "the job's log is full"


def test_an_attempts_bytes_are_bounded(spool: Spool, attempt: Attempt) -> None:
    """A job that logs without end fills a tenth more than its bound, not the disk."""
    opened = opened_log(spool, attempt(1), most_bytes=100_000)
    for number in range(3_000):
        opened.log.error("line", number=number, text="x" * 100)
    opened.close()
    assert 100_000 < spool.size(attempt(1)) < 110_000 + 3_000 * 200


def test_a_full_disk_is_said_once_and_passes(
    spool: Spool, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker says what is dropped, and why, when it begins and when it is over; a gauge shows it meanwhile."""
    opened = opened_log(spool, attempt(1))
    free = [10_000]

    class Disk:
        f_frsize, f_blocks = 1, 10_000_000

        @property
        def f_bavail(self) -> int:
            return free[0]

    monkeypatch.setattr(room_module.os, "statvfs", lambda _: Disk())
    room = SpoolRoom(spool.root, most_bytes=10**12, least_free_bytes=200_000)
    told = []
    for bytes_free, pressure in (
        (10_000_000, 0),
        (300_000, 1),
        (100_000, 2),
        (10_000, 3),
        (10_000, 3),
        (10_000_000, 0),
    ):
        free[0] = bytes_free
        room.look()
        assert REGISTRY.get_sample_value("indexing_worker_log_spool_pressure") == pressure
        told.append(capsys.readouterr().err.count("spool"))
    assert [bool(count) for count in told] == [False, True, True, True, False, True]
    one_of_each(opened)
    assert written(spool, attempt(1)) == ["debug", "info", "warning", "error"]
    opened.close()


def test_a_small_disk_keeps_a_twentieth_free(spool: Spool, attempt: Attempt) -> None:
    """The bound of free room does not switch logs off where the whole disk is smaller than it."""
    opened_log(spool, attempt(1)).close()
    room = SpoolRoom(spool.root, most_bytes=10**12, least_free_bytes=10**18)
    room.look()
    assert (spool.root / "room").read_bytes() == b"0"


def test_what_is_built_to_be_sealed_takes_no_room_from_running_jobs(spool: Spool, attempt: Attempt) -> None:
    """Only what waits for the store counts against the spool's bound, and a seal knows how much disk it may use."""
    opened = opened_log(spool, attempt(1))
    spool.building(attempt(2)).write_bytes(b"x" * 1_000_000)
    room = SpoolRoom(spool.root, most_bytes=500_000, least_free_bytes=NO_DISK)
    room.look()
    one_of_each(opened)
    assert written(spool, attempt(1)) == ["debug", "info", "warning", "error"]
    assert room.spare() > 0
    assert SpoolRoom(spool.root, most_bytes=500_000, least_free_bytes=10**18).spare() < room.spare()

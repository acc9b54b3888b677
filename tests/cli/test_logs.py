"""logs: choosing lines of a finished log, and where it can be read."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.load import Load, load, stop_all
from tests.fixtures.workers import WorkerProcess, eventually
from worker.database.connect import connect
from worker.joblog.identity import LogIdentity
from worker.joblog.stores.local import LocalStore

__all__ = ["load", "stop_all"]
Worker = Callable[..., Any]
MakeJob = Callable[..., UUID]


@pytest.fixture
def finished(make_job: MakeJob, settings: dict[str, str]) -> UUID:
    """A job of two attempts whose log is sealed."""
    store = LocalStore(Path(settings["WORKER_STATE_DIR"]) / "logs", "worker-logs")
    lines = [
        {"at": "2026-03-04T12:00:00.000000Z", "level": "info", "event": "first", "attempt": 1},
        {"at": "2026-03-04T12:01:00.000000Z", "level": "warning", "event": "second", "attempt": 1},
        {"at": "2026-03-04T12:02:00.000000Z", "level": "info", "event": "third", "attempt": 2},
    ]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    job_id = uuid4()
    key = f"logs/2026-03-04/job-{job_id}.7.log"
    store.ensure_bucket()
    store.put(key, content)
    parts = Jsonb([{"key": key, "bytes": len(content), "lines": 3}])
    return make_job(id=job_id, status="completed", log_token=7, log_parts=parts, log_sealed_at="now")


@pytest.mark.parametrize(
    ("options", "events"),
    [
        ([], ["first", "second", "third"]),
        (["--follow"], ["first", "second", "third"]),
        (["--level", "warning"], ["second"]),
        (["--attempt", "2"], ["third"]),
        (["--since", "2026-03-04T12:01"], ["second", "third"]),
        (["--since", "5m"], []),
        (["--since", "999999d"], ["first", "second", "third"]),
    ],
)
def test_lines_are_chosen(worker: Worker, finished: UUID, options: list[str], events: list[str]) -> None:
    """By level, by attempt, by time, followed or not."""
    ended = worker("logs", str(finished), "--json", *options)
    assert [json.loads(line)["event"] for line in ended.out.splitlines()] == events


def test_a_wrong_time_is_explained(worker: Worker, finished: UUID) -> None:
    """What can be said is said."""
    ended = worker("logs", str(finished), "--since", "yesterday")
    assert ended.code == 2
    assert "10m" in ended.err


def test_the_address_of_a_finished_log(worker: Worker, finished: UUID, make_job: MakeJob) -> None:
    """With the local store a file; a log that is not finished has none, and it is said so."""
    address = worker("logs", str(finished), "--url").out.strip()
    assert Path(address.removeprefix("file://")).read_bytes().count(b"\n") == 3
    running = make_job(status="completed", name="django", log_token=8)
    ended = worker("logs", str(running), "--url")
    assert ended.code == 1
    assert "not finished" in ended.err


def test_whoever_follows_from_elsewhere_waits_for_the_last_lines(
    worker: Worker, make_job: MakeJob, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, db: Any
) -> None:
    """A large log is sealed long after its job ended; until then only the machine that ran it has its last lines."""
    monkeypatch.setattr("worker.cli.logs.SECONDS_TO_WAIT_FOR_SEALING", 0.2)
    store = LocalStore(Path(settings["WORKER_STATE_DIR"]) / "logs", "worker-logs")
    store.ensure_bucket()
    job_id = make_job(status="completed", log_token=7)
    identity = LogIdentity(job_id, db.execute("select created_at from indexing_jobs").fetchone()["created_at"], 7)
    first, last = (
        json.dumps({"at": "2026-03-04T12:00:00.000000Z", "event": event, "attempt": 1}).encode() + b"\n"
        for event in ("first", "last")
    )
    store.put(identity.segment_key(0, 0, len(first)), first)

    def seal() -> None:
        store.put(identity.sealed_key, first + last)
        parts = [
            {"key": identity.sealed_key, "bytes": len(first + last), "lines": 2, "covers": {"7": len(first + last)}}
        ]
        sealed = "update indexing_jobs set log_parts = %s, log_sealed_at = now() where id = %s"
        with connect(settings["DATABASE_URL"], name="test") as connection:
            connection.execute(sealed, (Jsonb(parts), job_id))

    later = threading.Timer(2, seal)
    later.start()
    ended = worker("logs", str(job_id), "--follow", "--json")
    later.join()
    assert [json.loads(line)["event"] for line in ended.out.splitlines()] == ["first", "last"]
    assert "not sealed yet" in ended.err


def test_following_is_live_long_before_any_flush(
    start_worker: Callable[..., WorkerProcess],
    start: Callable[..., subprocess.Popen[str]],
    load: Load,
    stop_all: Callable[..., None],
    tmp_path: Path,
) -> None:
    """On the job's own machine its lines are shown as they are logged, whenever they will leave the machine."""
    worker = start_worker(WORKER_LOG_FLUSH_INTERVAL="3600", WORKER_DRAIN_SECONDS="0")
    job = load.put([("talk", {"seconds": 0.1})])[0]
    running = "select user_id from indexing_jobs where id = %s and status = 'in_progress'"
    (row,) = eventually(lambda: load.ask(running, job), what="the attempt")
    following = start("logs", str(job), "--follow", "--json", WORKER_USER_ID=str(row["user_id"]))
    assert following.stdout is not None
    seen: list[int] = []
    while len(seen) < 30:  # some were logged before, some are new
        line = following.stdout.readline()
        assert line, following.stderr and following.stderr.read()
        entry = json.loads(line)
        seen += [entry["number"]] if entry["event"] == "line" else []
    assert seen == list(range(30))
    assert not list((tmp_path / "state" / "logs").rglob("*.ndjson"))
    following.send_signal(signal.SIGINT)
    stop_all(worker)

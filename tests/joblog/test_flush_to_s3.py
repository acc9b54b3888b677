"""The flusher on real servers in bad weather: jobs log on, and in the end every line is there."""

import json
import multiprocessing
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.fixtures.log_stores import s3_store, supabase_store
from tests.fixtures.weather import Weather
from tests.fixtures.workers import eventually
from worker.joblog.flush import Flusher
from worker.joblog.health import StoreHealth
from worker.joblog.identity import LogIdentity
from worker.joblog.log import open_job_log
from worker.joblog.read import read_log, read_range
from worker.joblog.seal import Sealed, seal
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.redact import Redactor

JOBS = 12
BAD = {
    "down": {"down": True},
    "500": {"answer": (500, "")},
    "503": {"answer": (503, "<Error><Code>SlowDown</Code></Error>")},
    "403": {"answer": (403, "<Error><Code>AccessDenied</Code></Error>")},
    "cut in mid-upload": {"cut_after": 5_000},
    "cut before the answer": {"cut_answer_after": 0},
    "slow": {"delay": 1.0},
    "very slow": {"delay": 5.0},
}
STRICT = [pytest.mark.slow, pytest.mark.timeout(300)]
PLACES = {"swift": ("503", "403", "cut in mid-upload", "slow"), "supabase": ("503", "cut before the answer")}
"""On which server which weather is tried every day; the slow tests try all on each, and on a stricter one."""


@pytest.fixture
def weather(request: pytest.FixtureRequest, kind: str) -> Iterator[Weather]:
    """Between us and a server of this kind."""
    server = request.getfixturevalue(kind)
    with Weather(urlsplit(server.url).port or 0) as made:
        yield made


@pytest.fixture
def store(request: pytest.FixtureRequest, kind: str, weather: Weather) -> LogStore:
    """A store on that server, reached through the weather."""
    server = request.getfixturevalue(kind)
    made = supabase_store(weather.url) if kind == "supabase" else s3_store(server, url=weather.url)
    made.ensure_bucket()
    return made


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        pytest.param(kind, bad, marks=[] if bad in PLACES.get(kind, ()) else STRICT)
        for kind in (*PLACES, "radosgw")
        for bad in BAD
    ],
)
def test_promise_7_bad_weather_loses_and_doubles_nothing(
    store: LogStore, weather: Weather, spool: Spool, bad: str
) -> None:
    """Segments come late, each once under its key; the sealed log has every line once, in order."""
    identities = [LogIdentity(uuid.uuid4(), datetime.now(UTC), token) for token in range(1, JOBS + 1)]
    written = 0

    def write(lines: int) -> None:
        nonlocal written
        for identity in identities:
            writer = spool.open(identity)
            for number in range(written, written + lines):
                writer.append_line(json.dumps({"n": number, "pad": "x" * 300}).encode())
            writer.close()
        written += lines

    def is_stored(identity: LogIdentity) -> bool:
        return _numbers(read_log(store, None, parts=[], token=identity.token, **_of(identity))) == list(range(written))

    with ThreadPoolExecutor(4) as executor:
        health = StoreHealth(first_pause=0.05, longest_pause=0.5)
        flusher = Flusher(store, spool, executor, health, age_seconds=0.3)
        for identity in identities:
            flusher.watch(identity)
        flusher.start()
        try:
            write(20)
            for name, value in BAD[bad].items():
                setattr(weather, name, value)
            seen = weather.connections
            write(20)
            eventually(lambda: weather.connections >= seen + 3, seconds=60, what="tries in bad weather")
            write(20)
            weather.clear()
            for identity in identities:
                eventually(lambda identity=identity: is_stored(identity), seconds=90, what="all segments")
        finally:
            flusher.stop()
    sealed: list[Sealed] = []
    first = identities[0]
    assert seal(store, spool, first, previous=[], commit=lambda made: sealed.append(made) or True)
    (made,) = sealed
    assert [key for key, _ in store.list("logs/")] == [first.sealed_key]
    assert list(store.list(first.live_prefix)) == []
    whole = b"".join(read_range(store, made.parts, 0, made.bytes))
    assert whole.count(b"\n") == made.lines
    assert b"".join(read_range(store, made.parts, 1_000, 500)) == whole[1_000:1_500]
    assert b"".join(read_range(store, made.parts, made.bytes, 10)) == b""


def _of(identity: LogIdentity) -> dict[str, Any]:
    return {"job_id": identity.job_id, "created_at": identity.created_at}


def _numbers(lines: Iterator[bytes]) -> list[int]:
    return [json.loads(line)["n"] for line in lines]


@pytest.mark.parametrize("kind", ["swift"])
@pytest.mark.parametrize(
    ("jobs", "seconds", "age"),
    [(10, 2.0, 0.5), pytest.param(100, 600.0, 15.0, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_promise_7_a_store_that_is_down_under_load_costs_no_memory_and_no_line(
    store: LogStore, weather: Weather, spool: Spool, jobs: int, seconds: float, age: float
) -> None:
    """Each job logs 10 kB a second, before, meanwhile and after; what waits is on the disk, and is there soon after."""
    identities = [LogIdentity(uuid.uuid4(), datetime.now(UTC), token) for token in range(1, jobs + 1)]
    arguments = (spool.root, identities, round(seconds + 4 * age))
    process = psutil.Process()

    def is_stored(identity: LogIdentity) -> bool:
        return sum(size for _, size in store.list(identity.live_prefix)) == spool.size(identity)

    with ThreadPoolExecutor(8) as executor:
        health = StoreHealth(first_pause=min(0.5, age / 10), longest_pause=2 * age)
        flusher = Flusher(store, spool, executor, health, age_seconds=age)
        for identity in identities:
            flusher.watch(identity)
        flusher.start()
        writer = multiprocessing.get_context("spawn").Process(target=_log, args=arguments)
        writer.start()
        try:
            eventually(lambda: len(weather.heads) > jobs, seconds=60 + 2 * age, what="the first flushes")
            before = process.memory_info().rss
            weather.down = True
            time.sleep(seconds)
            weather.clear()
            writer.join()
            assert writer.exitcode == 0
            for identity in identities:
                eventually(lambda identity=identity: is_stored(identity), seconds=180, what="all segments")
            assert process.memory_info().rss - before <= 100_000_000
        finally:
            writer.kill()
            flusher.stop()
    for identity in identities:
        lines = read_log(store, None, parts=[], token=identity.token, **_of(identity))
        assert [json.loads(line)["step"] for line in lines] == list(range(50 * arguments[2]))


def _log(root: Path, identities: list[LogIdentity], seconds: int) -> None:
    """In the jobs' process: every second 50 lines of each, of 200 bytes."""
    opened = [open_job_log(Spool(root), identity, Redactor(), source="child") for identity in identities]
    begin = time.monotonic()
    for second in range(seconds):
        for one in opened:
            for line in range(50):
                one.log.info("progress of the work", step=50 * second + line, text="x" * 70)
        time.sleep(max(0.0, begin + second + 1 - time.monotonic()))
    for one in opened:
        one.close()

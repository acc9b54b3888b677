"""The flusher on a real S3 server in bad weather: jobs log on, and in the end every line is there."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.fixtures.log_stores import s3_store
from tests.fixtures.s3_servers import S3Server
from tests.fixtures.weather import Weather
from tests.fixtures.workers import eventually
from worker.joblog.flush import Flusher
from worker.joblog.health import StoreHealth
from worker.joblog.identity import LogIdentity
from worker.joblog.read import read_log, read_range
from worker.joblog.seal import Sealed, seal
from worker.joblog.spool import Spool

JOBS = 12
BAD = {
    "500": {"answer": (500, "")},
    "503": {"answer": (503, "<Error><Code>SlowDown</Code></Error>")},
    "403": {"answer": (403, "<Error><Code>AccessDenied</Code></Error>")},
    "cut in mid-upload": {"cut_after": 5_000},
    "cut before the answer": {"cut_answer_after": 0},
    "slow": {"delay": 1.0},
}
AGAIN = ("500", "cut before the answer")  # much like others


@pytest.fixture
def weather(swift: S3Server) -> Iterator[Weather]:
    """Between us and a real server."""
    with Weather(swift.port) as made:
        yield made


@pytest.mark.parametrize("bad", [pytest.param(bad, marks=[pytest.mark.slow] * (bad in AGAIN)) for bad in BAD])
def test_promise_7_bad_weather_loses_and_doubles_nothing(
    swift: S3Server, weather: Weather, spool: Spool, bad: str
) -> None:
    """Segments come late, each once under its key; the sealed log has every line once, in order."""
    store = s3_store(swift, url=weather.url)
    store.ensure_bucket()
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
            seen = len(weather.heads)
            write(20)
            eventually(lambda: len(weather.heads) >= seen + 3, seconds=60, what="tries in bad weather")
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

"""What a log costs: bytes and requests to the store, memory to seal it."""

import json
import multiprocessing
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures.log_stores import s3_store
from tests.fixtures.s3_servers import S3Server
from tests.joblog.faults import FaultyStore
from tests.joblog.test_flush import Bench
from worker.errors import LogStoreError
from worker.joblog.identity import LogIdentity
from worker.joblog.seal import seal
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.joblog.stores.local import LocalStore

Attempt = Callable[[int], LogIdentity]


def test_a_log_is_sent_twice_and_a_flush_is_at_most_two_requests(
    tmp_path: Path, spool: Spool, attempt: Attempt
) -> None:
    """Segments while it runs, one object at the end: at most 2.1 bytes sent a byte logged."""
    bench = Bench(FaultyStore(tmp_path / "store"), spool)
    identities = [LogIdentity(uuid.uuid4(), datetime.now(UTC), token) for token in range(1, 6)]
    for identity in identities:
        bench.flusher.watch(identity)
    bench.live(120, lambda: [bench.write(identity, range(5), pad=200) for identity in identities])
    flushes = len(bench.store.puts)
    logged = sum(spool.size(identity) for identity in identities)
    for identity in identities:
        bench.flusher.let_go(identity)
        assert seal(bench.store, spool, identity, previous=[], commit=lambda _: True) is not None
    assert flushes == 5 * 8
    sent = sum(size for _, size in bench.store.puts)
    assert sent <= 2.1 * logged
    deletes = len(identities)
    assert len(bench.store.puts) + deletes <= 2 * flushes


@pytest.mark.parametrize("failure", ["500", "503", "cut", "403", "slow"])
def test_promise_7_ten_minutes_of_a_bad_store_lose_nothing(
    tmp_path: Path, spool: Spool, attempt: Attempt, failure: str
) -> None:
    """Jobs log on, what waits stays on disk and not in memory, and all of it is there soon after."""
    bench = Bench(FaultyStore(tmp_path / "store"), spool)
    identities = [LogIdentity(uuid.uuid4(), datetime.now(UTC), token) for token in range(1, 5)]
    for identity in identities:
        bench.flusher.watch(identity)
    count = 0

    def log() -> None:
        nonlocal count
        for identity in identities:
            bench.write(identity, range(count, count + 1), pad=500)
        count += 1

    bench.live(30, log)
    if failure == "slow":
        bench.store.on_put = lambda: setattr(bench.clock, "now", bench.clock.now + 5)
    elif failure == "cut":
        bench.store.fail_after_writing = 10**9
    else:
        bench.store.fail_with = LogStoreError(failure, retryable=failure != "403")
    begin = bench.clock.now
    while bench.clock.now < begin + 600:
        bench.live(0.5, log)
    bench.store.on_put = lambda: None
    bench.store.fail_with, bench.store.fail_after_writing = None, 0
    bench.live(60, log)
    bench.live(16)
    for identity in identities:
        assert bench.stored(identity) == list(range(count))
    assert max(len(data) for _, data in bench.store.sent) <= 8 * 2**20


def test_a_log_of_200_mb_is_sealed_in_little_memory(tmp_path: Path) -> None:
    """At most 64 MB above the idle process, whatever the size: half of it segments, half the spool."""
    assert _memory_to_seal(tmp_path, partial(LocalStore, tmp_path / "store", "worker-logs"), 200_000_000) <= 64_000_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_log_of_2_gb_is_sealed_in_little_memory(tmp_path: Path) -> None:
    """The same at full size."""
    opened = partial(LocalStore, tmp_path / "store", "worker-logs")
    assert _memory_to_seal(tmp_path, opened, 2_000_000_000) <= 64_000_000
    shutil.rmtree(tmp_path / "store")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_log_of_2_gb_is_sealed_to_s3_in_little_memory(tmp_path: Path, swift: S3Server) -> None:
    """The same with what an S3 client needs to read the pieces and to send the parts."""
    opened = partial(s3_store, swift, worker_log_bucket="sealing")
    assert _memory_to_seal(tmp_path, opened, 2_000_000_000) <= 64_000_000


def _memory_to_seal(folder: Path, opened: Callable[[], LogStore], size: int) -> int:
    """Bytes above the idle process, of a process that seals such a log."""
    job, created = uuid.uuid4(), datetime.now(UTC)
    earlier, identity = LogIdentity(job, created, 1, 1), LogIdentity(job, created, 2, 2)
    store, spool = opened(), Spool(folder / "spool")
    store.ensure_bucket()
    line = b'\n{"at":"2026-03-04T12:00:00.000000Z","n":1%08d,"pad":"%b"}\n'
    block = b"".join(line % (number, b"x" * 900) for number in range(8_000))
    for seq in range(size // 2 // len(block)):
        store.put(earlier.segment_key(seq, seq * len(block), len(block)), block)
    spool.root.mkdir()
    with spool.path(identity).open("wb") as file:
        while file.tell() < size // 2:
            file.write(block)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_seal, args=(opened, spool, identity, sender))
    process.start()
    peak = idle = receiver.recv()
    while process.is_alive():
        peak = max(peak, _memory(process.pid))
        process.join(0.02)
    assert process.exitcode == 0
    return peak - idle


def _seal(opened: Callable[[], LogStore], spool: Spool, identity: LogIdentity, sender: Any) -> None:
    store = opened()
    assert list(store.list("logs/")) == []
    sender.send(psutil.Process().memory_info().rss)
    sealed = seal(store, spool, identity, previous=[], commit=lambda _: True)
    assert sealed is not None
    assert sum(size for _, size in store.list("logs/")) == sealed.bytes
    with_one = json.loads(next(iter(store.get(identity.sealed_key))).split(b"\n")[0])
    assert with_one["n"] == 100_000_000


def _memory(pid: int | None) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0

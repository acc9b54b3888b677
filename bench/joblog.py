"""Job logs: what it costs to bring them to the store while jobs run: `joblog [--quick] [--minutes N] [--store local]`.

1. A hundred jobs log 10 kB/s each, in a process of their own, while this one flushes and seals: bytes sent a byte
   logged, requests a flush, the age of the oldest byte when the store had it, memory.
2. Five jobs a second come, log 20 lines and end: requests a job.
3. One process logs as fast as it can: lines a second.
4. A log of 2 GB (quick: 200 MB) is sealed in a process of its own: its memory above the idle process.
5. One log is brought to the same store in our way and by download, modify, upload: bytes moved.

The store is the one that the environment names (WORKER_LOG_BACKEND), else an S3 server started here, else local files;
the table says which.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from bench._joblog import s3_server
from worker.errors import NotFound
from worker.joblog.cuts import Cuts
from worker.joblog.flush import Flusher
from worker.joblog.health import StoreHealth
from worker.joblog.identity import LogIdentity
from worker.joblog.log import OpenJobLog, open_job_log
from worker.joblog.seal import seal
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.joblog.stores.local import LocalStore
from worker.redact import Redactor

LINE = (
    "amplification", "requests_per_flush", "lines_per_s", "flush_lag_s_max", "compact_rss_mb", "rss_mb",
    "rewrite_ratio",
)  # fmt: skip
"""What the last line says; the rest is in the table."""

JOBS = 100
BYTES_A_SECOND = 10_000
LINE_BYTES = 200
AGE_SECONDS = 15.0
THREADS = 8
MEGABYTE = 1_000_000


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """All five, on one store."""
    parser = argparse.ArgumentParser(prog="joblog")
    parser.add_argument("--minutes", type=float, default=62 / 60 if quick else 30, help="how long the hundred jobs log")
    parser.add_argument("--store", choices=["local", "s3"], help="default: s3, where such a server can be started")
    options = parser.parse_args(args)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-joblog-")))
        store, what = _store(options.store, folder, stack)
        counted = Counted(store)
        steady = _steady(counted, folder / "steady", options.minutes * 60)
        short = _short_jobs(counted, folder / "short", 10 if quick else 60)
        lines = _lines_a_second(folder / "lines", 2 if quick else 10)
        compact = _compact(folder / "compact", 200 * MEGABYTE if quick else 2_000 * MEGABYTE)
        rewrite = _rewrite(counted, folder / "rewrite", 45 if quick else 90)
    return {"store": what, **steady, **short, "lines_per_s": round(lines), **compact, **rewrite}


class Counted:
    """A log store that counts what goes through it."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.requests = 0
        self.sent = 0
        self.received = 0
        self.on_put: Callable[[str, bytes], None] = lambda _key, _data: None

    @property
    def largest_object(self) -> int | None:
        """The store's."""
        return self._store.largest_object

    def put(self, key: str, data: bytes) -> None:
        """Count one request and these bytes."""
        self._store.put(key, data)
        self._count(1, len(data))
        self.on_put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Count one request, and its bytes."""
        self._store.put_file(key, path)
        self._count(1, path.stat().st_size)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Count one request, and the bytes that came."""
        self._count(1, 0)
        for chunk in self._store.get(key, start, length):
            self.received += len(chunk)
            yield chunk

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Count one request."""
        self._count(1, 0)
        return self._store.list(prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """Count one request for up to a thousand keys."""
        all_keys = list(keys)
        self._count(-(-len(all_keys) // 1000), 0)
        self._store.delete(all_keys)

    def ensure_bucket(self) -> None:
        """Not counted."""
        self._store.ensure_bucket()

    def ensure_retention(self, days: float) -> bool:
        """Not counted."""
        return self._store.ensure_retention(days)

    def url(self, key: str, seconds: int) -> str | None:
        """Not counted."""
        return self._store.url(key, seconds)

    def _count(self, requests: int, sent: int) -> None:
        with self._lock:
            self.requests += requests
            self.sent += sent


def _store(wanted: str | None, folder: Path, stack: ExitStack) -> tuple[LogStore, str]:
    if wanted != "local":
        found = s3_server.started(stack)
        if found is not None:
            return found
        if wanted == "s3":
            raise SystemExit(f"joblog: no S3 server: {s3_server.why_not()}")
    store = LocalStore(folder / "store", "worker-logs")
    store.ensure_bucket()
    reason = s3_server.why_not()
    return store, "local files" + (f" (no S3 server: {reason})" if wanted is None else "")


def _identity(number: int) -> LogIdentity:
    return LogIdentity(uuid.uuid4(), datetime.now(UTC), number, 1)


def _appending(spool: Spool, identity: LogIdentity) -> BinaryIO:
    spool.root.mkdir(parents=True, exist_ok=True)
    return spool.path(identity).open("ab")


# 1. A hundred jobs


def _steady(store: Counted, folder: Path, seconds: float) -> dict[str, Any]:
    spool, identities = Spool(folder), [_identity(number) for number in range(1, JOBS + 1)]
    lags: list[float] = []
    store.on_put = lambda key, data: lags.append(_age_of(data)) if key.startswith("live/") else None
    with ThreadPoolExecutor(THREADS) as executor:
        flusher = Flusher(store, spool, executor, StoreHealth(), age_seconds=AGE_SECONDS)
        for identity in identities:
            flusher.watch(identity)
        flusher.start()
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(folder, identities, seconds))
        writer.start()
        writer.join()
        rss = psutil.Process().memory_info().rss
        uploads = [flusher.let_go(identity) for identity in identities]
        for upload in filter(None, uploads):
            upload.result()
        flusher.stop()
        store.on_put = lambda _key, _data: None
        logged = sum(spool.size(identity) for identity in identities)
        list(executor.map(lambda identity: _seal(store, spool, identity), identities))
    return {
        "jobs": JOBS,
        "seconds": round(seconds),
        "logged_mb": round(logged / MEGABYTE, 1),
        "flushes": len(lags),
        "amplification": round(store.sent / logged, 3),
        "requests_per_flush": round(store.requests / max(len(lags), 1), 3),
        "flush_lag_s_max": round(max(lags, default=0.0), 1),
        "rss_mb": round(rss / MEGABYTE),
    }


def _write(folder: Path, identities: list[LogIdentity], seconds: float) -> None:
    """In the jobs' process: every second of each job's, at a time of its own, 10 kB of lines."""
    opened = [_opened(folder, identity) for identity in identities]
    begin = time.monotonic()
    for number in range(int(seconds * len(opened))):
        if time.monotonic() > begin + seconds:  # a busy machine: then they log less
            break
        time.sleep(max(0.0, begin + number / len(opened) - time.monotonic()))
        for line in range(BYTES_A_SECOND // LINE_BYTES):
            opened[number % len(opened)].log.info("progress of the work", step=line, text="x" * (LINE_BYTES - 132))
    for one in opened:
        one.close()


def _opened(folder: Path, identity: LogIdentity) -> OpenJobLog:
    return open_job_log(Spool(folder), identity, Redactor(["a secret that never comes"]), source="worker")


def _age_of(data: bytes) -> float:
    """Seconds since the first line of a segment was logged."""
    first = next(line for line in data.split(b"\n") if line)
    return (datetime.now(UTC) - datetime.fromisoformat(json.loads(first)["at"])).total_seconds()


def _seal(store: LogStore, spool: Spool, identity: LogIdentity) -> None:
    assert seal(store, spool, identity, previous=[], commit=lambda _: True) is not None


# 2. Short jobs


def _short_jobs(store: Counted, folder: Path, seconds: int) -> dict[str, Any]:
    requests, spool = store.requests, Spool(folder)
    begin = time.monotonic()
    count = 5 * seconds
    with ThreadPoolExecutor(THREADS) as executor:
        sealing = []
        for number in range(count):
            time.sleep(max(0.0, begin + number / 5 - time.monotonic()))
            identity = _identity(number + 1)
            with _opened(folder, identity) as opened:
                for line in range(20):
                    opened.log.info("progress of the work", step=line)
                sealing.append(executor.submit(_seal, store, spool, identity))
                sealing[-1].result()
    return {"short_jobs": count, "requests_a_short_job": round((store.requests - requests) / count, 2)}


# 3. As fast as it can


def _lines_a_second(folder: Path, seconds: float) -> float:
    with _opened(folder, _identity(1)) as opened:
        begin, count = time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            for _ in range(100):
                opened.log.info("progress of the work", step=count, text="x" * (LINE_BYTES - 132))
            count += 100
        return count / (time.monotonic() - begin)


# 4. A large log


def _compact(folder: Path, size: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    identity = LogIdentity(uuid.uuid4(), datetime.now(UTC), 2, 2)
    _make_large(folder, identity, size)
    process = context.Process(target=_seal_large, args=(folder, identity, sender))
    process.start()
    idle, peak, seconds = receiver.recv()
    process.join()
    shutil.rmtree(folder)
    return {
        "compact_mb": size // MEGABYTE,
        "compact_seconds": round(seconds, 1),
        "compact_rss_mb": round((peak - idle) / MEGABYTE, 1),
    }


def _make_large(folder: Path, identity: LogIdentity, size: int) -> None:
    """Half of the log is an earlier attempt's segments, half the spool. Local files: a store's client is not ours."""
    store, spool = LocalStore(folder / "store", "worker-logs"), Spool(folder / "spool")
    earlier = LogIdentity(identity.job_id, identity.created_at, 1, 1)
    line = b'\n{"at":"2026-03-04T12:00:00.000000Z","n":1%08d,"pad":"%b"}\n'
    block = b"".join(line % (number, b"x" * 130) for number in range(20_000))
    offset = 0
    while offset < size // 2:
        store.put(earlier.segment_key(offset // len(block), offset, len(block)), block)
        offset += len(block)
    with _appending(spool, identity) as file:
        while file.tell() < size // 2:
            file.write(block)


def _seal_large(folder: Path, identity: LogIdentity, sender: Any) -> None:
    idle, begin = psutil.Process().memory_info().rss, time.monotonic()
    peak, ended = [idle], threading.Event()

    def sample() -> None:
        while not ended.wait(0.01):
            peak.append(max(peak.pop(), psutil.Process().memory_info().rss))

    sampler = threading.Thread(target=sample)
    sampler.start()
    _seal(LocalStore(folder / "store", "worker-logs"), Spool(folder / "spool"), identity)
    ended.set()
    sampler.join()
    sender.send((idle, peak[0], time.monotonic() - begin))


# 5. Download, modify, upload


def _rewrite(store: Counted, folder: Path, flushes: int) -> dict[str, Any]:
    piece = b'\n{"at":"2026-03-04T12:00:00.000000Z","event":"progress of the work"}\n' * 2_857
    ours = _moved(store, lambda: _our_way(store, Spool(folder), piece, flushes))
    theirs = _moved(store, lambda: _their_way(store, piece, flushes))
    return {
        "rewrite_flushes": flushes,
        "rewrite_seconds": round(theirs[1], 1),
        "our_seconds": round(ours[1], 1),
        "rewrite_ratio": round(theirs[0] / ours[0], 1),
    }


def _moved(store: Counted, work: Callable[[], None]) -> tuple[int, float]:
    before, begin = store.sent + store.received, time.monotonic()
    work()
    return store.sent + store.received - before, time.monotonic() - begin


def _our_way(store: Counted, spool: Spool, piece: bytes, flushes: int) -> None:
    identity = _identity(1)
    cuts = Cuts(spool, identity)
    for _ in range(flushes):
        with _appending(spool, identity) as file:
            file.write(piece)
        segment = cuts.freeze(ended=False)
        assert segment is not None
        store.put(segment.key, cuts.data(segment))
        cuts.is_uploaded(segment)
    _seal(store, spool, identity)


def _their_way(store: Counted, piece: bytes, flushes: int) -> None:
    key = f"logs/rewritten/{uuid.uuid4()}.log"
    for _ in range(flushes):
        try:
            before = b"".join(store.get(key))
        except NotFound:
            before = b""
        store.put(key, before + piece)
    store.delete([key])

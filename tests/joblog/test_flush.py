"""While attempts run, the store has every line before it is old, in few requests and little memory."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from tests.joblog.faults import FaultyStore
from worker.errors import LogStoreError, ObjectTooLarge
from worker.joblog.cuts import Cuts
from worker.joblog.flush import Flusher
from worker.joblog.health import NotCalled, StoreHealth
from worker.joblog.identity import LogIdentity
from worker.joblog.read import read_log
from worker.joblog.ship import is_all_uploaded, ship, upload
from worker.joblog.spool import Spool

Attempt = Callable[[int], LogIdentity]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Now."""
        return self.now


class AtOnce(Executor):
    """Runs what is submitted before submit() returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Bench:
    """A flusher under a clock of the test's own."""

    def __init__(self, store: FaultyStore, spool: Spool, segment_bytes: int = 8 * 2**20) -> None:
        self.clock = Clock()
        self.store, self.spool = store, spool
        self.health = StoreHealth(clock=self.clock)
        self.flusher = Flusher(
            store, spool, AtOnce(), self.health, age_seconds=15, segment_bytes=segment_bytes, clock=self.clock
        )

    def write(self, identity: LogIdentity, numbers: range, pad: int = 50) -> None:
        """Numbered lines."""
        writer = self.spool.open(identity)
        for number in numbers:
            writer.append_line(json.dumps({"n": number, "pad": "x" * pad}).encode())
        writer.close()

    def live(self, seconds: float, each: Callable[[], Any] = lambda: None) -> None:
        """Let time pass in half seconds."""
        for _ in range(round(seconds * 2)):
            each()
            self.clock.now += 0.5
            self.flusher.look()

    def stored(self, identity: LogIdentity) -> list[int]:
        """The numbers of the lines that another machine can read."""
        lines = read_log(
            self.store, None, job_id=identity.job_id, created_at=identity.created_at, parts=[], token=identity.token
        )
        return [json.loads(line)["n"] for line in lines]


@pytest.fixture
def bench(tmp_path: Path, spool: Spool) -> Bench:
    """A store that can be made to fail, and a flusher."""
    return Bench(FaultyStore(tmp_path / "store"), spool)


def test_promise_7_no_byte_waits_longer_than_its_age(bench: Bench, attempt: Attempt) -> None:
    """At any moment another machine can read what was logged 16 s ago: a lost machine costs at most 20 s."""
    bench.flusher.watch(attempt(1))
    written: list[tuple[float, int]] = []

    def write_and_check() -> None:
        bench.write(attempt(1), range(len(written), len(written) + 1))
        written.append((bench.clock.now, len(written)))
        stored = bench.stored(attempt(1))
        old = [number for at, number in written if at <= bench.clock.now - 16]
        assert stored[: len(old)] == old

    bench.live(60, write_and_check)
    assert len(bench.store.puts) in (3, 4)


def test_a_quiet_job_costs_no_request(bench: Bench, attempt: Attempt) -> None:
    """Only what is logged is sent, once."""
    bench.write(attempt(1), range(3))
    bench.flusher.watch(attempt(1))
    bench.live(120)
    assert len(bench.store.puts) == 1
    assert bench.stored(attempt(1)) == [0, 1, 2]


def test_much_is_sent_before_it_is_old(tmp_path: Path, spool: Spool, attempt: Attempt) -> None:
    """A segment's worth of bytes does not wait for its age."""
    bench = Bench(FaultyStore(tmp_path / "store"), spool, segment_bytes=10_000)
    bench.flusher.watch(attempt(1))
    bench.write(attempt(1), range(500))
    bench.live(1)
    assert len(bench.store.puts) == spool.size(attempt(1)) // 10_000
    assert all(size <= 10_000 for _, size in bench.store.puts)


def test_a_hundred_jobs_share_one_thread_and_one_failure(bench: Bench, attempt: Attempt) -> None:
    """While the store is down one call in a while tries it, whatever the number of jobs; then all catch up."""
    identities = [attempt(number) for number in range(1, 101)]
    for identity in identities:
        bench.flusher.watch(identity)
        bench.write(identity, range(5))
    bench.store.fail_with = LogStoreError("The store is down.", retryable=True)
    bench.live(600)
    assert len(bench.store.tries) <= 45
    for identity in identities:
        bench.write(identity, range(5, 10))
    bench.store.fail_with = None
    bench.live(32)
    segments = {key for key, _ in bench.store.puts}
    assert len(segments) == len(bench.store.puts)
    for identity in identities[::30]:
        assert (bench.spool.root / bench.spool.path(identity).name).exists()
        assert sum(size for key, size in bench.store.puts if key in segments and _is_of(key, identity)) == (
            bench.spool.size(identity)
        )


def _is_of(key: str, identity: LogIdentity) -> bool:
    return f"/{identity.token:020d}-" in key


def test_what_needs_a_person_is_tried_slowly(bench: Bench, attempt: Attempt) -> None:
    """No permission, no bucket: the next try comes half a minute later, and is said as an error."""
    bench.flusher.watch(attempt(1))
    bench.write(attempt(1), range(5))
    bench.store.fail_with = LogStoreError("403", retryable=False)
    bench.live(15 + 95)
    assert len(bench.store.tries) == 4


def test_an_object_the_store_will_not_take_keeps_no_other_log_waiting(bench: Bench, attempt: Attempt) -> None:
    """413 says nothing of other logs: theirs are there before they are old, that one is tried again slowly."""
    large, other = attempt(1), LogIdentity(attempt(1).job_id, attempt(1).created_at, 99)

    def refuse() -> None:
        if f"{large.token:020d}" in bench.store.tries[-1]:
            raise ObjectTooLarge("413", retryable=False)

    bench.store.on_put = refuse
    for identity in (large, other):
        bench.flusher.watch(identity)
    count = 0

    def log() -> None:
        nonlocal count
        for identity in (large, other):
            bench.write(identity, range(count, count + 1))
        count += 1

    for _ in range(10):
        bench.live(15, log)
        stored = [number for number in bench.stored(other) if number is not None]
        assert count - len(stored) <= 2 * 16
    assert 4 <= len([key for key in bench.store.tries if f"{large.token:020d}" in key]) <= 6


@pytest.mark.parametrize("when", ["while it runs", "at its end"])
def test_segments_that_are_too_large_for_a_proxy_are_cut_smaller(bench: Bench, attempt: Attempt, when: str) -> None:
    """413 at a megabyte is a web server's usual limit: the log gets through, also after a restart, each line once."""

    def refuse_large() -> None:
        if len(bench.store.sent[-1][1]) > 1_000_000:
            raise ObjectTooLarge("413", retryable=False)

    bench.store.on_put = refuse_large
    bench.write(attempt(1), range(3000), pad=1000)
    if when == "while it runs":
        bench.flusher.watch(attempt(1))
        bench.live(20)
    else:
        upload(bench.store, bench.spool, attempt(1))
    assert is_all_uploaded(bench.spool, attempt(1))
    bench.write(attempt(1), range(3000, 3100))
    upload(bench.store, bench.spool, attempt(1))
    assert bench.stored(attempt(1)) == list(range(3100))
    assert sum(length for _, length in bench.store.puts) == bench.spool.size(attempt(1))
    assert set(bench.spool.noted_keys(attempt(1))) == {key for key, _ in bench.store.puts}


def test_a_store_that_was_not_called_does_not_work_again(bench: Bench, attempt: Attempt) -> None:
    """Who finds nothing to send after all has learnt nothing: the others go on waiting for the next try."""
    bench.store.fail_with = LogStoreError("away", retryable=True)
    bench.flusher.watch(attempt(1))
    bench.write(attempt(1), range(3))
    bench.live(16)
    assert not bench.health.may_try
    bench.clock.now += 60
    with bench.health.call() as may_call:
        assert may_call
        raise NotCalled
    assert bench.health.may_try
    with bench.health.call(), pytest.raises(AssertionError), bench.health.call() as may_call:
        assert may_call  # one at a time, as long as nobody has seen it work


def test_what_is_all_uploaded_is_known_without_the_store(bench: Bench, attempt: Attempt) -> None:
    """A spool that waits for somebody else's seal asks the store nothing."""
    bench.write(attempt(1), range(3))
    assert not is_all_uploaded(bench.spool, attempt(1))
    sent: list[int] = []
    upload(bench.store, bench.spool, attempt(1), on_sent=sent.append)
    assert is_all_uploaded(bench.spool, attempt(1))
    assert sent == [length for _, length in bench.store.puts]
    bench.write(attempt(1), range(3, 4))
    assert not is_all_uploaded(bench.spool, attempt(1))


def test_a_retry_sends_the_same_bytes_to_the_same_key(bench: Bench, attempt: Attempt) -> None:
    """A segment is frozen before its first try: lines that come meanwhile do not change it."""
    bench.flusher.watch(attempt(1))
    bench.store.fail_after_writing = 2
    bench.live(40, lambda: bench.write(attempt(1), range(1)))
    first = bench.store.tries[0]
    assert bench.store.tries[:3] == [first] * 3
    assert len({data for key, data in bench.store.sent if key == first}) == 1


def test_a_retry_after_a_crash_sends_the_same_bytes_to_the_same_key(bench: Bench, attempt: Attempt) -> None:
    """The cut is on the disk before the first try; another process, with other settings, goes on with it."""
    bench.write(attempt(1), range(100))
    cuts = Cuts(bench.spool, attempt(1), 2_000)
    first, second = cuts.freeze(ended=False), cuts.freeze(ended=False)
    assert first is not None
    assert second is not None
    bench.store.put(first.key, cuts.data(first))
    cuts.is_uploaded(first)
    bench.write(attempt(1), range(100, 200))
    again = Cuts(bench.spool, attempt(1), 5_000)
    assert list(again.waiting) == [second]
    ship(bench.store, bench.spool, attempt(1), segment_bytes=5_000)
    keys = [key for key, _ in bench.store.puts]
    assert keys[:2] == [first.key, second.key]
    assert len(set(keys)) == len(keys)
    assert bench.stored(attempt(1)) == list(range(200))


def test_the_end_of_an_attempt_sends_only_what_is_new(bench: Bench, attempt: Attempt) -> None:
    """What was flushed is not sent again: an attempt's bytes go to the store once, and once more when it is sealed."""
    bench.flusher.watch(attempt(1))
    bench.live(100, lambda: bench.write(attempt(1), range(1)))
    bench.flusher.let_go(attempt(1))
    size = bench.spool.size(attempt(1))
    ship(bench.store, bench.spool, attempt(1))
    assert sum(length for _, length in bench.store.puts) == size

"""A job's log is sealed once, whole and in order, whatever kills whom at which step."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.joblog.faults import FaultyStore
from tests.joblog.rows import Row, leftovers
from worker.errors import LogStoreError, ObjectTooLarge
from worker.joblog import seal as seal_module
from worker.joblog.clean import clean_lines
from worker.joblog.identity import LogIdentity
from worker.joblog.seal import Sealed, seal
from worker.joblog.ship import ship
from worker.joblog.spool import Spool
from worker.joblog.stores.local import LocalStore

Attempt = Callable[[int], LogIdentity]


class SmallObjects(LocalStore):
    """A store that takes no object of more than 300,000 bytes."""

    @property
    def largest_object(self) -> int | None:
        """Its limit."""
        return 300_000


class CountingStore(LocalStore):
    """A local store that remembers what it was asked."""

    calls: list[str]

    def put(self, key: str, data: bytes) -> None:
        """Count a put."""
        self.calls.append("put")
        super().put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Count a put of a file."""
        self.calls.append("put_file")
        super().put_file(key, path)

    def list(self, prefix: str, start_after: str | None = None) -> Any:
        """Count a listing."""
        self.calls.append("list")
        return super().list(prefix, start_after)


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """The row of a job whose first attempt has begun."""
    made = Row(tmp_path / "row.json")
    made.write(10, [], sealed=False)
    return made


def write_lines(spool: Spool, identity: LogIdentity, numbers: range, *, pad: int = 0) -> None:
    """Numbered lines into an attempt's spool."""
    writer = spool.open(identity)
    for number in numbers:
        assert writer.append_line(json.dumps({"n": number, "pad": "x" * pad}).encode())
    writer.close()


def numbers_in(store: LocalStore, parts: list[dict[str, Any]] | list[Mapping[str, Any]]) -> list[Any]:
    """The numbers of a sealed log's lines, in order."""
    content = b"".join(b"".join(store.get(part["key"])) for part in parts)
    entries = map(json.loads, content.splitlines())
    return [entry.get("n") for entry in entries if entry.get("event") != "log cut off"]


def test_a_short_job_costs_one_put(spool: Spool, attempt: Attempt, row: Row, tmp_path: Path) -> None:
    """A first attempt whose job ends needs one request, and leaves nothing but its log."""
    store = CountingStore(tmp_path / "store", "worker-logs")
    store.calls = []
    write_lines(spool, attempt(1), range(20))
    size = spool.size(attempt(1))
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert store.calls == ["put"]
    assert [(key, size) for key, size in store.list("")] == [(attempt(1).sealed_key, sealed.bytes)]
    covers = {"10": size}
    assert sealed.parts == [{"key": attempt(1).sealed_key, "bytes": sealed.bytes, "lines": 21, "covers": covers}]
    assert numbers_in(store, sealed.parts) == list(range(20))
    assert list(spool.root.iterdir()) == []


def test_all_attempts_stay_in_one_log(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
    """Shipped attempts and the last one become one log in the order they were written; the segments go."""
    for number in (1, 2, 3):
        write_lines(spool, attempt(number), range(number * 100, number * 100 + 50), pad=100)
        if number < 3:
            assert ship(store, spool, attempt(number), segment_bytes=2_000) > 3
    row.write(30, [], sealed=False)
    sealed = seal(store, spool, attempt(3), previous=[], commit=row.commit(30))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == [*range(100, 150), *range(200, 250), *range(300, 350)]
    assert [key for key, _ in store.list("")] == [attempt(3).sealed_key]


def test_a_manual_retry_begins_with_the_sealed_log(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
    """The earlier log's lines come first in the next, and its object goes after the commit."""
    write_lines(spool, attempt(1), range(10))
    seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    row.write(20, row.parts, sealed=False)
    write_lines(spool, attempt(2), range(10, 20))
    sealed = seal(store, spool, attempt(2), previous=row.parts, commit=row.commit(20))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(20))
    assert [key for key, _ in store.list("")] == [attempt(2).sealed_key]


def test_promise_2_a_zombie_seals_nothing(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
    """Whoever's token is outdated deletes its own object only; its lines go on to the newer attempt's log."""
    write_lines(spool, attempt(1), range(10))
    row.write(20, [], sealed=False)
    assert seal(store, spool, attempt(1), previous=[], commit=row.commit(10)) is None
    assert [key for key, _ in store.list("")] == []
    assert ship(store, spool, attempt(1)) == 1
    write_lines(spool, attempt(2), range(10, 20))
    sealed = seal(store, spool, attempt(2), previous=[], commit=row.commit(20))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(20))


def test_promise_7_lines_of_a_killed_neighbour_join_the_log(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """The spool that a killed worker of this machine left is taken along by whoever seals the job."""
    write_lines(spool, attempt(1), range(10))
    row.write(20, [], sealed=False)
    write_lines(spool, attempt(2), range(10, 20))
    sealed = seal(store, spool, attempt(2), previous=[], commit=row.commit(20))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(20))
    assert list(spool.root.iterdir()) == []


def test_a_job_without_a_line_seals_nothing(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
    """No object is written, but the row still learns that the log is complete."""
    assert seal(store, spool, attempt(1), previous=[], commit=row.commit(10)) == Sealed([], 0, 0)
    assert list(store.list("")) == []
    assert row.parts == []
    assert list(spool.root.iterdir()) == []


def test_a_job_that_ended_without_a_spool_is_sealed_from_its_segments(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """A job cancelled between two attempts has segments only; they become its log."""
    write_lines(spool, attempt(1), range(10))
    ship(store, spool, attempt(1))
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(10))
    assert [key for key, _ in store.list("")] == [attempt(1).sealed_key]


def test_a_large_log_is_never_whole_in_memory(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a limit the log is built in a file."""
    monkeypatch.setattr(seal_module, "IN_MEMORY_BYTES", 1_000)
    write_lines(spool, attempt(1), range(200), pad=50)
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(200))
    assert list(spool.root.iterdir()) == []


def test_a_store_that_limits_objects_gets_several(
    spool: Spool, attempt: Attempt, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ordered parts of whole lines, each within the limit, also those that are too large for memory; the log is one."""
    most = 300_000
    store = SmallObjects(tmp_path / "store", "worker-logs")
    monkeypatch.setattr("worker.joblog.seal.IN_MEMORY_BYTES", 100_000)
    write_lines(spool, attempt(1), range(1000), pad=1000)
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert len(sealed.parts) == 4
    assert dict(store.list("")) == {part["key"]: part["bytes"] for part in sealed.parts}
    assert max(part["bytes"] for part in sealed.parts) <= most
    assert numbers_in(store, sealed.parts) == list(range(1000))
    assert sealed.lines == sum(part["lines"] for part in sealed.parts)
    assert list(spool.root.iterdir()) == []
    # Sealed again, as after a crash behind the commit: nothing of it is cleared away.
    spool.note_keys(attempt(1), [part["key"] for part in sealed.parts])
    assert seal(store, spool, attempt(1), previous=sealed.parts, commit=row.commit(10)) is not None
    assert numbers_in(store, sealed.parts) == list(range(1000))


def test_a_limit_that_only_a_refusal_tells_is_kept(
    spool: Spool, attempt: Attempt, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's own limit, or a proxy's, answers 413: the log goes in smaller objects, nobody has to do anything."""
    monkeypatch.setattr(seal_module, "LEAST_OBJECT_BYTES", 10_000)
    store, refused = FaultyStore(tmp_path / "store"), ObjectTooLarge("413", retryable=False)

    def refuse_large() -> None:
        if len(store.sent[-1][1]) > 300_000:
            raise refused

    store.on_put = refuse_large
    write_lines(spool, attempt(1), range(1000), pad=1000)
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert len(sealed.parts) == 5
    assert numbers_in(store, sealed.parts) == list(range(1000))
    monkeypatch.setattr(seal_module, "LEAST_OBJECT_BYTES", 600_000)
    row.write(20, [], sealed=False)
    write_lines(spool, attempt(2), range(1000), pad=1000)
    with pytest.raises(ObjectTooLarge):
        seal(store, spool, attempt(2), previous=[], commit=row.commit(20))


@pytest.mark.parametrize(("spare", "objects"), [(300_000, 4), (0, 11)])
def test_a_log_larger_than_the_room_on_disk_is_sealed_in_several_objects(
    spool: Spool, attempt: Attempt, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, objects: int
) -> None:
    """On a full disk nothing is built in a file at all: else the log could never leave it."""
    monkeypatch.setattr(seal_module, "IN_MEMORY_BYTES", 100_000)
    store, built = FaultyStore(tmp_path / "store"), [0]

    def look_at_the_disk() -> None:
        building = spool.building(attempt(1))
        built.append(building.stat().st_size if building.exists() else 0)

    store.on_put = look_at_the_disk
    write_lines(spool, attempt(1), range(1000), pad=1000)
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10), spare=lambda: spare)
    assert sealed is not None
    assert len(sealed.parts) == objects
    assert max(built) <= spare
    assert numbers_in(store, sealed.parts) == list(range(1000))


def test_a_gap_between_segments_is_shown(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
    """A piece that is missing in the store leaves a line that says so."""
    write_lines(spool, attempt(1), range(50), pad=100)
    ship(store, spool, attempt(1), segment_bytes=2_000)
    keys = [key for key, _ in store.list("live/")]
    store.delete([keys[1]])
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    content = b"".join(store.get(attempt(1).sealed_key))
    assert content.count(b'"event": "lines missing"') == 1


def test_a_store_that_fails_loses_nothing(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row, tmp_path: Path
) -> None:
    """An outage is a LogStoreError; spool and row stay as they were, and the next call succeeds."""
    (tmp_path / "file").write_text("")
    broken = LocalStore(tmp_path / "file", "b")
    write_lines(spool, attempt(1), range(10))
    with pytest.raises(LogStoreError):
        seal(broken, spool, attempt(1), previous=[], commit=row.commit(10))
    with pytest.raises(LogStoreError):
        ship(broken, spool, attempt(1))
    sealed = seal(store, spool, attempt(1), previous=row.parts, commit=row.commit(10))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(10))


def test_a_second_seal_with_one_token_leaves_the_first_ones_alone(
    spool: Spool, attempt: Attempt, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops lets go of the spool, but its thread goes on: who comes back does not build the log too."""
    monkeypatch.setattr(seal_module, "IN_MEMORY_BYTES", 1_000)
    store = FaultyStore(tmp_path / "store")
    write_lines(spool, attempt(1), range(200), pad=50)
    seconds: list[Sealed | None] = []

    def seal_again() -> None:
        if not seconds:
            seconds.append(seal(store, spool, attempt(1), previous=[], commit=row.commit(10)))

    store.on_put = seal_again
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert seconds == [None]
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(200))
    assert sealed.bytes == sum(size for _, size in store.list(""))
    assert list(spool.root.iterdir()) == []


def test_a_store_that_is_away_costs_no_room_twice(
    spool: Spool, attempt: Attempt, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was built to be sealed goes when it cannot be: the spool itself is all that waits."""
    monkeypatch.setattr(seal_module, "IN_MEMORY_BYTES", 1_000)
    broken = FaultyStore(tmp_path / "store")
    broken.fail_with = LogStoreError("away", retryable=True)
    write_lines(spool, attempt(1), range(200), pad=50)
    with pytest.raises(LogStoreError):
        seal(broken, spool, attempt(1), previous=[], commit=row.commit(10))
    assert [path.suffix for path in spool.root.iterdir() if path.stat().st_size] == [".ndjson"]


def test_a_commit_with_unknown_outcome_deletes_nothing(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """If the update happened but its answer was lost, calling again keeps the log that the row names."""
    write_lines(spool, attempt(1), range(10))

    def lost_answer(sealed: Sealed) -> bool:
        row.commit(10)(sealed)
        raise ConnectionError("the answer was lost")

    with pytest.raises(ConnectionError):
        seal(store, spool, attempt(1), previous=[], commit=lost_answer)
    stale = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert stale is not None
    assert numbers_in(store, row.parts) == list(range(10))
    assert list(spool.root.iterdir()) == []


KILLED = r"""
import os, signal, sys, uuid
from datetime import datetime
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from tests.joblog.faults import FaultyStore
from tests.joblog.rows import Row, leftovers
from worker.joblog.identity import LogIdentity
from worker.joblog.seal import seal
from worker.joblog.ship import ship
from worker.joblog.spool import Spool
from worker.joblog.stores.local import LocalStore
_, _, verb, folder, job, created, victim = sys.argv
folder = Path(folder)
identity = LogIdentity(uuid.UUID(job), datetime.fromisoformat(created), 30, 3)
spool, store, row = Spool(folder / "spool"), LocalStore(folder / "store", "worker-logs"), Row(folder / "row.json")
passed = 0
def step(name):
    global passed
    passed += 1
    if passed == int(victim):
        print(name, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
if verb == "ship":
    ship(store, spool, identity, step=step, segment_bytes=1000)
else:
    seal(store, spool, identity, previous=row.parts, commit=row.commit(30), step=step)
"""


def _killed_at(verb: str, folder: Path, identity: LogIdentity, victim: int) -> str | None:
    """Run ship() or seal() in a process that kills itself at the n-th step; the step's name, None beyond the last."""
    arguments = [verb, folder, identity.job_id, identity.created_at.isoformat(), victim]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, Path(__file__).parents[2], *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        return None
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def _recover(store: LocalStore, spool: Spool, row: Row) -> None:
    """What the next process does with what it finds, when the job is at its end."""
    for identity in leftovers(spool):
        if identity.token == 30:
            assert seal(store, spool, identity, previous=row.parts, commit=row.commit(30)) is not None
        else:
            ship(store, spool, identity)


def _three_attempts(store: LocalStore, spool: Spool, row: Row, first: LogIdentity) -> LogIdentity:
    """A sealed log of token 10, a shipped attempt of token 20, and one of token 30 in the spool: lines 0 to 89."""
    one, two, three = (LogIdentity(first.job_id, first.created_at, token, token // 10) for token in (10, 20, 30))
    write_lines(spool, one, range(30))
    row.write(10, [], sealed=False)
    seal(store, spool, one, previous=[], commit=row.commit(10))
    write_lines(spool, two, range(30, 60), pad=100)
    ship(store, spool, two, segment_bytes=2_000)
    write_lines(spool, three, range(60, 90), pad=100)
    row.write(30, row.parts, sealed=False)
    return three


@pytest.mark.parametrize("victim", range(1, 8))
def test_promise_7_sealing_survives_kill_at_every_step(
    victim: int, store: LocalStore, spool: Spool, attempt: Attempt, row: Row, tmp_path: Path
) -> None:
    """Killed with -9 at any step and finished by the next process, the log has every line once, in order."""
    identity = _three_attempts(store, spool, row, attempt(1))
    name = _killed_at("seal", tmp_path, identity, victim)
    assert (name is None) == (victim == 7), "the steps of seal() are no longer those that this test kills at"
    _recover(store, spool, row)
    assert numbers_in(store, row.parts) == list(range(90))
    assert [key for key, _ in store.list("")] == [identity.sealed_key]
    assert list(spool.root.iterdir()) == []


@pytest.mark.parametrize("victim", [1, 2, 3, 4])
def test_promise_7_shipping_survives_kill_at_every_step(
    victim: int, store: LocalStore, spool: Spool, attempt: Attempt, row: Row, tmp_path: Path
) -> None:
    """Killed with -9 between two segments and repeated, or sealed at once, no line is lost or doubled."""
    identity = _three_attempts(store, spool, row, attempt(1))
    assert _killed_at("ship", tmp_path, identity, victim) in ("noted", "put")
    if victim % 2:
        ship(store, spool, identity, segment_bytes=1_000)
        later = LogIdentity(identity.job_id, identity.created_at, 40, 4)
        row.write(40, row.parts, sealed=False)
        assert seal(store, spool, later, previous=row.parts, commit=row.commit(40)) is not None
    else:
        _recover(store, spool, row)
    assert numbers_in(store, row.parts) == list(range(90))
    assert len(list(store.list(""))) == 1
    assert list(spool.root.iterdir()) == []


def test_an_attempt_killed_in_its_first_shipping_is_sealed_without_remains(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """A first attempt asks the store for nothing, unless some of its spool may be there already."""

    class Killed(Exception):
        pass

    def die(name: str) -> None:
        if name == "put":
            raise Killed

    write_lines(spool, attempt(1), range(50), pad=100)
    with pytest.raises(Killed):
        ship(store, spool, attempt(1), segment_bytes=2_000, step=die)
    sealed = seal(store, spool, attempt(1), previous=[], commit=row.commit(10))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(50))
    assert [key for key, _ in store.list("")] == [attempt(1).sealed_key]


def test_pieces_cut_anew_after_a_crash_are_joined_once(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """Should the size of a segment change between the crash and the repetition, overlapping pieces double no line."""

    class Killed(Exception):
        pass

    def die_at_third(name: str) -> None:
        if name == "put" and len(list(store.list("live/"))) == 3:
            raise Killed

    write_lines(spool, attempt(1), range(50), pad=100)
    with pytest.raises(Killed):
        ship(store, spool, attempt(1), segment_bytes=1_000, step=die_at_third)
    ship(store, spool, attempt(1), segment_bytes=2_000)
    row.write(20, [], sealed=False)
    write_lines(spool, attempt(2), range(50, 60))
    sealed = seal(store, spool, attempt(2), previous=[], commit=row.commit(20))
    assert sealed is not None
    assert numbers_in(store, sealed.parts) == list(range(60))
    assert [key for key, _ in store.list("")] == [attempt(2).sealed_key]


def test_segments_are_cut_at_line_ends(store: LocalStore, spool: Spool, attempt: Attempt) -> None:
    """Each segment is readable on its own, none is larger than allowed, and together they are the spool."""
    write_lines(spool, attempt(1), range(100), pad=90)
    content = spool.path(attempt(1)).read_bytes()
    ship(store, spool, attempt(1), segment_bytes=1_500)
    segments = [b"".join(store.get(key)) for key, _ in store.list(attempt(1).live_prefix)]
    assert b"".join(segments) == content
    assert all(len(segment) <= 1_500 for segment in segments)
    assert all(b"torn line" not in line for segment in segments for line in clean_lines([segment]))


def test_foreign_objects_beside_the_log_are_left_alone(
    store: LocalStore, spool: Spool, attempt: Attempt, row: Row
) -> None:
    """Only keys of the known form are read or deleted."""
    store.put(f"{attempt(2).live_prefix}note.txt", b"x")
    row.write(20, [], sealed=False)
    write_lines(spool, attempt(2), range(3))
    other = LogIdentity(uuid.uuid4(), attempt(1).created_at, 5)
    write_lines(spool, other, range(3))
    assert seal(store, spool, attempt(2), previous=[], commit=row.commit(20)) is not None
    assert f"{attempt(2).live_prefix}note.txt" in [key for key, _ in store.list("")]
    assert spool.path(other).exists()
    assert list(spool.root.iterdir()) == [spool.path(other)]

"""A log reads as one, whole and in order, at every moment of its job's life."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.joblog.rows import Row
from worker.errors import LogStoreError, NotFound
from worker.joblog.identity import LogIdentity
from worker.joblog.read import read_log
from worker.joblog.seal import seal
from worker.joblog.ship import ship
from worker.joblog.spool import Spool
from worker.joblog.stores.local import LocalStore
from worker.joblog.tail import LogState, follow

Attempt = Callable[[int], LogIdentity]


@pytest.fixture
def row(tmp_path: Any) -> Row:
    """The row of a job whose first attempt has begun."""
    made = Row(tmp_path / "row.json")
    made.write(10, [], sealed=False)
    return made


class Life:
    """One job's log through its life: write, ship, seal."""

    def __init__(self, store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> None:
        self.store, self.spool, self.attempt, self.row = store, spool, attempt, row
        self.token = 10
        self.finished = False

    def write(self, number: int, lines: range) -> None:
        """Numbered lines of an attempt."""
        writer = self.spool.open(self.attempt(number))
        for line in lines:
            writer.append_line(json.dumps({"n": line, "pad": "x" * 50}).encode())
        writer.close()

    def ship(self, number: int) -> None:
        """The attempt ended, the job goes on."""
        ship(self.store, self.spool, self.attempt(number), segment_bytes=500)

    def claim(self, number: int) -> None:
        """The next attempt begins."""
        self.token = number * 10
        self.row.write(self.token, self.row.parts, sealed=False)

    def seal(self, number: int) -> None:
        """The job is at its end."""
        assert seal(
            self.store, self.spool, self.attempt(number), previous=self.row.parts, commit=self.row.commit(self.token)
        )

    def read(self, *, spool: bool = True, parts: Sequence[Any] | None = None) -> Iterator[bytes]:
        """The log as a reader here (or on another machine) gets it, from a row read now (or before)."""
        return read_log(
            self.store,
            self.spool if spool else None,
            job_id=self.attempt(1).job_id,
            created_at=self.attempt(1).created_at,
            parts=self.row.parts if parts is None else parts,
            token=self.token,
            again=lambda: self.row.parts,
        )

    def now(self) -> LogState:
        """What the row says."""
        return LogState(self.row.parts, self.token, self.finished)

    def follow(
        self,
        wait: Callable[[float], Any] = time.sleep,
        *,
        spool: bool = True,
        store: LocalStore | None = None,
        **more: Any,
    ) -> Iterator[bytes]:
        """The log as somebody who watches gets it."""
        return follow(
            store or self.store,
            self.spool if spool else None,
            job_id=self.attempt(1).job_id,
            created_at=self.attempt(1).created_at,
            poll=0.01,
            wait=wait,
            **{"state": self.now, **more},
        )


@pytest.fixture
def life(store: LocalStore, spool: Spool, attempt: Attempt, row: Row) -> Life:
    """A job at its beginning."""
    return Life(store, spool, attempt, row)


def numbers(lines: Iterator[bytes]) -> list[int]:
    """The numbers of these lines."""
    entries = map(json.loads, lines)
    return [entry["n"] for entry in entries if entry.get("event") != "log cut off"]


def test_a_log_is_continuous_at_every_moment(life: Life) -> None:
    """Spooled, shipped, running again, sealed, retried: a reader always gets every line so far, once, in order."""
    assert numbers(life.read()) == []
    life.write(1, range(20))
    assert numbers(life.read()) == list(range(20))
    life.ship(1)
    assert numbers(life.read()) == list(range(20))
    life.claim(2)
    life.write(2, range(20, 40))
    assert numbers(life.read()) == list(range(40))
    assert numbers(life.read(spool=False)) == list(range(20))
    life.seal(2)
    assert numbers(life.read()) == list(range(40))
    life.claim(3)
    assert numbers(life.read()) == list(range(40))
    life.write(3, range(40, 60))
    assert numbers(life.read()) == list(range(60))
    life.seal(3)
    assert numbers(life.read(spool=False)) == list(range(60))


def test_a_spool_that_was_shipped_in_part_is_not_read_twice(life: Life) -> None:
    """Segments of an attempt whose whole spool is here add nothing."""

    class Killed(Exception):
        pass

    def die(name: str) -> None:
        if name == "put":
            raise Killed

    life.write(1, range(30))
    with pytest.raises(Killed):
        ship(life.store, life.spool, life.attempt(1), segment_bytes=500, step=die)
    assert numbers(life.read()) == list(range(30))


@pytest.mark.parametrize("read_before", [0, 1, 5, 25, 39])
def test_a_log_sealed_while_it_is_read_stays_continuous(life: Life, read_before: int) -> None:
    """When pieces turn into one object under the reader's hands, it goes on at the next line."""
    life.write(1, range(20))
    life.ship(1)
    life.claim(2)
    life.write(2, range(20, 40))
    life.ship(2)
    reading = life.read()
    first = [next(reading) for _ in range(read_before)]
    life.seal(2)
    assert numbers(iter([*first, *reading])) == list(range(40))


def test_a_log_sealed_after_its_row_was_read_is_not_empty(life: Life) -> None:
    """A row read before the sealing names nothing yet; the pieces are gone by then, and the reader notices."""
    life.write(1, range(20))
    parts = life.row.parts
    life.seal(1)
    assert numbers(life.read(parts=parts)) == list(range(20))


def test_the_log_before_a_retry_may_vanish_while_it_is_read(life: Life) -> None:
    """The earlier log's object is deleted by the next sealing: the reader goes on in the new one."""
    life.write(1, range(20))
    life.seal(1)
    life.claim(2)
    life.write(2, range(20, 40))
    parts = life.row.parts
    life.seal(2)
    assert numbers(life.read(parts=parts)) == list(range(40))


def test_a_deleted_log_is_not_found(life: Life) -> None:
    """After retention the row still names the log; reading it says that it is gone."""
    life.write(1, range(5))
    life.seal(1)
    life.store.delete([life.attempt(1).sealed_key])
    with pytest.raises(NotFound):
        list(life.read())


def test_a_half_written_line_is_not_shown(life: Life) -> None:
    """What the running attempt is just writing comes with the next look."""
    life.write(1, range(3))
    with life.spool.path(life.attempt(1)).open("ab") as file:
        file.write(b'\n{"n": 3')
        file.flush()
        assert numbers(life.read()) == [0, 1, 2]
        file.write(b"}\n")
    assert numbers(life.read()) == [0, 1, 2, 3]


@pytest.mark.parametrize("here", [True, False])
def test_following_shows_every_line_once_through_retry_and_sealing(life: Life, here: bool) -> None:
    """Whoever follows from before the first line to the end sees all lines, here or on another machine."""
    seen: list[bytes] = []
    following = threading.Thread(target=lambda: seen.extend(life.follow(spool=here)))
    following.start()
    for attempt_number in (1, 2, 3):
        if attempt_number > 1:
            life.claim(attempt_number)
        for start in range(0, 30, 10):
            begin = (attempt_number - 1) * 30 + start
            life.write(attempt_number, range(begin, begin + 10))
            time.sleep(0.02)  # spreads the lines over several looks; nothing depends on it
        if attempt_number < 3:
            life.ship(attempt_number)
    life.seal(3)
    life.finished = True
    following.join(timeout=30)
    assert not following.is_alive()
    assert numbers(iter(seen)) == list(range(90))


def test_a_new_line_is_seen_at_the_next_look(life: Life) -> None:
    """A line written between two looks is shown at the next, and the last ones after the sealing."""
    life.write(1, range(3))
    looks: list[int] = []

    def wait(_: float) -> None:
        looks.append(len(looks))
        if len(looks) < 5:
            life.write(1, range(2 + len(looks), 3 + len(looks)))
        else:
            life.seal(1)
            life.finished = True

    assert numbers(life.follow(wait)) == list(range(7))
    assert len(looks) == 5


class Flaky(LocalStore):
    """A store of which every third call fails."""

    calls = 0

    def _may_fail(self) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            raise LogStoreError("The log store does not answer.", retryable=True)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Or not."""
        self._may_fail()
        return super().get(key, start, length)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Or not."""
        self._may_fail()
        return super().list(prefix, start_after)


@pytest.mark.parametrize("here", [True, False])
def test_following_waits_while_the_store_or_the_database_is_away(life: Life, tmp_path: Any, here: bool) -> None:
    """Each line once all the same; the trouble is told once each time, and the first look must go well."""
    told: list[str] = []
    steps: list[int] = []
    life.write(1, range(3))

    def tell(failure: Exception, is_first: bool) -> None:
        if is_first:
            told.append(str(failure))

    def state() -> LogState:
        if len(steps) % 4 == 2:
            raise ConnectionError("Postgres does not answer.")
        return life.now()

    def wait(_: float) -> None:
        steps.append(len(steps))
        if len(steps) == 4:
            life.write(1, range(3, 6))
        if len(steps) == 12:
            life.ship(1)
            life.claim(2)
            life.write(2, range(6, 9))
        if len(steps) == 24:
            life.seal(2)
            life.finished = True

    lines = life.follow(
        wait, spool=here, store=Flaky(tmp_path / "store", "worker-logs"), state=state,
        passing=(LogStoreError, ConnectionError), on_trouble=tell,
    )  # fmt: skip
    assert numbers(lines) == list(range(9))
    assert "Postgres does not answer." in told
    assert len(told) < len(steps)


def test_a_mark_of_a_lost_attempt_is_shown_once_though_reading_it_failed(life: Life, tmp_path: Any) -> None:
    """It has no number among the attempt's lines."""
    life.write(1, range(2))
    life.ship(1)
    life.claim(2)
    life.write(2, range(2, 4))
    life.seal(2)
    life.finished = True

    class Broken(LocalStore):
        """The first three readings end after some lines."""

        tries = 0

        def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            whole = b"".join(super().get(key, start, length))
            self.tries += 1
            yield whole if self.tries > 3 else whole[: whole.index(b"log cut off") + 200]
            if self.tries <= 3:
                raise LogStoreError("The connection was cut.", retryable=True)

    looks: list[LogState] = []

    def state() -> LogState:
        looks.append(life.now())
        return LogState([], life.token, False) if len(looks) == 1 else looks[-1]

    seen = list(life.follow(lambda _: None, spool=False, store=Broken(tmp_path / "store", "worker-logs"), state=state))
    assert [json.loads(line).get("event") for line in seen].count("log cut off") == 2
    assert numbers(iter(seen)) == [0, 1, 2, 3]


def test_following_ends_when_the_first_look_at_the_store_fails(life: Life, tmp_path: Any) -> None:
    """A wrong password does not pass by waiting."""

    class Closed(LocalStore):
        """It lets nobody in."""

        def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
            raise LogStoreError("access denied", retryable=False)

    with pytest.raises(LogStoreError, match="denied"):
        next(life.follow(store=Closed(tmp_path / "store", "worker-logs")))


def test_giving_up_following_closes_the_spool(life: Life) -> None:
    """A reader who stops in the middle leaves no open file behind."""
    life.write(1, range(3))
    following = life.follow()
    next(following)
    following.close()  # pyright: ignore[reportAttributeAccessIssue]
    life.seal(1)
    assert numbers(life.read()) == [0, 1, 2]

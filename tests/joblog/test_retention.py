"""Old logs go, day by day; nothing of a job that still writes does."""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from worker.joblog import retention
from worker.joblog.identity import LogIdentity
from worker.joblog.retention import sweep
from worker.joblog.stores.local import LocalStore

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


def _nobody(_: Collection[UUID]) -> Collection[UUID]:
    return ()


def _fill(store: LocalStore, days_ago: float) -> LogIdentity:
    identity = LogIdentity(uuid.uuid4(), NOW - timedelta(days=days_ago), 7)
    store.put(identity.sealed_key, b"x")
    store.put(identity.segment_key(0, 0, 1), b"x")
    return identity


def _keys(store: LocalStore) -> set[str]:
    return {key for key, _ in store.list("")}


def test_logs_go_after_their_days_and_segments_two_days_later(store: LocalStore) -> None:
    """A log stays for its whole last day; a segment, which may be the only copy, two days longer."""
    made = {days: _fill(store, days) for days in (0, 6.9, 7.4, 7.6, 8, 9.4, 9.6, 40)}
    assert sweep(store, 7, running=_nobody, now=NOW) == 7
    assert _keys(store) == {
        *(made[days].sealed_key for days in (0, 6.9, 7.4)),
        *(made[days].segment_key(0, 0, 1) for days in (0, 6.9, 7.4, 7.6, 8, 9.4)),
    }


def test_nothing_of_a_running_job_goes(store: LocalStore) -> None:
    """A job retried after weeks keeps the log it will be joined to."""
    old, running = _fill(store, 30), _fill(store, 30)
    sweep(store, 7, running=lambda ids: [running.job_id] if running.job_id in ids else [], now=NOW)
    assert _keys(store) == {running.sealed_key, running.segment_key(0, 0, 1)}
    assert old.sealed_key not in _keys(store)


def test_running_is_asked_in_batches(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is asked once a batch, not once a log."""
    monkeypatch.setattr(retention, "BATCH", 4)
    for _ in range(10):
        _fill(store, 30)
    asked: list[int] = []

    def running(ids: Collection[UUID]) -> Collection[UUID]:
        asked.append(len(ids))
        return ()

    assert sweep(store, 7, running=running, now=NOW) == 20
    assert asked == [4, 4, 2, 4, 4, 2]
    assert _keys(store) == set()


def test_what_stays_is_not_listed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing stops at the first day that stays, however many objects there are."""
    for days in (30, 3, 2, 1, 0):
        _fill(store, days)
    given: list[str] = []
    original = store.list

    def counting(prefix: str, start_after: str | None = None):
        for key, size in original(prefix, start_after):
            given.append(key)
            yield key, size

    monkeypatch.setattr(store, "list", counting)
    assert sweep(store, 7, running=_nobody, now=NOW) == 2
    assert len(given) == 4  # the old one and the first that stays, of either kind


def test_foreign_objects_stay(store: LocalStore) -> None:
    """The sweep deletes logs, nothing else."""
    store.put("logs/2020-01-01/notes.txt", b"x")
    store.put("other/2020-01-01/x", b"x")
    assert sweep(store, 7, running=_nobody, now=NOW) == 0
    assert len(_keys(store)) == 2

"""What every log store promises, on each of them: files, S3 by several servers, with TLS or not, Supabase Storage."""

import contextlib
import os
import urllib.request
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from tests.fixtures.log_stores import KINDS, REMOTE, pages_of
from worker.errors import LogStoreError, NotFound
from worker.joblog import retention
from worker.joblog.identity import LogIdentity
from worker.joblog.log import open_job_log
from worker.joblog.read import read_log
from worker.joblog.retention import sweep
from worker.joblog.seal import Sealed, seal
from worker.joblog.ship import ship
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.joblog.stores import s3
from worker.redact import Redactor

every_kind = pytest.mark.parametrize("kind", KINDS)
every_remote_kind = pytest.mark.parametrize("kind", REMOTE)


def content(store: LogStore, key: str, start: int = 0, length: int | None = None) -> bytes:
    """What the store gives back."""
    return b"".join(store.get(key, start, length))


@every_kind
def test_what_is_put_can_be_read_whole_and_in_ranges(any_store: LogStore, tmp_path: Path) -> None:
    """Bytes and files come back as they were, or any range of them, also one that ends or begins behind the end."""
    data = os.urandom(700_000)
    any_store.put("a/b.log", data)
    (tmp_path / "file").write_bytes(data[::-1])
    any_store.put_file("a/c.log", tmp_path / "file")
    any_store.put("a/empty", b"")
    assert content(any_store, "a/b.log") == data
    assert content(any_store, "a/c.log") == data[::-1]
    assert content(any_store, "a/b.log", 1000, 400_000) == data[1000:401_000]
    assert content(any_store, "a/b.log", 699_999) == data[-1:]
    assert content(any_store, "a/b.log", 699_990, 100) == data[-10:]
    assert content(any_store, "a/b.log", 700_000) == b""
    assert content(any_store, "a/b.log", 5, 0) == b""
    assert content(any_store, "a/empty") == content(any_store, "a/empty", 0, 10) == b""


@every_kind
def test_put_replaces_whole_objects(any_store: LogStore) -> None:
    """A repeated upload of a segment is welcome, and what is read is of one upload."""
    any_store.put("k", b"old" * 1000)
    any_store.put("k", b"new")
    assert content(any_store, "k") == b"new"


@every_kind
def test_a_large_file_comes_back_as_it_was(any_store: LogStore, tmp_path: Path, monkeypatch) -> None:
    """Beyond one request's size it goes in parts, of which only the last may be smaller."""
    monkeypatch.setattr(s3, "WHOLE_BYTES", 1_000_000)
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    data = os.urandom(2**20) * 11
    (tmp_path / "large").write_bytes(data)
    any_store.put_file("logs/large", tmp_path / "large")
    assert content(any_store, "logs/large") == data
    assert list(any_store.list("logs/")) == [("logs/large", len(data))]


@every_kind
def test_a_missing_key_is_not_found_at_once(any_store: LogStore) -> None:
    """NotFound comes from the call, not from the first chunk."""
    any_store.put("a/b", b"x")
    for key in ("nothing", "a/nothing", "a", "a/b/c"):
        with pytest.raises(NotFound):
            any_store.get(key)
        with pytest.raises(NotFound):
            any_store.get(key, 3, 0)


@every_kind
def test_list_is_in_key_order_and_resumable(any_store: LogStore, monkeypatch) -> None:
    """Keys come in the order of their bytes, from any key on, by any prefix, each with its size, on any page."""
    keys = ["a/b.x", "a/b/c", "a/b/d", "a/b0", "b/c", "c"]
    for key in reversed(keys):
        any_store.put(key, key.encode())
    with pages_of(3, monkeypatch):
        assert list(any_store.list("")) == [(key, len(key)) for key in sorted(keys)]
        assert [key for key, _ in any_store.list("a/b")] == ["a/b.x", "a/b/c", "a/b/d", "a/b0"]
        assert [key for key, _ in any_store.list("a/b/")] == ["a/b/c", "a/b/d"]
        assert [key for key, _ in any_store.list("a/", start_after="a/b/c")] == ["a/b/d", "a/b0"]
        assert [key for key, _ in any_store.list("", start_after="a/b/d")] == ["a/b0", "b/c", "c"]
        assert list(any_store.list("nothing/")) == []


@every_kind
def test_delete_takes_what_is_there_and_what_is_not(any_store: LogStore, monkeypatch) -> None:
    """Deleting twice is no failure, nor is deleting nothing, or more than one request takes."""
    for number in range(5):
        any_store.put(f"logs/{number}", b"1")
    with pages_of(2, monkeypatch):
        any_store.delete([])
        any_store.delete(["logs/0", "logs/0", "logs/nothing", "other/x", "logs/2", "logs/4"])
    any_store.delete(["logs/0"])
    assert [key for key, _ in any_store.list("")] == ["logs/1", "logs/3"]


@every_kind
def test_a_key_cannot_leave_the_bucket(store_without_bucket: LogStore) -> None:
    """Names that are no plain path below the bucket are refused by every verb, before anything is asked."""
    store = store_without_bucket
    for key in ("../x", "a/../../x", "/etc/passwd", "a//b", "", ".incoming/x", "a/.b", "a\0b", "a/", "é"):
        calls = (partial(store.put, key, b""), partial(store.get, key), partial(store.delete, [key]))
        for call in (*calls, partial(store.url, key, 60)):
            with pytest.raises(LogStoreError, match="cannot be the name of a log") as caught:
                call()
            assert not caught.value.retryable


@every_kind
def test_a_bucket_is_made_once(any_store: LogStore) -> None:
    """Every worker asks for it at its start, and what is in it stays."""
    any_store.put("k", b"x")
    any_store.ensure_bucket()
    assert content(any_store, "k") == b"x"


@every_remote_kind
def test_a_missing_bucket_is_named(store_without_bucket: LogStore) -> None:
    """It is no missing log: no retry helps, and the hint says what to set."""
    with pytest.raises(LogStoreError, match="404") as caught:
        store_without_bucket.put("k", b"x")
    assert not caught.value.retryable
    assert "WORKER_LOG_BUCKET" in (caught.value.hint or "")


@every_remote_kind
def test_retention_never_makes_a_bucket(store_without_bucket: LogStore) -> None:
    """Rules for a missing bucket would create it, in some stores, under whatever name a typing error gave it."""
    with contextlib.suppress(LogStoreError):
        assert store_without_bucket.ensure_retention(7) is False
    with pytest.raises(LogStoreError, match="404"):
        store_without_bucket.put("k", b"x")


# moto answers within this process only: nobody else can follow its addresses.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "moto"])
def test_an_address_needs_no_key_and_names_the_file_by_its_job(any_store: LogStore, kind: str) -> None:
    """Whoever has it reads the log; the downloaded file's name has no lease token."""
    job = uuid.uuid4()
    key = LogIdentity(job, datetime(2026, 3, 4, tzinfo=UTC), 77).sealed_key
    any_store.put(key, b"the log\n")
    address = any_store.url(key, 60)
    assert address is not None
    with urllib.request.urlopen(address, context=_trusting(kind)) as answer:
        assert answer.read() == b"the log\n"
        if kind != "local":
            assert f'filename="job-{job}.log"' in answer.headers["Content-Disposition"]


def _trusting(kind: str):
    import ssl

    return ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]) if kind.endswith("_tls") else None


@every_kind
def test_the_sweep_takes_old_logs_page_by_page(any_store: LogStore, monkeypatch) -> None:
    """More than one page and one batch of them, without those of a running job and those of the last days."""
    now = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
    old = [LogIdentity(uuid.uuid4(), now - timedelta(days=20 + number % 3), 7) for number in range(11)]
    new = LogIdentity(uuid.uuid4(), now, 7)
    running = old[4]
    for identity in [*old, new]:
        any_store.put(identity.sealed_key, b"x")

    def unfinished(ids: Collection[UUID]) -> Collection[UUID]:
        return [running.job_id] if running.job_id in ids else []

    monkeypatch.setattr(retention, "BATCH", 4)
    with pages_of(3, monkeypatch):
        assert sweep(any_store, 7, running=unfinished, now=now) == 10
    assert [key for key, _ in any_store.list("")] == sorted([running.sealed_key, new.sealed_key])


@every_kind
def test_a_log_of_two_attempts_is_one_log(any_store: LogStore, tmp_path: Path) -> None:
    """Shipped by the first, sealed by the second on another machine, and read by anybody."""
    first, second = Spool(tmp_path / "one"), Spool(tmp_path / "two")
    job, created = uuid.uuid4(), datetime(2026, 3, 4, tzinfo=UTC)
    for spool, number in ((first, 1), (second, 2)):
        with open_job_log(spool, LogIdentity(job, created, number, number), Redactor(), source="worker") as opened:
            opened.log.info(f"said by {number}")
    assert ship(any_store, first, LogIdentity(job, created, 1, 1)) == 1
    committed: list[Sealed] = []

    def commit(sealed: Sealed) -> bool:
        committed.append(sealed)
        return True

    assert seal(any_store, second, LogIdentity(job, created, 2, 2), previous=[], commit=commit) is not None
    lines = read_log(any_store, None, job_id=job, created_at=created, parts=committed[0].parts, token=2)
    said = [line for line in lines if b"said by" in line]
    assert [b"said by 1" in said[0], b"said by 2" in said[1]] == [True, True]
    assert list(any_store.list("live/")) == []

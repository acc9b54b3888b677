"""What Supabase Storage has of its own, on a server that speaks its protocol."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.log_stores import pages_of, supabase_store
from tests.fixtures.supabase_storage import ANON_KEY, FakeSupabase
from worker.errors import LogStoreError, NotFound, ObjectTooLarge
from worker.joblog.store import LogStore


@pytest.fixture
def store(supabase: FakeSupabase) -> LogStore:
    """A store with its bucket."""
    made = supabase_store(supabase.url)
    made.ensure_bucket()
    return made


def refusal(call: Callable[[], Any]) -> LogStoreError:
    """What it raises."""
    with pytest.raises(LogStoreError) as caught:
        call()
    return caught.value


def test_uploads_may_be_repeated_and_are_kept_by_no_cache(store: LogStore, supabase: FakeSupabase) -> None:
    """Upsert is the text "true"; the default lets caches keep private logs for an hour."""
    store.put("k", b"x")
    store.put("k", b"x")
    assert [(upload["x-upsert"], upload["cacheControl"]) for upload in supabase.uploads] == [("true", "no-store")] * 2


def test_the_bucket_is_private_and_a_public_one_is_refused(store: LogStore, supabase: FakeSupabase) -> None:
    """Logs of private repositories are nobody else's."""
    assert supabase.public == set()
    supabase.public.add("worker-logs")
    assert "private" in (refusal(store.ensure_bucket).hint or "")


def test_two_workers_may_make_the_bucket_at_once(supabase: FakeSupabase, monkeypatch) -> None:
    """The slower one's answer is that it is there."""
    first, second = supabase_store(supabase.url), supabase_store(supabase.url)
    original = second._storage.create_bucket  # pyright: ignore[reportAttributeAccessIssue]

    def late(*arguments: Any, **options: Any) -> Any:
        first.ensure_bucket()
        return original(*arguments, **options)

    monkeypatch.setattr(second._storage, "create_bucket", late)  # pyright: ignore[reportAttributeAccessIssue]
    second.ensure_bucket()
    second.put("k", b"x")


def test_a_server_without_ranges_is_cut_here(store: LogStore, supabase: FakeSupabase) -> None:
    """Whoever asked for a range gets that and no more."""
    data = bytes(range(256)) * 4096
    store.put("k", data)
    supabase.ignores_ranges = True
    assert b"".join(store.get("k", 300_000, 400_000)) == data[300_000:700_000]
    assert b"".join(store.get("k", len(data) - 5)) == data[-5:]
    assert b"".join(store.get("k", 5, 0)) == b""
    assert b"".join(store.get("k", len(data) + 1, 7)) == b""


def test_a_range_is_all_that_is_fetched(store: LogStore, monkeypatch) -> None:
    """The client's own download would load the whole object into memory."""
    monkeypatch.setattr("storage3._sync.file_api.SyncBucketProxy.download", lambda *_: pytest.fail("loads it whole"))
    store.put("k", b"0123456789")
    assert b"".join(store.get("k", 2, 3)) == b"234"


def test_over_quota_says_so_and_loses_nothing(store: LogStore, supabase: FakeSupabase) -> None:
    """Even a deletion is answered 402 then."""
    store.put("k", b"x")
    supabase.over_quota = True
    for call in (lambda: store.put("k2", b"x"), lambda: store.delete(["k"])):
        failure = refusal(call)
        assert not failure.retryable
        assert "quota" in (failure.hint or "")
    supabase.over_quota = False
    assert [key for key, _ in store.list("")] == ["k"]


def test_an_object_over_the_limit_says_so(store: LogStore, supabase: FakeSupabase) -> None:
    """The project's upload limit, 50 MB on the free plan."""
    supabase.largest = 1000
    refused = refusal(lambda: store.put("k", bytes(1001)))
    assert isinstance(refused, ObjectTooLarge)
    assert "size limit" in (refused.hint or "")


def test_the_anon_key_may_not_upload(supabase: FakeSupabase) -> None:
    """It looks right and reads public things; the hint says which key to take."""
    failure = refusal(lambda: supabase_store(supabase.url, supabase_service_key=ANON_KEY).put("k", b"x"))
    assert not failure.retryable
    assert "service (secret) key" in (failure.hint or "")


def test_an_address_of_a_missing_log_is_not_found(store: LogStore) -> None:
    """The server signs only what is there."""
    with pytest.raises(NotFound):
        store.url("logs/nothing", 60)


def test_a_listing_asks_for_no_folder_before_its_start(store: LogStore, supabase: FakeSupabase, monkeypatch) -> None:
    """A follower that polls the newest folder does not walk through all days again."""
    for day in range(1, 9):
        store.put(f"logs/2026-01-0{day}/job", b"x")
    supabase.listings = 0
    with pages_of(100, monkeypatch):
        assert [key for key, _ in store.list("logs/", start_after="logs/2026-01-07/job")] == ["logs/2026-01-08/job"]
    assert supabase.listings == 3  # logs/, and the folders of two days

"""What every log store promises, on the local one."""

import os
import stat
import threading
from pathlib import Path

import pytest

from worker.errors import LogStoreError, NotFound
from worker.joblog.stores.local import LocalStore


def _all(store: LocalStore, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(store.get(key, start, length))


def test_what_is_put_can_be_read_whole_and_in_ranges(store: LocalStore, tmp_path: Path) -> None:
    """Bytes and files come back as they were, or any range of them."""
    content = os.urandom(700_000)
    store.put("a/b.log", content)
    (tmp_path / "file").write_bytes(content[::-1])
    store.put_file("a/c.log", tmp_path / "file")
    assert _all(store, "a/b.log") == content
    assert _all(store, "a/c.log") == content[::-1]
    assert _all(store, "a/b.log", 1000, 400_000) == content[1000:401_000]
    assert _all(store, "a/b.log", 699_999) == content[-1:]
    assert _all(store, "a/b.log", 5, 0) == b""


def test_put_replaces_whole_objects(store: LocalStore) -> None:
    """A reader that began before sees the old object to its end, a later one the new."""
    store.put("k", b"old" * 200_000)
    reading = store.get("k")
    store.put("k", b"new")
    assert b"".join(reading) == b"old" * 200_000
    assert _all(store, "k") == b"new"


def test_a_missing_key_is_not_found_at_once(store: LocalStore) -> None:
    """NotFound comes from the call, not from the first chunk."""
    store.put("a/b", b"x")
    for key in ("nothing", "a/nothing", "a", "a/b/c"):
        with pytest.raises(NotFound):
            store.get(key)


def test_list_is_in_key_order_and_resumable(store: LocalStore) -> None:
    """Keys come in the order a bucket has, from any key on, by any prefix, each with its size."""
    keys = ["a/b.x", "a/b/c", "a/b/d", "a/b0", "b/c", "c"]
    for key in reversed(keys):
        store.put(key, key.encode())
    assert list(store.list("")) == [(key, len(key)) for key in sorted(keys)]
    assert [key for key, _ in store.list("a/b")] == ["a/b.x", "a/b/c", "a/b/d", "a/b0"]
    assert [key for key, _ in store.list("a/b/")] == ["a/b/c", "a/b/d"]
    assert [key for key, _ in store.list("a/", start_after="a/b/c")] == ["a/b/d", "a/b0"]
    assert list(store.list("nothing/")) == []


def test_delete_leaves_no_empty_folder(store: LocalStore, tmp_path: Path) -> None:
    """Folders go with their last object; deleting twice is no failure."""
    store.put("logs/day/a", b"1")
    store.put("logs/day/b", b"1")
    store.delete(["logs/day/a", "logs/day/a", "logs/other/x"])
    assert [key for key, _ in store.list("")] == ["logs/day/b"]
    store.delete(["logs/day/b"])
    assert not (tmp_path / "store/worker-logs/logs").exists()


def test_puts_and_deletes_next_door_do_not_disturb(store: LocalStore) -> None:
    """A delete that removes the folder while a put needs it fails neither."""
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            for _ in range(150):
                store.put(f"x/y/{name}", b"1")
                store.delete([f"x/y/{name}"])
        except (LogStoreError, OSError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".incoming/x", "a/.b", "a\0b", "a/", "é"]
)
def test_a_key_cannot_leave_the_bucket(store: LocalStore, key: str) -> None:
    """Names that are no plain path below the bucket are refused by every verb."""
    for call in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.delete([key])):
        with pytest.raises(LogStoreError) as caught:
            call()
        assert not caught.value.retryable


def test_objects_are_private(store: LocalStore, tmp_path: Path) -> None:
    """Logs of private repositories are for this user only."""
    store.put("a/b", b"x")
    made = list((tmp_path / "store").rglob("*"))
    assert made
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in made)


def test_a_broken_disk_is_a_log_store_error(tmp_path: Path) -> None:
    """A folder that cannot be made is the store's failure, with a hint."""
    (tmp_path / "file").write_text("no folder")
    broken = LocalStore(tmp_path / "file", "bucket")
    with pytest.raises(LogStoreError) as caught:
        broken.put("a", b"x")
    assert caught.value.hint
    with pytest.raises(LogStoreError):
        broken.ensure_bucket()


def test_the_address_of_a_log_leads_to_its_file(store: LocalStore, tmp_path: Path) -> None:
    """Without a server there is nothing to sign: the address is the file's."""
    store.put("logs/day/a.log", b"x")
    assert store.url("logs/day/a.log", 60) == (tmp_path / "store/worker-logs/logs/day/a.log").as_uri()


def test_files_have_no_expiry_of_their_own(store: LocalStore) -> None:
    """Nobody is told that a net is there which is not."""
    assert store.ensure_retention(7) is False

"""What the store of local files promises beside what every store does (test_every_store.py)."""

import stat
import threading
from pathlib import Path

import pytest

from worker.errors import LogStoreError
from worker.joblog.stores.local import LocalStore


def _all(store: LocalStore, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(store.get(key, start, length))


def test_put_replaces_whole_objects(store: LocalStore) -> None:
    """A reader that began before sees the old object to its end, a later one the new."""
    store.put("k", b"old" * 200_000)
    reading = store.get("k")
    store.put("k", b"new")
    assert b"".join(reading) == b"old" * 200_000
    assert _all(store, "k") == b"new"


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


def test_files_have_no_expiry_of_their_own(store: LocalStore) -> None:
    """Nobody is told that a net is there which is not."""
    assert store.ensure_retention(7) is False

"""Job logs as files in a folder: the store of a laptop, and of tests."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from worker.errors import LogStoreError, NotFound
from worker.joblog.store import CHUNK, check_key, check_prefix

_INCOMING = ".incoming"  # half-written files; no key begins with a dot
_STALE_SECONDS = 24 * 3600


class LocalStore:
    """A LogStore of files: root/bucket/key, each in place whole or not at all, private to this user."""

    def __init__(self, root: Path, bucket: str) -> None:
        self._folder = root / check_key(bucket)

    @property
    def largest_object(self) -> int | None:
        """No limit that a log reaches."""
        return None

    def put(self, key: str, data: bytes) -> None:
        """Store these bytes."""
        with self._writing(key) as file:
            file.write(data)

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of this file."""
        with self._writing(key) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, CHUNK)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from `start`, at most `length` of them."""
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"There is no log {key} in {self._folder}.") from None
        except OSError as failure:
            raise _store_error(f"reading {key}", failure) from failure
        return _chunks(file, key, start, length)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Keys and sizes, in the order of the keys."""
        folder = check_prefix(prefix).rpartition("/")[0]
        for key, size in self._walk(folder):
            if key.startswith(prefix) and (start_after is None or key > start_after):
                yield key, size

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and the folders that this leaves empty."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as failure:
                raise _store_error(f"deleting {key}", failure) from failure
            self._remove_empty(path.parent)

    def ensure_bucket(self) -> None:
        """Create the folder; remove what killed writers left long ago."""
        try:
            _make_folder(self._folder / _INCOMING)
            for left in (self._folder / _INCOMING).iterdir():
                if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                    left.unlink(missing_ok=True)
        except OSError as failure:
            raise _store_error(f"creating {self._folder}", failure) from failure

    def ensure_retention(self, days: float) -> bool:
        """Files have no expiry: only the sweep deletes them."""
        return False

    def url(self, key: str, seconds: int) -> str | None:
        """Where the file is, for programs on this machine; it does not end after `seconds`."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        incoming = self._folder / _INCOMING / uuid.uuid4().hex
        try:
            _make_folder(incoming.parent)
            with open(incoming, "xb", opener=_private) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _move(incoming, path)
        except OSError as failure:
            raise _store_error(f"writing {key}", failure) from failure
        finally:
            with contextlib.suppress(OSError):
                incoming.unlink(missing_ok=True)

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            with os.scandir(self._folder / folder) as entries:
                # As in a bucket, "a.b" comes before "a/b": a folder sorts with its slash.
                found = sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as failure:
            raise _store_error(f"listing {folder}", failure) from failure
        for name, entry in found:
            if name.startswith("."):
                continue
            path = f"{folder}/{name}" if folder else name
            if name.endswith("/"):
                yield from self._walk(path.rstrip("/"))
            else:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    yield path, entry.stat(follow_symlinks=False).st_size

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._folder and self._folder in folder.parents:
            try:
                folder.rmdir()
            except OSError:  # not empty: somebody needs it
                return
            folder = folder.parent


def _chunks(file: BinaryIO, key: str, start: int, length: int | None) -> Iterator[bytes]:
    with file:
        try:
            file.seek(start)
            left = length
            while left is None or left > 0:
                chunk = file.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk
        except OSError as failure:
            raise _store_error(f"reading {key}", failure) from failure


def _move(incoming: Path, path: Path) -> None:
    for _ in range(100):  # a delete next door may remove the folder between the two calls
        with contextlib.suppress(FileNotFoundError):
            _make_folder(path.parent)
            incoming.replace(path)
            _sync_folder(path.parent)
            return
    raise FileNotFoundError(errno.ENOENT, "its folder keeps vanishing", str(path))


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, not only the files' bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _store_error(doing: str, failure: OSError) -> LogStoreError:
    lasting = failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return LogStoreError(
        f"The local log store failed at {doing}: {failure.strerror or failure}.",
        retryable=not lasting,
        hint="Check that WORKER_STATE_DIR is writable and has room.",
    )

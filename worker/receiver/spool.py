"""Posts kept on a local volume while Postgres is away: on disk, synced, before they are answered; replayed in order.

A file holds what was written together. It comes into being whole (written aside, synced, renamed) and goes once all its
posts are committed, so a killed receiver loses none; what it had committed already is found by its delivery id.
"""

import asyncio
import fcntl
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from worker.errors import WorkerError
from worker.logging import get_logger
from worker.receiver.batch import Batches
from worker.receiver.stored import KEPT_HEADERS

_MOST_TOGETHER = 256
_SUFFIX = ".posts"
_SIZES = struct.Struct(">4sIII")  # magic, length of the head, length of the body, CRC-32 of both
_MAGIC = b"post"
_SIGNATURE = "x-hub-signature-256"


class SpoolUnusable(WorkerError):
    """The spool's folder cannot be used."""

    code = "spool_unusable"


class SpoolFull(WorkerError):
    """The spool holds as much as it may."""

    code = "spool_full"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A post that was taken: who may send for this repository was checked when it came."""

    repository_id: UUID
    headers: dict[str, str]
    body: bytes


class Spool:
    """The folder of one receiver process; `most_bytes` bounds what it may hold."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._writes = Batches(self._write, most=_MOST_TOGETHER, at_once=1)
        self._files: dict[Path, int] = {}  # oldest first; with their size
        self._reserved = 0
        self._waiting: Counter[UUID] = Counter()
        self._number = 0
        self._lock: int | None = None
        self.filled = asyncio.Event()

    def open(self) -> None:
        """Take the folder and what an earlier process left in it. Raises SpoolUnusable."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for unfinished in self._folder.glob("*.part"):  # nobody was told of these
                unfinished.unlink()
        except OSError as failure:
            self.close()
            raise SpoolUnusable(
                f"The folder {self._folder} cannot be used: {failure.strerror}.",
                hint="WORKER_RECEIVER_SPOOL_DIR names a folder that this process may write, of one receiver alone.",
            ) from failure
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            self._files[path] = path.stat().st_size
            self._number = int(path.stem)
            self._waiting.update(post.repository_id for post in read(path))
        if self._files:
            self.filled.set()
            get_logger().info("spooled deliveries found", deliveries=len(self))

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __len__(self) -> int:
        """Posts that wait."""
        return self._waiting.total()

    def holds(self, repository_id: UUID | None) -> bool:
        """Whether posts of this repository wait: newer ones must not overtake them."""
        return repository_id is not None and self._waiting[repository_id] > 0

    async def put(self, post: Spooled) -> None:
        """Keep a post; it is on disk, synced, when this returns. Raises SpoolFull and OSError."""
        record = _record(post)
        if sum(self._files.values()) + self._reserved + len(record) > self._most:
            raise SpoolFull("The spool is full.")
        self._reserved += len(record)
        self._waiting[post.repository_id] += 1
        try:
            await self._writes.put(record)
        except BaseException:
            self._let_go(post.repository_id)
            raise
        finally:
            self._reserved -= len(record)

    def oldest(self) -> Path | None:
        """The file to replay next."""
        return next(iter(self._files), None)

    def done(self, path: Path, posts: Sequence[Spooled], *, failed: bool) -> None:
        """All posts of this file are committed; where one cannot be, the file stays aside under another name."""
        if failed:
            path.rename(path.with_suffix(".failed"))
        else:
            path.unlink(missing_ok=True)
        del self._files[path]
        for post in posts:
            self._let_go(post.repository_id)
        if not self._files:
            self.filled.clear()

    def _let_go(self, repository_id: UUID) -> None:
        self._waiting[repository_id] -= 1
        if self._waiting[repository_id] <= 0:
            del self._waiting[repository_id]

    async def _write(self, records: Sequence[bytes]) -> Sequence[None]:
        self._number += 1
        path = self._folder / f"{self._number:020}{_SUFFIX}"
        self._files[path] = await asyncio.to_thread(_write_synced, path, records)
        self.filled.set()
        return [None] * len(records)


def read(path: Path) -> Iterator[Spooled]:
    """The posts in a file; a damaged rest is left, and said so."""
    data = path.read_bytes()
    place = 0
    while place < len(data):
        try:
            magic, head_bytes, body_bytes, check = _SIZES.unpack_from(data, place)
            head = data[place + _SIZES.size : place + _SIZES.size + head_bytes]
            start = place + _SIZES.size + head_bytes
            body = data[start : start + body_bytes]
            if magic != _MAGIC or zlib.crc32(head + body) != check:
                raise ValueError("the checksum differs")
            facts = json.loads(head)
            yield Spooled(UUID(facts["repository"]), facts["headers"], body)
        except (struct.error, ValueError, KeyError) as damage:
            get_logger().error("spooled deliveries are damaged", file=path.name, reason=str(damage))
            return
        place = start + body_bytes


def _record(post: Spooled) -> bytes:
    kept = {name: post.headers[name] for name in (*KEPT_HEADERS, _SIGNATURE) if name in post.headers}
    head = json.dumps({"repository": str(post.repository_id), "headers": kept}).encode()
    return _SIZES.pack(_MAGIC, len(head), len(post.body), zlib.crc32(head + post.body)) + head + post.body


def _write_synced(path: Path, records: Sequence[bytes]) -> int:
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.writelines(records)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return sum(map(len, records))

"""Posts kept on a local volume while Postgres is away: on disk, synced, before they are answered; replayed in order.

A file holds what was written together. It comes into being whole (written aside, synced, renamed) and goes once all its
posts are committed, so a killed receiver loses none; what it had committed already is found by its delivery id.
"""

import asyncio
import contextlib
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

APP = "app"
"""The line of all posts to the GitHub App's address; the others stand in their repository's."""

_MOST_TOGETHER = 256
_SUFFIX, _FAILED = ".posts", ".failed"
_SIZES = struct.Struct(">4sIII")  # magic, length of the head, length of the body, CRC-32 of both
_MAGIC = b"post"
_SIGNATURE = "x-hub-signature-256"


class SpoolUnusable(WorkerError):
    """The spool's folder cannot be used."""

    code = "spool_unusable"


class SpoolFull(WorkerError):
    """The spool holds as much as it may."""

    code = "spool_full"


class SpoolDamaged(WorkerError):
    """The rest of a spool's file cannot be read."""

    code = "spool_damaged"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A post that was taken: who may send it was checked when it came. Without a repository: to the App's address."""

    repository_id: UUID | None
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """Posts of one line are committed one after another, and none overtakes another."""
        return APP if self.repository_id is None else str(self.repository_id)


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of a file without reading it: its size in bytes, and how many posts of each line it holds."""

    size: int
    lines: Counter[str]


class Spool:
    """The folder of one receiver process; `most_bytes` bounds what it may hold."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._writes = Batches(self._write, most=_MOST_TOGETHER, at_once=1)
        self._files: dict[Path, _File] = {}  # oldest first
        self._held = 0  # bytes: of the files, and of what is on its way into one
        self._waiting: Counter[str] = Counter()  # posts in files, by line
        self._coming: Counter[str] = Counter()  # on their way into one
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
            self._find()
        except OSError as failure:
            self.close()
            raise SpoolUnusable(
                f"The folder {self._folder} cannot be used: {failure.strerror}.",
                hint="WORKER_RECEIVER_SPOOL_DIR names a folder that this process may write, of one receiver alone.",
            ) from failure
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
        return self._waiting.total() + self._coming.total()

    def holds(self, line: str | None) -> bool:
        """Whether posts of this line wait: newer ones must not overtake them."""
        return line is not None and self._waiting[line] + self._coming[line] > 0

    async def put(self, post: Spooled) -> None:
        """Keep a post; it is on disk, synced, when this returns. Raises SpoolFull and OSError."""
        record = _record(post)
        if self._held + len(record) > self._most:
            raise SpoolFull("The spool is full.")
        self._held += len(record)
        self._coming[post.line] += 1
        try:
            await self._writes.put((post.line, record))
        finally:
            self._held -= len(record)  # by now its file counts
            self._coming -= Counter((post.line,))

    def oldest(self) -> Path | None:
        """The file to replay next."""
        return next(iter(self._files), None)

    def done(self, path: Path, *, failed: bool) -> None:
        """All posts of this file are committed; where one cannot be, the file stays aside under another name."""
        with contextlib.suppress(FileNotFoundError):  # somebody took it: what it held is lost, its place is not
            if failed:
                path.rename(path.with_suffix(_FAILED))
            else:
                path.unlink()
        file = self._files.pop(path)
        self._held -= file.size
        self._waiting -= file.lines
        if not self._files:
            self.filled.clear()

    def _find(self) -> None:
        """What an earlier process left. The number of a file that stays aside is not given again: it would be lost."""
        numbered = {path: int(path.stem) for path in self._folder.iterdir() if path.stem.isdecimal()}
        self._number = max(numbered.values(), default=0)
        for path in sorted(numbered, key=lambda path: numbered[path]):
            if path.suffix == _SUFFIX:
                self._add(path, path.stat().st_size, Counter(post.line for post in _readable(path)))

    def _add(self, path: Path, size: int, lines: Counter[str]) -> None:
        self._files[path] = _File(size, lines)
        self._held += size
        self._waiting += lines

    async def _write(self, records: Sequence[tuple[str, bytes]]) -> Sequence[None]:
        self._number += 1
        path = self._folder / f"{self._number:020}{_SUFFIX}"
        size = await asyncio.to_thread(_write_synced, path, [record for _, record in records])
        self._add(path, size, Counter(line for line, _ in records))
        self.filled.set()
        return [None] * len(records)


def read(path: Path) -> Iterator[Spooled]:
    """The posts in a file. Raises SpoolDamaged behind the last one before a damage, and OSError."""
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
            repository = facts["repository"]
            post = Spooled(None if repository is None else UUID(repository), facts["headers"], body)
        except (struct.error, ValueError, KeyError, TypeError) as damage:
            raise SpoolDamaged(f"The spooled file {path.name} is damaged from byte {place} on: {damage}.") from damage
        yield post
        place = start + body_bytes


def _readable(path: Path) -> Iterator[Spooled]:
    with contextlib.suppress(SpoolDamaged):  # told when it is replayed
        yield from read(path)


def _record(post: Spooled) -> bytes:
    kept = {name: post.headers[name] for name in (*KEPT_HEADERS, _SIGNATURE) if name in post.headers}
    repository = None if post.repository_id is None else str(post.repository_id)
    head = json.dumps({"repository": repository, "headers": kept}).encode()
    return _SIZES.pack(_MAGIC, len(head), len(post.body), zlib.crc32(head + post.body)) + head + post.body


def _write_synced(path: Path, records: Sequence[bytes]) -> int:
    unfinished = path.with_suffix(".part")
    try:
        with unfinished.open("wb") as file:
            file.writelines(records)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:  # nobody is told that it was kept, and on a full volume it would take the room of what can be
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return sum(map(len, records))

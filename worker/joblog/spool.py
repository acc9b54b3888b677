"""The spool: one file an attempt, appended to by the worker and its child, which outlives both.

A line goes out in one write() with a newline before and after it. Should a kill or a full disk tear a line, the next
writer's line still stands alone; clean.py drops the blank lines and marks the torn ones. The file is never rewritten,
so its offsets are those of the segments. Whoever writes holds a shared lock; who gets the exclusive one is its heir.
"""

import contextlib
import fcntl
import itertools
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

from worker.joblog.identity import LogIdentity

LONGEST_LINE = 64 * 1024
BUILDING = ".building"
_CUT = b" (cut)"
_CHUNK = 256 * 1024
_UPLOADED, _WITHDRAWN = "+", "-"  # before a noted key; no key begins so
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(
    r"(?P<created>\d{16,18})\.job-(?P<job>[0-9a-f-]{36})\.(?P<token>\d{20})\.(?P<attempt>\d{6,})\.ndjson"
)


class Spool:
    """The folder of all spool files of this machine's workers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, identity: LogIdentity) -> Path:
        """The spool file of an attempt, whether it exists or not."""
        return self.root / f"{_stem(identity)}.ndjson"

    def size(self, identity: LogIdentity) -> int:
        """Bytes of the spool file; 0 without one."""
        try:
            return self.path(identity).stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, identity: LogIdentity, *, start: int = 0) -> Iterator[bytes]:
        """The spool file's bytes in chunks, as far as it is written when they are read; nothing without one."""
        with contextlib.suppress(FileNotFoundError), self.opened(identity, start=start) as chunks:
            yield from chunks

    @contextlib.contextmanager
    def opened(self, identity: LogIdentity, *, start: int = 0) -> Iterator[Iterator[bytes]]:
        """As `read`, for a file that may be deleted between now and the reading; raises FileNotFoundError."""
        with self.path(identity).open("rb") as file:
            file.seek(start)
            yield iter(partial(file.read, _CHUNK), b"")

    def building(self, identity: LogIdentity) -> Path:
        """Where the attempt's owner builds the sealed log."""
        return self.root / f"{_stem(identity)}{BUILDING}"

    def open(self, identity: LogIdentity) -> "SpoolWriter":
        """A writer for this process; it creates the file at once if it can, and tries again with each line."""
        return SpoolWriter(self.path(identity))

    def identities(self, job_id: UUID | None = None) -> list[LogIdentity]:
        """Every attempt (of one job) that has a spool file here, oldest job and attempt first."""
        try:
            names = sorted(path.name for path in self.root.iterdir())
        except FileNotFoundError:
            return []
        found = [identity for name in names if (identity := parse_name(name)) is not None]
        return [identity for identity in found if job_id in (None, identity.job_id)]

    @contextlib.contextmanager
    def claim(self, identity: LogIdentity) -> Iterator[bool]:
        """Own a spool file for the time of the block: False if a process still writes it, or it is gone."""
        try:
            descriptor = os.open(self.path(identity), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(descriptor, self.path(identity))
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def sealing(self, identity: LogIdentity) -> Iterator[bool]:
        """Be the one who seals with this token for the time of the block: False if somebody does already.

        A thread that seals cannot be stopped, and may outlive whoever claimed the spool for it.
        """
        path = self._sealing(identity)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _is_first(descriptor) and _is_at(descriptor, path)
        finally:
            os.close(descriptor)

    def note_keys(self, identity: LogIdentity, keys: Iterable[str]) -> None:
        """Remember keys in the store whose lines are in this spool too, or in the log it is being sealed into."""
        with open(self._notes(identity), "a", encoding="utf-8", opener=_private) as file:
            file.write("".join(f"\n{key}\n" for key in keys))

    def noted_keys(self, identity: LogIdentity) -> list[str]:
        """The keys remembered for this attempt, each once, in order; not those withdrawn."""
        kept: dict[str, None] = {}
        for word in self._noted(identity):
            if word.startswith(_WITHDRAWN):
                kept.pop(word.removeprefix(_WITHDRAWN), None)
            elif not word.startswith(_UPLOADED):
                kept[word] = None
        return list(kept)

    def freeze(self, identity: LogIdentity, key: str) -> None:
        """Decide for good that this is the next segment: after a crash the same bytes go to the same key.

        What is uploaded must not outlive its spool in a power cut, so both are on the disk before the first try.
        """
        for path, line in ((self.path(identity), ""), (self._notes(identity), f"\n{key}\n")):
            with open(path, "a", encoding="utf-8", opener=_private) as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def note_uploaded(self, identity: LogIdentity, key: str) -> None:
        """Remember that the store has this segment, so that the next process need not send it again."""
        self.note_keys(identity, [_UPLOADED + key])

    def withdraw(self, identity: LogIdentity, keys: Iterable[str]) -> None:
        """Take segments back that were frozen and that the store has never had."""
        self.note_keys(identity, [_WITHDRAWN + key for key in keys])

    def uploaded_keys(self, identity: LogIdentity) -> set[str]:
        """The segments that the store is known to have."""
        return {word.removeprefix(_UPLOADED) for word in self._noted(identity) if word.startswith(_UPLOADED)}

    def _noted(self, identity: LogIdentity) -> list[str]:
        try:
            return self._notes(identity).read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return []

    def remove(self, identity: LogIdentity) -> None:
        """Delete what this spool holds of an attempt; the lines first, because without them the rest means nothing."""
        for path in (
            self.path(identity), self._notes(identity), self.building(identity), self._sealing(identity),
        ):  # fmt: skip
            path.unlink(missing_ok=True)

    def remove_orphans(self) -> None:
        """Delete side files whose spool file is gone: remove() was killed between the two."""
        with contextlib.suppress(FileNotFoundError):
            for side in itertools.chain.from_iterable(map(self.root.glob, ("*.keys", f"*{BUILDING}", "*.sealing"))):
                if not side.with_suffix(".ndjson").exists():
                    side.unlink(missing_ok=True)

    def _notes(self, identity: LogIdentity) -> Path:
        return self.root / f"{_stem(identity)}.keys"

    def _sealing(self, identity: LogIdentity) -> Path:
        return self.root / f"{_stem(identity)}.sealing"


class SpoolWriter:
    """Appends lines to one spool file; never raises for a disk that is full, broken or gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()  # a signal's handler may log while its thread does
        self._descriptor: int | None = None
        self._closed = False
        self.lost = 0
        self._opened()

    def append_line(self, line: bytes) -> bool:
        """Write one line at once; False if it could not be written whole (then it is counted in `lost`)."""
        if len(line) > LONGEST_LINE:
            line = line[: LONGEST_LINE - len(_CUT)] + _CUT
        framed = b"\n%b\n" % line.replace(b"\n", b" ")
        with self._lock:  # close() waits: by the time of the write, the number would be another file's or socket's
            descriptor = self._opened()
            try:
                whole = descriptor is not None and os.write(descriptor, framed) == len(framed)
            except OSError:
                whole = False
            if not whole:
                self.lost += 1
        return whole

    def is_empty(self) -> bool:
        """Nobody has written a line yet."""
        with self._lock:
            return self._descriptor is not None and os.fstat(self._descriptor).st_size == 0

    @property
    def size(self) -> int:
        """Bytes of the file, whoever wrote them; 0 while it cannot be opened."""
        with self._lock:
            return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Stop writing, and give up the share in the lock."""
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _opened(self) -> int | None:
        if self._descriptor is None and not self._closed:
            with contextlib.suppress(OSError):
                self._descriptor = _open_shared(self._path)
        return self._descriptor


def parse_name(name: str) -> LogIdentity | None:
    """The attempt whose spool file has this name; None for other files."""
    if (match := _NAME.fullmatch(name)) is None:
        return None
    try:
        created = _EPOCH + timedelta(microseconds=int(match["created"]))
        return LogIdentity(UUID(match["job"]), created, int(match["token"]), int(match["attempt"]))
    except (ValueError, OverflowError):
        return None


def _stem(identity: LogIdentity) -> str:
    created = (identity.created_at - _EPOCH) // timedelta(microseconds=1)
    return f"{created:016d}.job-{identity.job_id}.{identity.token:020d}.{identity.attempt:06d}"


def _open_shared(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Between the two calls an heir may have taken the new, empty file for a dead one's: it looks, and lets go or
        # deletes. An heir that writes a last line of its own holds the exclusive lock itself: no use in waiting long.
        until = time.monotonic() + 0.05
        while not (shared := _locked(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)) and time.monotonic() < until:
            time.sleep(0.002)
        if not shared or _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except OSError:  # held by somebody, or a file system without locks
        return False
    return True


def _is_first(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: logs must be sealed there too
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

"""How much room is left for logs, and what goes first when there is too little: debug lines, then info, then the rest.

The worker measures the spool and the disk, and says what it found in one byte of a file that every writer looks at now
and then: the byte is overwritten in place, which works on a full disk too. Nobody ever waits for room.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker import metrics
from worker.joblog.spool import BUILDING
from worker.logging import get_logger

SIGN = "room"
DROPPED_EVENT = "lines dropped"
DROPPED = f'"event":"{DROPPED_EVENT}"'.encode()
SECONDS_BETWEEN_LOOKS = 0.25
GRAVITY = {"debug": 1, "info": 2}  # others: 3
_SENTENCES = {
    0: "the spool has room again",
    1: "the spool is nearly full: debug lines are dropped",
    2: "the spool is full: debug and info lines are dropped",
    3: "the spool is more than full: all lines are dropped",
}


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds of one attempt's log."""

    most_bytes: int = 2 * 2**30
    most_lines: int = 20_000_000

    def pressure(self, size: int, lines: int) -> int:
        """1: no debug lines any more, 2: no info either, 3: none at all."""
        return _pressure(max(size / self.most_bytes, lines / self.most_lines))


class SpoolRoom:
    """Measures the spool and the disk below it, and tells the writers."""

    def __init__(
        self, root: Path, *, most_bytes: int, least_free_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`least_free_bytes` is to stay free on the disk; on a small disk a twentieth of it."""
        self._root = root
        self._most_bytes = most_bytes
        self._least_free_bytes = least_free_bytes
        self._clock = clock
        self._looked_at = float("-inf")
        self._pressure = 0
        self._told = False

    def look(self) -> None:
        """Measure, at most once in SECONDS_BETWEEN_LOOKS."""
        if self._clock() - self._looked_at < SECONDS_BETWEEN_LOOKS:
            return
        self._looked_at = self._clock()
        with contextlib.suppress(FileNotFoundError):
            size = _size_of(self._root)
            free, whole = _disk_of(self._root)
            pressure = max(_pressure(size / self._most_bytes), self._pressure_of_disk(free, whole))
            metrics.log_spool(size, pressure)
            self._tell(pressure, spool_bytes=size, free_bytes=free)

    def spare(self) -> int:
        """Bytes that may be written beside the spool for a while before any line has to go for them."""
        try:
            free, whole = _disk_of(self._root)
        except FileNotFoundError:  # nothing was ever written
            return sys.maxsize
        return max(free - 2 * self._least_free(whole), 0)

    def _least_free(self, whole: int) -> int:
        return min(self._least_free_bytes, whole // 20)

    def _pressure_of_disk(self, free: int, whole: int) -> int:
        least = self._least_free(whole)
        return 0 if free >= 2 * least else 1 if free >= least else 2 if free >= least // 4 else 3

    def _tell(self, pressure: int, **facts: int) -> None:
        if pressure == self._pressure and self._told:
            return
        try:
            _overwrite(self._root / SIGN, str(pressure).encode())
            self._told = True
        except OSError:
            self._told = False  # no room even for the first byte: writers find out by themselves
        if pressure != self._pressure:
            say = get_logger().warning if pressure else get_logger().info
            say(_SENTENCES[pressure], hint="WORKER_LOG_SPOOL_MB and WORKER_LOG_MIN_FREE_MB are the bounds.", **facts)
        self._pressure = pressure


class RoomSign:
    """What the worker last said of the spool, for one writer; a look now and then, not for every line."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = root / SIGN
        self._clock = clock
        self._looked_at = float("-inf")
        self._pressure = 0

    @property
    def pressure(self) -> int:
        """As of a moment ago."""
        now = self._clock()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            try:
                self._pressure = int(self._path.read_bytes() or b"0")
            except (OSError, ValueError):
                self._pressure = 0
        return self._pressure


def is_dropped(level: str, pressure: int) -> bool:
    """Whether a line of this level has no room."""
    return pressure >= GRAVITY.get(level, 3)


def dropped_by(line: bytes) -> dict[str, int]:
    """The counts of a marker line, by level; none for a damaged one."""
    try:
        facts = json.loads(line)["lines"]
        return {str(level): int(count) for level, count in facts.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _pressure(share: float) -> int:
    return 0 if share < 0.9 else 1 if share < 1 else 2 if share < 1.1 else 3


def _overwrite(path: Path, byte: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, byte, 0)
    finally:
        os.close(descriptor)


def _disk_of(root: Path) -> tuple[int, int]:
    """Free bytes, and all."""
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def _size_of(root: Path) -> int:
    """What waits for the store; not what is being built out of it and goes again."""
    size = 0
    with os.scandir(root) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                size += 0 if entry.name.endswith(BUILDING) else entry.stat(follow_symlinks=False).st_size
    return size

"""Bare repositories kept between jobs: a bounded folder that saves bytes, and that nothing relies on.

One process uses a repository at a time; another one that comes meanwhile does without. Whatever looks strange is thrown
away. The least recently used go first when the folder grows over its bound.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from worker.errors import GitNetworkError, JobError, Snooze

MOST_PACKS = 50
"""Each fetch leaves a pack or two, and git looks into all of them; a repository with more is begun anew."""


@contextmanager
def kept_repository(root: Path | None, key: str, *, max_bytes: int, otherwise: Path) -> Iterator[Path]:
    """Where to fetch to: the kept repository of this key, or `otherwise`, where none is kept or somebody uses it.

    `key` names whose content it is and where from; nobody with another key gets to see it. The folder may be shared by
    any number of processes.
    """
    with ExitStack() as stack:
        place = root and stack.enter_context(_held(root, hashlib.sha256(key.encode()).hexdigest()[:32]))
        if root is None or place is None:
            yield otherwise
            return
        if len(list(place.glob("objects/pack/*.pack"))) > MOST_PACKS:
            _throw_away(place)
        try:
            yield place
        except (GitNetworkError, Snooze):
            raise
        except JobError:  # perhaps it is to blame
            _throw_away(place)
            raise
        sweep(root, max_bytes, using=place)


@contextmanager
def _held(root: Path, name: str) -> Iterator[Path | None]:
    """The folder of this name, locked by this process; None while another one has it, or where there is no disk."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(lock)  # the order of use
        except OSError:
            yield None
            return
        yield root / f"{name}.git"
    finally:
        os.close(lock)  # and with it the lock; the file stays, or two processes could lock two files of one name


def sweep(root: Path, max_bytes: int, *, using: Path | None = None) -> None:
    """Throw away the least recently used repositories that nobody holds, until the rest is within the bound."""
    sizes = {place: _size(place) for place in root.glob("*.git")}
    total = sum(sizes.values())
    for place in sorted(sizes, key=_last_used):
        if total <= max_bytes:
            return
        if place == using:
            _throw_away(place)  # by its user, when all others did not suffice
            total -= sizes[place]
            continue
        with _held_in_place(root, place) as is_free:
            if is_free:
                _throw_away(place)
                total -= sizes[place]


@contextmanager
def _held_in_place(root: Path, place: Path) -> Iterator[bool]:
    """Hold another repository without counting that as a use."""
    lock_file = place.with_suffix(".lock")
    used = _last_used(place)
    with _held(root, place.stem) as held:
        yield held is not None
        if held is not None:
            with suppress(OSError):
                os.utime(lock_file, (used, used))


def _throw_away(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


def _size(place: Path) -> int:
    total = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):  # gone meanwhile
                total += os.lstat(Path(folder) / name).st_size
    return total


def _last_used(place: Path) -> float:
    try:
        return place.with_suffix(".lock").stat().st_mtime
    except OSError:
        return 0.0

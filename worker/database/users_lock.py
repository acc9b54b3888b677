"""Who uses the embedded server: a file every user holds a shared lock on; the last one out may stop the server.

The kernel drops a lock with its process, however that ends. A lock belongs to an open file, which a forked child
shares; so a forked child closes its copy at once: it neither keeps the server alive nor gives it up. Programs that are
executed never see the file.
"""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UsersLock:
    """This process's place among the users of one server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        _held.add(self)

    @property
    def held(self) -> bool:
        """Whether this process counts as a user."""
        return self._file is not None

    def join(self) -> None:
        """Become a user; waits while the last one before is stopping the server."""
        if self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_SH)
            self._file = file

    @contextmanager
    def leave(self) -> Iterator[bool]:
        """Stop being a user. True: there is no other one, and none can join until the block ends."""
        file, self._file = self._file, None
        if file is None:
            yield False
            return
        try:
            yield _alone(file)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def forget(self) -> None:
        """In a forked child: let go of the parent's file without touching its lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Only one process of this machine is in such a block for a path."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _alone(file: int) -> bool:
    try:
        # Gives the shared lock up even when refused, so of two that leave at once the later one is alone.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_held: "weakref.WeakSet[UsersLock]" = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)

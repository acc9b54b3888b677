"""Folders for the fetched objects of running jobs: one a process, locked while it lives, swept after its death."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

from worker.job import Job

PREFIX = "indexing-worker-"
AFTER_MULTIPROCESSING = -200
"""Lower than the -100 with which multiprocessing deletes its temporary folder at exit."""
LONGEST_FOR_SOCKETS = 60
"""Characters of a folder in which a Unix socket's path still fits its limit of about 100."""


class Scratch:
    """This process's scratch folder. Folders of dead processes beside it are deleted at the start."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        while not self._made(root):  # swept by another start, in the moment before it was locked
            pass
        self._adopt_temporary_files()

    def _made(self, root: Path) -> bool:
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if (self._folder / "lock").exists():
            return True
        os.close(self._lock)
        return False

    def _adopt_temporary_files(self) -> None:
        """Temporary files of this process and its children (the forkserver's socket) go here, and so are swept too."""
        if len(str(self._folder)) <= LONGEST_FOR_SOCKETS:
            tempfile.tempdir = os.environ["TMPDIR"] = str(self._folder)

    def folder(self, job: Job, *, create: bool = True) -> Path:
        """The folder of one attempt."""
        folder = self._folder / f"{job.id}-{job.lease_token}"
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Delete everything, at the process's end: multiprocessing deletes its own folder in it before."""
        os.close(self._lock)
        Finalize(None, shutil.rmtree, args=(self._folder, True), exitpriority=AFTER_MULTIPROCESSING)


def _sweep(root: Path) -> None:
    """Delete the folders whose process is gone: their lock is free."""
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)

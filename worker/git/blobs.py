"""File contents by object id, streamed out of one git process."""

import hashlib
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from worker.errors import GitError, TooLarge
from worker.git.run import GitProcess, git

_STALL_SECONDS = 60.0


def read_blobs(
    git_dir: Path, oids: Iterable[bytes], *, max_bytes: int = 100_000_000
) -> Generator[tuple[bytes, bytes], None, None]:
    """(oid, content) of each blob, in the order asked; git is gone when the iterator is closed.

    Ask only for what fits (`blob_sizes`). `max_bytes` a blob is the second line (TooLarge).
    Raises GitError that names the oid when an object is missing or no blob, GitTimeout when git stalls. The
    time the caller takes between two blobs does not count.
    """
    wanted = list(oids)  # the writer is another thread: the caller's iterable must not run there
    if not wanted:
        return
    command = ("cat-file", "--batch", "--buffer")
    about = "the fetched objects"
    with git(*command, about=about, seconds=_STALL_SECONDS, git_dir=git_dir.absolute(), feed=True) as process:
        # Both pipes fill up: without a second thread, git and we would wait for each other.
        writer = threading.Thread(target=_write, args=(process.stdin, wanted), name="git-writer", daemon=True)
        writer.start()
        try:
            for oid in wanted:
                process.allow(_STALL_SECONDS)
                content = _read(process, oid, max_bytes)
                process.allow(float("inf"))
                yield oid, content
            process.allow(_STALL_SECONDS)
        except BaseException:
            process.close()
            raise
        finally:
            writer.join()


def blob_sizes(git_dir: Path, oids: Iterable[bytes], *, timeout: float = 300) -> dict[bytes, int]:
    """The size of each of these contents that is here; those that are not, or are no contents, are left out.

    Raises GitError, GitTimeout.
    """
    wanted = list(oids)
    if not wanted:
        return {}
    sizes: dict[bytes, int] = {}
    command = ("cat-file", "--batch-check", "--buffer")
    about = "the fetched objects"
    with git(*command, about=about, seconds=timeout, git_dir=git_dir.absolute(), feed=True) as process:
        writer = threading.Thread(target=_write, args=(process.stdin, wanted), name="git-writer", daemon=True)
        writer.start()
        try:
            for line in process.stdout:
                facts = line.split()
                if len(facts) == 3 and facts[1] == b"blob":
                    sizes[bytes.fromhex(facts[0].decode())] = int(facts[2])
        except BaseException:
            process.close()
            raise
        finally:
            writer.join()
    return sizes


def _write(stdin: IO[bytes], oids: Iterable[bytes]) -> None:
    with suppress(OSError, ValueError):  # git is gone, or its pipe is closed: the reader finds out why
        for oid in oids:
            stdin.write(oid.hex().encode() + b"\n")
        stdin.close()


def _read(process: GitProcess, oid: bytes, max_bytes: int) -> bytes:
    header = process.stdout.readline().split()
    if not header:
        process.finish()
        raise GitError(f"git ended before it gave out the object {oid.hex()}.")
    if len(header) != 3 or header[1] != b"blob":
        found = header[1].decode() if len(header) > 1 else "unreadable"
        raise GitError(f"The object {oid.hex()} is {found}, where a blob was wanted.")
    size = int(header[2])
    if size > max_bytes:
        raise TooLarge(f"The object {oid.hex()} has {size} bytes, more than the limit of {max_bytes}.")
    content = process.stdout.read(size)
    if len(content) != size or process.stdout.read(1) != b"\n":
        process.finish()
        raise GitError(f"git ended in the middle of the object {oid.hex()}.")
    if hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).digest() != oid:
        raise GitError(f"The object {oid.hex()} is not what its id says.")
    return content

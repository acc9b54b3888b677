"""Every path of a commit, with the id of its content, which need not be here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from worker.errors import TooManyPaths
from worker.git.run import git

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CHUNK = 1 << 18
_LONGEST_PATH = 65_536
_LONGEST_STORED = 2_000  # a btree entry holds 2,704 bytes
_BYTES_A_PATH = 1_024  # the mean that the paths of one tree may have: bounds memory where each is long


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One path of a tree.

    `path` is None where it is no text a database could hold (not UTF-8, control characters) or where the tree
    names it a second time; `raw_path` always has git's bytes. `mode` is git's, such as 0o100644, 0o120000
    (symlink), 0o160000 (submodule). `oid` has 20 bytes.
    """

    path: str | None
    raw_path: bytes
    mode: int
    oid: bytes


def read_tree(git_dir: Path, commit: str, *, max_paths: int, timeout: float = 300) -> list[TreeEntry]:
    """All files, symlinks and submodules of a commit; TooManyPaths as soon as there are more than `max_paths`."""
    entries: list[TreeEntry] = []
    seen: set[str] = set()
    listing = ("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit)
    with git(*listing, about=f"the tree of {commit}", seconds=timeout, git_dir=git_dir.absolute()) as process:
        for record in _records(process.stdout, max_paths):
            entries.append(_entry(record, seen))
    return entries


def _records(stdout: BufferedReader, max_paths: int) -> Iterator[bytes]:
    """The NUL-ended records of git's answer, as they come, within the limits of number and length."""
    paths = size = 0
    rest = b""
    while chunk := stdout.read1(_CHUNK):
        *records, rest = (rest + chunk).split(b"\0")
        paths += len(records)
        size += len(chunk)
        if paths > max_paths:
            raise TooManyPaths(
                f"The commit has more than {max_paths} paths.",
                hint="Raise WORKER_MAX_FILES if that is meant.",
            )
        if len(rest) > _LONGEST_PATH or size > max_paths * _BYTES_A_PATH + _LONGEST_PATH:
            raise TooManyPaths("The paths of the commit are too long to be honest.")
        yield from records


def _entry(record: bytes, seen: set[str]) -> TreeEntry:
    head, _, raw_path = record.partition(b"\t")
    mode, _kind, oid = head.split()
    path = _text(raw_path)
    if path in seen:
        path = None
    elif path is not None:
        seen.add(path)
    return TreeEntry(path, raw_path, int(mode, 8), bytes.fromhex(oid.decode()))


def _text(raw_path: bytes) -> str | None:
    try:
        path = raw_path.decode()
    except UnicodeDecodeError:
        return None
    return None if not path or len(raw_path) > _LONGEST_STORED or _CONTROL.search(path) else path

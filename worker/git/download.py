"""The objects of one commit, as few as a job needs: the trees first, then the missing contents at once.

Nothing is remembered between two jobs, so nothing can be stale. A server that refuses to leave out contents, or to give
them out by their id, is asked for the whole commit without its history.
"""

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from worker.errors import FetchRefused, TooLarge
from worker.git.blobs import blob_sizes
from worker.git.fetch import NO_CONTENTS, fetch_blobs, fetch_commit
from worker.git.url import RepositoryUrl

_PACKING = 64
"""Bytes that a pack needs for an object beside its content, at most; and for itself."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Most bytes and seconds of all fetches of one job together, and most bytes of a content that is wanted."""

    bytes: int
    seconds: float
    file_bytes: int


class Download:
    """What has been fetched of one commit, into the bare repository `git_dir`; `fetched` counts the bytes of all packs.

    Each method raises what `fetch_commit` raises.
    """

    def __init__(
        self,
        url: RepositoryUrl,
        commit: str,
        git_dir: Path,
        limits: FetchLimits,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        self.git_dir = git_dir
        self.fetched = 0
        self.is_whole = False
        self._url = url
        self._commit = commit
        self._limits = limits
        self._on_bytes = on_bytes
        self._deadline = time.monotonic() + limits.seconds
        self._before = 0  # bytes of the fetches that have ended

    def bring_whole(self) -> None:
        """Everything but contents over the limit of a file; for a repository of which nothing is known yet."""
        # git leaves out what has that many bytes or more.
        self._bring_commit(f"blob:limit={self._limits.file_bytes + 1}")
        self.is_whole = True

    def bring_trees(self) -> None:
        """The commit and its trees, so that `read_tree` works; contents only where the server cannot leave them out."""
        self._bring_commit(NO_CONTENTS)

    def bring_contents(self, oids: Collection[bytes]) -> dict[bytes, int]:
        """The sizes of those contents that are here, after fetching those that were not.

        What is left out is over the limit of a file, or is no content at all. What is there may be over it as well:
        a server knows the sizes only of what it is asked for by filter.
        """
        sizes = blob_sizes(self.git_dir, oids)
        missing = [oid for oid in oids if oid not in sizes]
        if not missing or self.is_whole:
            return sizes
        try:
            self._bring_blobs(missing)
        except FetchRefused:
            self._start_over()
        except TooLarge:
            if self.fetched > self._limits.bytes:
                raise
            self._start_over()  # there are contents over the limit among them, which a filter leaves out
        return blob_sizes(self.git_dir, oids)

    def _start_over(self) -> None:
        """Get the whole commit instead, into an empty repository: git would believe it has it."""
        shutil.rmtree(self.git_dir)
        self.bring_whole()

    def _bring_commit(self, leave_out: str) -> None:
        try:
            self._count(fetch_commit, self._commit, leave_out=leave_out)
        except FetchRefused:
            shutil.rmtree(self.git_dir)
            self._count(fetch_commit, self._commit)

    def _bring_blobs(self, oids: Collection[bytes]) -> None:
        honest = (len(oids) + 1) * (self._limits.file_bytes + _PACKING)
        self._count(fetch_blobs, oids, at_most=honest)

    def _count(self, fetch: Callable[..., int], what: object, *, at_most: int | None = None, **how: object) -> None:
        """One fetch within what is left of the limits; its bytes count even if it fails."""
        left = self._limits.bytes - self.fetched
        self._before = self.fetched
        fetch(
            self._url,
            what,
            self.git_dir,
            max_bytes=left if at_most is None else min(left, at_most),
            timeout=max(1.0, self._deadline - time.monotonic()),
            on_bytes=self._hear,
            **how,
        )

    def _hear(self, size: int) -> None:
        self.fetched = self._before + size
        if self._on_bytes is not None:
            self._on_bytes(self.fetched)

"""The objects of one commit, as few as a job needs: the trees first, then the missing contents at once.

Nothing need be remembered between two jobs. Where a repository was kept, it only saves bytes: what the job needs is
asked of it anew, and where it fails it is begun anew. A server that refuses to leave out contents, or to give
them out by their id, is asked for the whole commit without its history.
"""

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from worker.errors import (
    AccessDenied,
    FetchRefused,
    GitError,
    GitNetworkError,
    GitTimeout,
    JobError,
    RepositoryNotFound,
    Snooze,
    TooLarge,
)
from worker.git.blobs import blob_sizes
from worker.git.fetch import NO_CONTENTS, fetch_blobs, fetch_commit
from worker.git.tree import TreeEntry, read_tree
from worker.git.url import RepositoryUrl

_PACKING = 64
"""Bytes that a pack needs for an object beside its content, at most; and for itself."""

_NOT_THE_REPOSITORYS_FAULT = (AccessDenied, GitNetworkError, GitTimeout, RepositoryNotFound, Snooze, TooLarge)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Most bytes and seconds of all fetches of one job together, and most bytes of a content that is wanted."""

    bytes: int
    seconds: float
    file_bytes: int


class Download:
    """What has been fetched of one commit, into the bare repository `git_dir`; `fetched` counts the bytes of all packs.

    `was_kept`: an earlier job's objects were there.

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
        self.was_kept = next(git_dir.glob("objects/pack/*.pack"), None) is not None
        self.fetched = 0
        self.is_whole = False
        self._url = url
        self._commit = commit
        self._limits = limits
        self._on_bytes = on_bytes
        self._deadline = time.monotonic() + limits.seconds
        self._before = 0  # bytes of the fetches that have ended
        self._is_kept = git_dir.exists()  # by an earlier job: to be doubted

    def bring_whole(self) -> None:
        """Everything but contents over the limit of a file; for a repository of which nothing is known yet."""
        self._begin_anew()  # of a commit that is here, the server would send no content
        # git leaves out what has that many bytes or more.
        self._bring_commit(f"blob:limit={self._limits.file_bytes + 1}")
        self.is_whole = True

    def bring_trees(self) -> None:
        """The commit and its trees, so that `read_tree` works; contents only where the server cannot leave them out."""
        try:
            self._bring_commit(NO_CONTENTS)
        except JobError as failure:
            if not self._is_kept or isinstance(failure, _NOT_THE_REPOSITORYS_FAULT):
                raise
            self._begin_anew()
            self._bring_commit(NO_CONTENTS)

    def entries(self, *, max_paths: int) -> list[TreeEntry]:
        """The commit's tree; raises what `read_tree` raises."""
        try:
            return read_tree(self.git_dir, self._commit, max_paths=max_paths)
        except GitError:
            if not self._is_kept:
                raise
            self.bring_whole()
            return read_tree(self.git_dir, self._commit, max_paths=max_paths)

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
            self.bring_whole()
        except TooLarge:
            if self.fetched > self._limits.bytes:
                raise
            self.bring_whole()  # there are contents over the limit among them, which a filter leaves out
        return blob_sizes(self.git_dir, oids)

    def _begin_anew(self) -> None:
        shutil.rmtree(self.git_dir, ignore_errors=True)
        self._is_kept = False

    def _bring_commit(self, leave_out: str) -> None:
        try:
            self._count(fetch_commit, self._commit, leave_out=leave_out)
        except FetchRefused:
            self._begin_anew()
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

"""What the steps of an index job hand to each other."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from worker.catalog.blobs import BlobKey
from worker.catalog.branches import Branch, Repository
from worker.catalog.publish import limit_transaction
from worker.git.resolve import Tip
from worker.git.url import RepositoryUrl
from worker.indexing.classify import Skip
from worker.indexing.compare import Changes
from worker.indexing.pool import ExtractorPool
from worker.job import JobContext
from worker.queue.finish import hold
from worker.settings import Settings

SHARE_OF_LEASE = 0.45
"""No statement, lock or pause inside a transaction that holds the job may last longer than this part of the lease."""

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(slots=True)
class Run:
    """What every step of one attempt shares: its surroundings and its stop watch."""

    context: JobContext
    settings: Settings
    connection: Connection
    pool: ExtractorPool
    _seconds: dict[str, float] = field(default_factory=dict)
    _now: tuple[str, float] | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a step and say that it runs."""
        self.context.progress(name)
        self._now = (name, time.perf_counter())
        yield
        self._seconds, self._now = self.seconds(), None

    def hold_job(self) -> None:
        """In a transaction that writes: only while the lease is ours, and bounded, so that a worker paused in it holds
        no row against a rescue. Raises LeaseLost.
        """
        limit_transaction(self.connection, self.settings.worker_lease_seconds * SHARE_OF_LEASE)
        hold(self.connection, self.context.job)

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, the running one as far as it has come: publish tells its own inside its transaction."""
        if self._now is None:
            return self._seconds
        name, started = self._now
        before = self._seconds.get(name, 0.0)  # a phase may come twice: trees are fetched, then contents
        return {**self._seconds, name: round(before + time.perf_counter() - started, 3)}


@dataclass(frozen=True, slots=True)
class Target:
    """What to index: where from, which commit, into which branch and scope."""

    repository: Repository
    branch: Branch
    url: RepositoryUrl
    tip: Tip
    scope: int
    rebuild: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the tree comparison found. `skips` by path of the whole tree; `sizes` in bytes, of the paths in `skips`."""

    changes: Changes
    sizes: Mapping[str, int]
    skips: Mapping[str, Skip]
    git_dir: Path


@dataclass(frozen=True, slots=True)
class Stored:
    """Blob ids for every content the changes need, how many were `kept` from before, and what had to be parsed."""

    ids: Mapping[BlobKey, int]
    kept: int
    parsed: int
    symbols: int
    references: int

"""What a job is, how an attempt ended, and what a handler sees while it runs."""

import os
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import psycopg

from worker.settings import Settings


class Status(StrEnum):
    """Where a job stands. The last three are terminal."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """No verb but a manual retry moves the job from here."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


FULL_INDEX = "full_index"
INCREMENTAL_UPDATE = "incremental_update"
VALIDATE = "validate"
RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of indexing_jobs as claimed: the lease token names this attempt and no other."""

    id: uuid.UUID
    job_type: str
    lease_token: int
    attempt: int
    max_attempts: int
    payload: Mapping[str, Any]
    queued_at: datetime
    started_at: datetime
    created_at: datetime
    repository_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    priority: int = 0
    errors: int = 0
    crashes: int = 0
    timeout_seconds: int | None = None


class Ending(StrEnum):
    """The verb with which an attempt leaves its job."""

    COMPLETE = "complete"
    PUBLISHED = "published"  # the child completed the job in its own transaction
    RETRY = "retry"
    SNOOZE = "snooze"
    CRASH = "crash"
    FAIL = "fail"
    CANCEL = "cancel"
    RELEASE = "release"
    LOST = "lost"  # the token is no longer ours: nothing may be written


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended, as a value: everything the queue needs to record it."""

    ending: Ending
    result: Mapping[str, Any] = field(default_factory=dict)
    error_class: str | None = None
    message: str | None = None
    delay_seconds: float | None = None


class JobLog(Protocol):
    """The log of one job, as code that runs inside an attempt sees it (a bound structlog logger fits)."""

    def debug(self, event: str, **facts: Any) -> Any:
        """Write a line of detail."""
        ...

    def info(self, event: str, **facts: Any) -> Any:
        """Write a line."""
        ...

    def warning(self, event: str, **facts: Any) -> Any:
        """Write a line about something left out or unexpected."""
        ...

    def error(self, event: str, **facts: Any) -> Any:
        """Write a line about a failure."""
        ...


@dataclass(frozen=True, slots=True)
class GitToken:
    """A token for the repositories of one host (`host` or `host:port`), or the problem that stands in its way.

    `passes`: the problem may be gone at the next attempt.
    """

    host: str
    token: str | None = field(default=None, repr=False)
    problem: str | None = None
    passes: bool = False


class JobContext(Protocol):
    """What a handler sees: its job, its limits, and the ways to tell the world."""

    job: Job
    log: JobLog
    workdir: Path  # empty at start, deleted at the end, whatever happens
    processes: int  # how many processes the handler may start for its work

    @property
    def settings(self) -> Settings:
        """The program's settings, secrets included. Ask late: before this the process holds no secret."""
        ...

    @property
    def git_token(self) -> GitToken | None:
        """What reads the job's repository, where strangers may not; no other job's child has it."""
        ...

    def connect(self) -> AbstractContextManager[psycopg.Connection[dict[str, Any]]]:
        """An autocommit connection with dict rows; the caller closes it."""
        ...

    def progress(self, phase: str, done: int = 0, total: int | None = None) -> None:
        """Say where the attempt is; the parent writes at most one row a second."""
        ...

    def event(self, verb: str, message: str | None = None, **context: Any) -> None:
        """Record an event of the job (at most one write a second reaches Postgres)."""
        ...

    def published(self, result: Mapping[str, Any]) -> None:
        """Say that the handler completed the job in its own transaction, with this result."""
        ...


class InlineContext(Protocol):
    """What an inline handler sees: a JobContext without what belongs to a process of its own."""

    job: Job
    settings: Settings

    @property
    def log(self) -> JobLog:
        """The job's log; a job that writes no line has none."""
        ...

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[dict[str, Any]]]:
        """An autocommit connection of the worker's pool, with dict rows."""
        ...

    def progress(self, phase: str, done: int = 0, total: int | None = None) -> None:
        """Say where the attempt is; at most one row a second is written."""
        ...

    def event(self, verb: str, message: str | None = None, **context: Any) -> None:
        """Record an event of the job (at most one write a second reaches Postgres)."""
        ...


def new_job_id() -> uuid.UUID:
    """A uuid of version 7 (RFC 9562): 48 bits of Unix milliseconds, then random bits, so ids sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds << 80) | random
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return uuid.UUID(int=value)

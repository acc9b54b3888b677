"""Whose log a file or an object is, and the names that follow from it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from worker.job import Job

_DAY = r"(?P<day>\d{4}-\d{2}-\d{2})"
_JOB = r"job-(?P<job>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_SEGMENT = re.compile(
    rf"live/{_DAY}/{_JOB}/(?P<token>\d{{20}})-(?P<seq>\d{{8}})-(?P<offset>\d{{16}})-(?P<length>\d{{16}})\.ndjson"
)
_SEALED = re.compile(rf"logs/{_DAY}/{_JOB}\.(?P<token>\d+)(?:\.(?P<part>\d+))?\.log")


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """One attempt's share of a job's log. `created_at` is the job's, so that all attempts agree on the day."""

    job_id: UUID
    created_at: datetime
    token: int
    attempt: int = 1

    def __post_init__(self) -> None:
        if self.created_at.tzinfo is None:
            raise ValueError("created_at needs a time zone: the day in the log's name is the day in UTC")

    @property
    def day(self) -> str:
        """The day under which everything of the job is kept."""
        return day_of(self.created_at)

    @property
    def live_prefix(self) -> str:
        """What the keys of all segments of the job begin with, whatever attempt wrote them."""
        return live_prefix(self.job_id, self.created_at)

    @property
    def sealed_key(self) -> str:
        """The key of the whole log, if this attempt's owner seals it: no other token can overwrite it."""
        return f"logs/{self.day}/job-{self.job_id}.{self.token}.log"

    def part_key(self, part: int) -> str:
        """The key of one object of a log that the store takes only in parts; the first one is the sealed key."""
        return self.sealed_key if part == 1 else f"logs/{self.day}/job-{self.job_id}.{self.token}.{part}.log"

    def segment_key(self, seq: int, offset: int, length: int) -> str:
        """The key of one piece of this attempt's spool; numbers are padded so that names sort as the pieces do."""
        return f"{self.live_prefix}{self.token:020d}-{seq:08d}-{offset:016d}-{length:016d}.ndjson"


@dataclass(frozen=True, slots=True)
class Segment:
    """One uploaded piece of an attempt's log, as its key tells it."""

    key: str
    day: str
    job_id: UUID
    token: int
    seq: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SealedName:
    """What the key of a sealed log tells."""

    key: str
    day: str
    job_id: UUID
    token: int
    part: int = 1


def identity_of(job: Job) -> LogIdentity:
    """The log of this claimed job's attempt."""
    return LogIdentity(job.id, job.created_at, job.lease_token, job.attempt)


def day_of(moment: datetime) -> str:
    """The day of a moment in UTC, as it stands in keys."""
    return moment.astimezone(UTC).date().isoformat()


def live_prefix(job_id: UUID, created_at: datetime) -> str:
    """What the keys of all segments of a job begin with."""
    return f"live/{day_of(created_at)}/job-{job_id}/"


def parse_segment(key: str) -> Segment | None:
    """The segment of this name; None for a foreign key."""
    if (match := _SEGMENT.fullmatch(key)) is None:
        return None
    numbers = (int(match[name]) for name in ("token", "seq", "offset", "length"))
    return Segment(key, match["day"], UUID(match["job"]), *numbers)


def parse_sealed(key: str) -> SealedName | None:
    """The sealed log of this name; None for a foreign key."""
    if (match := _SEALED.fullmatch(key)) is None:
        return None
    return SealedName(key, match["day"], UUID(match["job"]), int(match["token"]), int(match["part"] or 1))

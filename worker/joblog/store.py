"""What a log store can do: whole objects in, ranges out, names in order. There is no append."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from worker.errors import LogStoreError
from worker.joblog.identity import parse_sealed

CHUNK = 256 * 1024
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class LogStore(Protocol):
    """A place for job logs. Every failure is a LogStoreError; a missing key is NotFound."""

    @property
    def largest_object(self) -> int | None:
        """Most bytes of an object; a longer log becomes several. None: more than any log has."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Store these bytes; a reader sees all of them or what was there before."""
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Store a file's content without loading it whole."""
        ...

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes, or a range of them, in chunks; raises NotFound at once, not at the first chunk."""
        ...

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Keys that begin with the prefix, each with its size, in the order of the keys."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those already gone are no failure."""
        ...

    def ensure_bucket(self) -> None:
        """Create the bucket unless it is there."""
        ...

    def ensure_retention(self, days: float) -> bool:
        """Set the store's own expiry, where it has one, as a safety net behind the sweep; False where it has none."""
        ...

    def url(self, key: str, seconds: int) -> str | None:
        """An address at which anybody may read this object for so long; None where the store has no such thing."""
        ...


def check_key(key: str) -> str:
    """The key, if it is safe as a path and as an object's name; raises LogStoreError."""
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise LogStoreError(f"{key!r} cannot be the name of a log.", retryable=False)
    return key


def check_prefix(prefix: str) -> str:
    """The prefix, if keys could begin with it; raises LogStoreError."""
    *folders, start = prefix.split("/")
    if not all(_PART.fullmatch(part) for part in folders) or (start and not _PART.fullmatch(start)):
        raise LogStoreError(f"{prefix!r} cannot be the beginning of a log's name.", retryable=False)
    return prefix


def download_name(key: str) -> str:
    """What a reader's file is called: a sealed log by its job alone, without the token that guards the key."""
    sealed = parse_sealed(key)
    if sealed is None:
        return key.rpartition("/")[2]
    return f"job-{sealed.job_id}.log" if sealed.part == 1 else f"job-{sealed.job_id}.{sealed.part}.log"

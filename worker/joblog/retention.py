"""Deletes old job logs, day by day from the oldest, without listing what stays."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from worker.joblog.identity import SealedName, Segment, day_of, parse_sealed, parse_segment
from worker.joblog.store import LogStore

BATCH = 1000  # what S3 deletes in one request
LIVE_DAYS_MORE = 2  # a segment is the only copy of its lines until the job is sealed

Running = Callable[[Collection[UUID]], Collection[UUID]]


def sweep(store: LogStore, days: float, *, running: Running, now: datetime | None = None) -> int:
    """Delete the logs of jobs created more than `days` ago; answers how many objects.

    `running` says which of these jobs (at most BATCH a call) still have a log to write or to join: theirs stays.
    """
    moment = now or datetime.now(UTC)
    return _sweep(store, "logs/", _cutoff(moment, days), running) + _sweep(
        store, "live/", _cutoff(moment, days + LIVE_DAYS_MORE), running
    )


def _cutoff(moment: datetime, days: float) -> str:
    """The first day that stays: of the day before it even the last second is old enough."""
    return day_of(moment - timedelta(days=days))


def _sweep(store: LogStore, prefix: str, cutoff: str, running: Running) -> int:
    deleted = 0
    expired = _expired(store, prefix, cutoff)
    while batch := list(islice(expired, BATCH)):
        kept = set(running({name.job_id for name in batch}))
        keys = [name.key for name in batch if name.job_id not in kept]
        store.delete(keys)
        deleted += len(keys)
    return deleted


def _expired(store: LogStore, prefix: str, cutoff: str) -> Iterator[SealedName | Segment]:
    """Names in order of their day, up to the first that stays: newer ones are never asked for."""
    for key, _ in store.list(prefix):
        day = key.removeprefix(prefix).partition("/")[0]
        if day >= cutoff:
            return
        if (name := parse_sealed(key) or parse_segment(key)) is not None:
            yield name

"""Deletes old job logs, day by day from the oldest, without listing what stays."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from uuid import UUID

from worker.errors import LogStoreError
from worker.joblog.identity import SealedName, Segment, day_of, parse_sealed, parse_segment
from worker.joblog.store import LogStore
from worker.logging import get_logger

BATCH = 1000  # what S3 deletes in one request
LIVE_DAYS_MORE = 2  # a segment is the only copy of its lines until the job is sealed
NET_DAYS_MORE = 2  # the store's own expiry comes after the sweep, which knows the running jobs

Running = Callable[[Collection[UUID]], Collection[UUID]]


def sweep(store: LogStore, days: float, *, running: Running, now: datetime | None = None) -> int:
    """Delete the logs of jobs created more than `days` ago; answers how many objects.

    `running` says which of these jobs (at most BATCH a call) still have a log to write or to join: theirs stays.
    """
    moment = now or datetime.now(UTC)
    _spread_net(store, days)
    return _sweep(store, "logs/", _cutoff(moment, days), running) + _sweep(
        store, "live/", _cutoff(moment, days + LIVE_DAYS_MORE), running
    )


def net_days(days: float) -> dict[str, int]:
    """Prefix → whole days after an upload at which a store of its own deletes what the sweep has not."""
    return {"logs/": ceil(days) + NET_DAYS_MORE, "live/": ceil(days) + LIVE_DAYS_MORE + NET_DAYS_MORE}


def _spread_net(store: LogStore, days: float) -> None:
    """Ask the store to expire logs by itself. What it answers is no reason not to sweep."""
    try:
        store.ensure_retention(days)
    except LogStoreError as failure:
        get_logger().warning("the log store's own expiry is not set", reason=str(failure), hint=failure.hint)


def _cutoff(moment: datetime, days: float) -> str:
    """The first day that stays: of the day before it even the last second is old enough."""
    return day_of(moment - timedelta(days=days))


def _sweep(store: LogStore, prefix: str, cutoff: str, running: Running) -> int:
    deleted, after = 0, None
    # Each batch lists anew: a store that counts pages by offset would skip as many names as the last one deleted.
    while batch := list(islice(_expired(store, prefix, cutoff, after), BATCH)):
        kept = set(running({name.job_id for name in batch}))
        keys = [name.key for name in batch if name.job_id not in kept]
        store.delete(keys)
        deleted += len(keys)
        if len(batch) < BATCH:
            break
        after = batch[-1].key
    return deleted


def _expired(store: LogStore, prefix: str, cutoff: str, after: str | None) -> Iterator[SealedName | Segment]:
    """Names in order of their day, up to the first that stays: newer ones are never asked for."""
    for key, _ in store.list(prefix, start_after=after):
        day = key.removeprefix(prefix).partition("/")[0]
        if day >= cutoff:
            return
        if (name := parse_sealed(key) or parse_segment(key)) is not None:
            yield name

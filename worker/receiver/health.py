"""Is the pipeline healthy: Postgres, the queue, the workers. Asked at most once a second, whoever calls."""

import asyncio
import time
from typing import Any

from worker import __version__, metrics
from worker.errors import DatabaseUnavailable
from worker.receiver.deadline import within
from worker.receiver.store import Snapshot, Store

KEEP_SECONDS = 1.0
LATE_SECONDS = 300.0
"""A job that waits longer than this makes the receiver's health degraded."""


class Health:
    """The newest picture of Postgres and the queue."""

    def __init__(self, store: Store, *, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._asking = asyncio.Lock()
        self._snapshot: Snapshot | None = None
        self._taken = float("-inf")

    async def snapshot(self) -> Snapshot | None:
        """The queue as it was at most a second ago; None while Postgres does not answer."""
        async with self._asking:
            if time.monotonic() - self._taken >= KEEP_SECONDS:
                self._snapshot = await self._ask()
                self._taken = time.monotonic()
            return self._snapshot

    async def _ask(self) -> Snapshot | None:
        try:
            snapshot = await within(self._seconds, self._store.snapshot())
        except DatabaseUnavailable:
            metrics.database_silent()
            return None
        metrics.database_answered(snapshot.seconds)
        # Not who the tenants are: strangers may reach the receiver's port. Workers tell that, on a port of their own.
        facts: dict[str, Any] = snapshot.gauges.for_metrics() | {"tenants": []}
        metrics.queue_gauges(**facts)
        return snapshot


def report(snapshot: Snapshot | None, *, spooled: int | None = None) -> dict[str, Any]:
    """What /health answers; `spooled`: deliveries on disk that wait for Postgres, None without a spool."""
    own = {} if spooled is None else {"spooled": spooled}
    waits = [f"{spooled} deliveries wait on disk for Postgres."] if spooled else []
    if snapshot is None:
        return own | {
            "status": "down",
            "supabase_status": "down",
            "latency_ms": None,
            "version": __version__,
            "reasons": ["Postgres does not answer.", *waits],
        }
    reasons = _reasons(snapshot) + waits
    return own | {
        "status": "degraded" if reasons else "ok",
        "supabase_status": "up",
        "latency_ms": round(snapshot.seconds * 1000, 1),
        "queue": {status: _jobs(snapshot, status) for status in ("queued", "in_progress")},
        "oldest_seconds": round(_oldest(snapshot), 1),
        "workers": snapshot.workers,
        "version": __version__,
        "reasons": reasons,
    }


def _jobs(snapshot: Snapshot, status: str) -> int:
    return sum(row.jobs for row in snapshot.depths if row.status == status)


def _oldest(snapshot: Snapshot) -> float:
    return max((row.oldest_seconds for row in snapshot.depths if row.status == "queued"), default=0.0)


def _reasons(snapshot: Snapshot) -> list[str]:
    reasons: list[str] = []
    if _jobs(snapshot, "queued") and not snapshot.workers:
        reasons.append("Jobs are queued, and no worker has been seen for a minute.")
    if _oldest(snapshot) > LATE_SECONDS:
        reasons.append(f"The oldest queued job has waited {_oldest(snapshot) / 60:.0f} minutes.")
    return reasons

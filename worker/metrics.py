"""Every metric of the project, and one small function to record each fact.

Labels are bounded: an unknown value says "other". Known values are exported as zeros from the start, because
an autoscaler takes an empty answer for an error. Importing opens nothing and starts no thread, so
children may be forked with this module loaded.

What is said of the whole database (the queue, the workers) every process says alike: aggregate it with max(). A
process that has not been able to read it for a minute says NaN, which max() passes over.
"""

import math
import platform
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from worker import __version__
from worker.errors import WorkerError

disable_created_metrics()

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _codes(error: type[WorkerError]) -> Iterator[str]:
    yield error.code
    for narrower in error.__subclasses__():
        yield from _codes(narrower)


SECONDS_UNTIL_UNKNOWN = 60.0
"""What a process knows of the whole database is not worth telling after this long."""

_job_types = ["full_index", "incremental_update", "validate", "reconcile"]
_STATUSES = ("queued", "in_progress")
_EVENTS = [
    "ping",
    "push",
    "create",
    "delete",
    "repository",
    "public",
    "installation",
    "installation_repositories",
    "none",
]
_ANSWERS = [
    "queued",
    "spooled",
    "duplicate",
    "processed",
    "ignored",
    "ping",
    "refused",
    "forbidden",
    "limited",
    "malformed",
    "too_large",
    "unavailable",
]
_SIGNATURE_FAILURES = ["missing", "mismatch", "unknown_repository", "no_secret", "master_key"]
_ROUTES = ["webhook", "health", "live", "metrics", "none"]
_OUTCOMES = [
    "complete",
    "retry",
    "snooze",
    "fail",
    "cancel",
    "release",
    "rescue",
    "crash",
    "supersede",
    "lost",
]
_ERROR_CLASSES = {
    *_codes(WorkerError),
    *[
        "none",
        "unexpected",
        "cancelled",
        "claim_lost",
        "worker_lost",
        "worker_failed",
        "self_fenced",
        "superseded",
        "no_process",
        "unstorable",
        "database_refused",
    ],
}
_PHASES = ["total", "resolve", "fetch", "compare", "extract", "link", "publish"]
_VERBS = [
    "complete",
    "published",
    "retry",
    "snooze",
    "crash",
    "fail",
    "cancel",
    "release",
    "progress",
    "event",
    "seal",
]
_LEVELS = ["debug", "info", "warning", "error", "critical"]
_KILLS = ["time", "memory", "cancel", "release", "lost"]
_WORKER_STATES = ["running", "draining", "fenced", "silent"]
_CRASHES = ["child_crashed", "out_of_memory", "worker_failed"]
_KINDS = ["child", "light"]
_POOLS = ["worker", "receiver", "health", "calls"]
_CACHES = ["git", "contents"]

_counter = partial(Counter, namespace="indexing_worker", registry=REGISTRY)
_gauge = partial(Gauge, namespace="indexing_worker", registry=REGISTRY)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
_quick = partial(Histogram, namespace="indexing_worker", registry=REGISTRY, buckets=_SHORT)
_PICKUP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_slow = partial(Histogram, namespace="indexing_worker", registry=REGISTRY, buckets=_LONG)

_deliveries = _counter("deliveries_total", "Webhook posts.", ["event", "outcome"])
_signature_failures = _counter("signature_failures_total", "Webhook posts refused before reading.", ["reason"])
_requests = _quick("receiver_request_seconds", "Time of the receiver's answers.", ["route", "status"])
_queue_jobs = _gauge("queue_jobs", "Jobs in the queue; use max().", ["job_type", "status"])
_queue_oldest = _gauge(
    "queue_oldest_seconds",
    "Age of the oldest job, since it was queued or claimed; use max().",
    ["job_type", "status"],
)
_queue_due = _gauge("queue_due_jobs", "Queued jobs that a free slot could take now; use max().", ["job_type"])
_queue_overdue = _gauge(
    "queue_overdue_seconds", "For how long the first job that a slot could take has been due; use max().", ["job_type"]
)
_queue_demand = _gauge(
    "queue_demand_jobs", "Jobs that run or could run now, and schedules to fire, for an autoscaler; use max()."
)
_queue_paused = _gauge("queue_pauses", "Paused job types and tenants; use max().")
_queue_unsealed = _gauge("queue_unsealed_logs", "Ended jobs whose log is not sealed yet; use max().")
_tenant_oldest = _gauge(
    "queue_tenant_oldest_seconds",
    "Age of the oldest queued job of the tenants that have waited longest; use max().",
    ["tenant"],
)
_workers = _gauge("workers", "Workers by state; silent: not seen for a minute; use max().", ["state"])
_worker_slots = _gauge("workers_slots", "Slots of all running workers together; use max().")
_claims = _counter("claims_total", "Jobs claimed.")
_attempts = _counter("attempts_total", "Attempts ended.", ["job_type", "outcome", "error_class"])
_attempt_failures = _counter("attempt_failures_total", "Attempts ended by an error or a crash.", ["job_type"])
_crashes = _counter("attempt_crashes_total", "Attempts whose process died.", ["error_class"])
_attempt_seconds = _slow("attempt_seconds", "Time of attempts and their phases.", ["job_type", "phase"])
_pickup = Histogram(
    "pickup_seconds", "From enqueue to start.", ["job_type"], "indexing_worker", registry=REGISTRY, buckets=_PICKUP
)
_slots = _gauge("slots", "Slots of this worker.", ["kind", "state"])
_listening = _gauge("listening", "1 while notifications of new jobs provably arrive, 0 while polling.")
_renewals = _counter("lease_renewals_total", "Lease renewals that Postgres confirmed.")
_renewal_age = _gauge("lease_renewal_age_seconds", "Since the last confirmed renewal.")
_lease = _gauge("lease_seconds", "Length of this worker's lease; it fences itself after two thirds of it.")
_fences = _counter("fences_total", "Times this worker gave its jobs up because its lease was in doubt.")
_rescues = _counter("rescues_total", "Jobs taken back from dead workers.")
_mended = _counter("mended_total", "Repositories and tenants woken by the safety net; should stay 0.")
_rejected = _counter("rejected_writes_total", "Writes refused because the lease was lost.", ["verb"])
_kills = _counter("child_kills_total", "Children killed with their trees.", ["reason"])
_log_bytes = _counter("log_bytes_total", "Bytes of job logs that the store took.")
_log_errors = _counter("log_upload_errors_total", "Failed calls of the log store.")
_log_written = _counter("log_written_bytes_total", "Bytes that jobs logged.")
_log_lines = _counter("log_lines_total", "Lines that jobs logged.")
_log_dropped = _counter("log_lines_dropped_total", "Lines left out because a bound of the log was reached.", ["level"])
_log_flush_lag = _slow("log_flush_lag_seconds", "Age of a segment's oldest byte when the store had it.")
_log_oldest = _gauge("log_oldest_unflushed_seconds", "Age of the oldest logged byte that the store does not have.")
_log_spool = _gauge("log_spool_bytes", "Bytes in this machine's spool.")
_log_pressure = _gauge("log_spool_pressure", "What the spool has no room for: 0 nothing, 1 debug, 2 info, 3 all lines.")
_tokens = _counter("tokens_total", "Tokens billed.")
_fetched = _counter("fetched_bytes_total", "Bytes fetched by git.")
_cached = _counter("cache_lookups_total", "What index jobs found kept from earlier ones.", ["cache", "result"])
_collected = _counter("collected_blobs_total", "Contents deleted because no file had used them for the grace time.")
_roundtrip = _quick("database_roundtrip_seconds", "Time of one small query.")
_database_up = _gauge("database_up", "1 when Postgres answered the last time.")
_spooled = _gauge("receiver_spooled_deliveries", "Deliveries on the receiver's disk that wait for Postgres.")
_pool_connections = _gauge("database_pool_connections", "Connections of a pool.", ["pool", "state"])
_pool_most = _gauge("database_pool_limit_connections", "Most connections of a pool.", ["pool"])
_pool_waiting = _gauge("database_pool_waiting_requests", "Who waits for a connection now.", ["pool"])
_pool_counters = {
    "requests_num": _counter("database_pool_requests_total", "Connections asked for.", ["pool"]),
    "requests_queued": _counter("database_pool_waits_total", "Requests that had to wait.", ["pool"]),
    "requests_wait_ms": _counter("database_pool_wait_seconds_total", "Time of those waits.", ["pool"]),
    "requests_errors": _counter("database_pool_failures_total", "Requests that got no connection.", ["pool"]),
    "connections_errors": _counter(
        "database_connection_failures_total", "Connections that could not be made.", ["pool"]
    ),
}
Info("build", "What runs here.", namespace="indexing_worker", registry=REGISTRY).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


def _known(value: str, allowed: Iterable[str]) -> str:
    return value if value in allowed else "other"


@lru_cache(1000)  # a child for each of a bounded number of labels: looking one up costs more than counting
def _pickup_of(job_type: str) -> Histogram:
    return _pickup.labels(_known(job_type, _job_types))


@lru_cache(1000)
def _attempts_of(job_type: str, outcome: str, error_class: str | None) -> tuple[Counter, Histogram]:
    label = _known(job_type, _job_types)
    count = _attempts.labels(label, _known(outcome, _OUTCOMES), _known(error_class or "none", _ERROR_CLASSES))
    return count, _attempt_seconds.labels(label, "total")


def announce_job_types(job_types: Iterable[str]) -> None:
    """Export zeros for these job types too, and give them labels of their own."""
    _job_types.extend(job_type for job_type in job_types if job_type not in _job_types)
    _pickup_of.cache_clear()
    _attempts_of.cache_clear()
    for job_type in _job_types:
        for status in _STATUSES:
            _queue_jobs.labels(job_type, status)
            _queue_oldest.labels(job_type, status)
        _queue_due.labels(job_type)
        _queue_overdue.labels(job_type)
        _pickup.labels(job_type)
        _attempt_failures.labels(job_type)
        _attempt_seconds.labels(job_type, "total")
        for outcome in _OUTCOMES:
            _attempts.labels(job_type, outcome, "none")


def _announce(metric: Counter | Gauge | Histogram, *values: Sequence[str]) -> None:
    rows: list[tuple[str, ...]] = [()]
    for allowed in values:
        rows = [(*row, value) for row in rows for value in allowed]
    for row in rows:
        metric.labels(*row)


announce_job_types(())
_announce(_deliveries, ("push",), _ANSWERS)
_announce(_signature_failures, _SIGNATURE_FAILURES)
_announce(_requests, ("webhook",), ("2xx", "4xx", "5xx"))
_announce(_attempt_seconds, ("full_index", "incremental_update"), _PHASES[1:])
_announce(_slots, _KINDS, ("free", "running"))
_announce(_workers, _WORKER_STATES)
_announce(_tenant_oldest, ("none",))
_announce(_cached, _CACHES, ("hit", "miss"))
_announce(_pool_connections, _POOLS, ("idle", "used"))
for _pool_metric in (_pool_most, _pool_waiting, *_pool_counters.values()):
    _announce(_pool_metric, _POOLS)
_announce(_rejected, _VERBS)
_announce(_kills, _KILLS)
_announce(_log_dropped, _LEVELS)
_announce(_crashes, _CRASHES)


_DATABASE_WIDE = (
    _queue_jobs, _queue_oldest, _queue_due, _queue_overdue, _queue_demand, _queue_paused, _queue_unsealed,
    _tenant_oldest, _workers, _worker_slots,
)  # fmt: skip
_known_at = time.monotonic()
_telling = threading.Lock()  # the queue's gauges change together, and nobody reads them half changed


def exposition() -> bytes:
    """Everything in Prometheus' text format."""
    with _telling:
        if time.monotonic() - _known_at > SECONDS_UNTIL_UNKNOWN:
            _forget_the_queue()
        _look_at_pools()
        return generate_latest(REGISTRY)


def _forget_the_queue() -> None:
    for gauge in _DATABASE_WIDE:
        for family in gauge.collect():
            for sample in family.samples:
                (gauge.labels(**sample.labels) if sample.labels else gauge).set(math.nan)


def delivery(event: str | None, outcome: str) -> None:
    """One webhook post and how it was answered."""
    _deliveries.labels(_known(event or "none", _EVENTS), _known(outcome, _ANSWERS)).inc()


def spooled(deliveries: int) -> None:
    """So many deliveries wait on the receiver's disk."""
    _spooled.set(deliveries)


def signature_failed(reason: str) -> None:
    """A webhook post was refused; the reason is for the operator, the sender sees one answer."""
    _signature_failures.labels(_known(reason, _SIGNATURE_FAILURES)).inc()


def answered(route: str, status: int, seconds: float) -> None:
    """One request to the receiver."""
    _requests.labels(_known(route, _ROUTES), f"{status // 100}xx").observe(seconds)


def queue_gauges(
    *,
    depth: Iterable[tuple[str, str, int, float]],
    due: Iterable[tuple[str, int, float]],
    tenants: Iterable[tuple[str, float]],
    workers: Mapping[str, int],
    slots: int,
    demand: int,
    pauses: int,
    unsealed: int,
) -> None:
    """The whole queue at one moment; what is not named becomes zero.

    `depth`: job type, status, jobs, age of the oldest in seconds. `due`: job type, jobs, seconds overdue. `tenants`:
    those that have waited longest, by id, with the age of their oldest job in seconds; none: jobs without a tenant.
    """
    global _known_at  # noqa: PLW0603
    with _telling:
        _tell_depth(depth)
        _tell_due(due)
        _queue_demand.set(demand)
        _tenant_oldest.clear()
        for tenant, seconds in (("none", 0.0), *tenants):
            _tenant_oldest.labels(tenant).set(seconds)
        for state in _WORKER_STATES:
            _workers.labels(state).set(workers.get(state, 0))
        _worker_slots.set(slots)
        _queue_paused.set(pauses)
        _queue_unsealed.set(unsealed)
        _known_at = time.monotonic()


def _tell_depth(rows: Iterable[tuple[str, str, int, float]]) -> None:
    places = [(label, status) for label in [*_job_types, "other"] for status in _STATUSES]
    jobs, oldest = dict.fromkeys(places, 0), dict.fromkeys(places, 0.0)
    for job_type, status, count, seconds in rows:
        place = _known(job_type, _job_types), status
        jobs[place] = jobs.get(place, 0) + count
        oldest[place] = max(oldest.get(place, 0.0), seconds)
    for place, count in jobs.items():
        _queue_jobs.labels(*place).set(count)
        _queue_oldest.labels(*place).set(oldest[place])


def _tell_due(rows: Iterable[tuple[str, int, float]]) -> None:
    labels = [*_job_types, "other"]
    jobs, overdue = dict.fromkeys(labels, 0), dict.fromkeys(labels, 0.0)
    for job_type, count, seconds in rows:
        label = _known(job_type, _job_types)
        jobs[label] += count
        overdue[label] = max(overdue[label], seconds)
    for label, count in jobs.items():
        _queue_due.labels(label).set(count)
        _queue_overdue.labels(label).set(overdue[label])


def claimed(jobs: int) -> None:
    """A claim came back with this many jobs."""
    _claims.inc(jobs)


def picked_up(job_type: str, seconds: float) -> None:
    """A job started this long after it was enqueued."""
    _pickup_of(job_type).observe(max(seconds, 0.0))


def attempt_ended(job_type: str, outcome: str, error_class: str | None, seconds: float) -> None:
    """An attempt left its job with this verb."""
    count, histogram = _attempts_of(job_type, outcome, error_class)
    count.inc()
    histogram.observe(seconds)
    if outcome in ("retry", "fail"):
        _attempt_failures.labels(_known(job_type, _job_types)).inc()


def crashed(error_class: str | None) -> None:
    """An attempt ended because its process died."""
    _crashes.labels(_known(error_class or "none", _CRASHES)).inc()


def phase_ended(job_type: str, phase: str, seconds: float) -> None:
    """One phase of an attempt took this long."""
    _attempt_seconds.labels(_known(job_type, _job_types), _known(phase, _PHASES)).observe(seconds)


def slots(kind: str, *, running: int, free: int) -> None:
    """How this worker's slots stand: those of children ("child") or of jobs in its own loop ("light")."""
    _slots.labels(kind, "running").set(running)
    _slots.labels(kind, "free").set(max(free, 0))


def listening(proven: bool) -> None:
    """Notifications of new jobs arrive, or they do not."""
    _listening.set(proven)


def lease(seconds: float) -> None:
    """How long this worker's lease is."""
    _lease.set(seconds)


def lease_renewed() -> None:
    """Postgres confirmed a renewal."""
    _renewals.inc()
    _renewal_age.set(0)


def renewal_age(seconds: float) -> None:
    """Time since the last confirmed renewal."""
    _renewal_age.set(seconds)


def fenced() -> None:
    """This worker gave its jobs up: it could not renew, or others had given it up."""
    _fences.inc()


def rescued(jobs: int = 1) -> None:
    """Jobs taken back from a dead worker."""
    _rescues.inc(jobs)


def mended(found: int) -> None:
    """Maintenance woke what nobody would have woken any more."""
    _mended.inc(found)


def write_rejected(verb: str) -> None:
    """A write named a lease token that is no longer the job's."""
    _rejected.labels(_known(verb, _VERBS)).inc()


def child_killed(reason: str) -> None:
    """A child was killed with its whole tree."""
    _kills.labels(_known(reason, _KILLS)).inc()


def log_stored(number_of_bytes: int) -> None:
    """The log store took this many bytes."""
    _log_bytes.inc(number_of_bytes)


def log_upload_failed() -> None:
    """A call of the log store failed."""
    _log_errors.inc()


def log_written(number_of_bytes: int) -> None:
    """Jobs logged this many bytes."""
    _log_written.inc(number_of_bytes)


def log_lines(lines: int) -> None:
    """Jobs logged this many lines."""
    _log_lines.inc(lines)


def log_dropped(lines: Mapping[str, int]) -> None:
    """So many lines of each level were left out."""
    for level, count in lines.items():
        _log_dropped.labels(_known(level, _LEVELS)).inc(count)


def log_flushed(lag: float) -> None:
    """A segment reached the store when its oldest byte was this old."""
    _log_flush_lag.observe(lag)


def log_waiting(seconds: float) -> None:
    """The oldest logged byte that the store does not have is this old."""
    _log_oldest.set(seconds)


def log_spool(number_of_bytes: int, pressure: int) -> None:
    """How full the spool is."""
    _log_spool.set(number_of_bytes)
    _log_pressure.set(pressure)


def tokens_billed(tokens: int) -> None:
    """A publish billed this many tokens."""
    _tokens.inc(tokens)


def cache_looked_up(cache: str, *, hits: int, misses: int) -> None:
    """An index job found so much kept from earlier ones, and so much not."""
    _cached.labels(_known(cache, _CACHES), "hit").inc(hits)
    _cached.labels(_known(cache, _CACHES), "miss").inc(misses)


def collected(blobs: int) -> None:
    """The collector deleted this many contents."""
    _collected.inc(blobs)


def bytes_fetched(number_of_bytes: int) -> None:
    """Git fetched this many bytes."""
    _fetched.inc(number_of_bytes)


def database_answered(seconds: float) -> None:
    """A small query came back after this long."""
    _roundtrip.observe(seconds)
    _database_up.set(1)


def database_silent() -> None:
    """Postgres did not answer."""
    _database_up.set(0)


_Stats = Callable[[], Mapping[str, int]]
_pools: list[tuple[str, "weakref.WeakMethod[_Stats]", dict[str, int]]] = []


def watch_pool(name: str, stats: _Stats) -> None:
    """Show a pool for as long as it lives: `stats` is its method that answers psycopg's numbers of it."""
    label = name.rpartition(" ")[2].replace("indexing-worker", "worker")
    with _telling:
        _pools[:] = [watched for watched in _pools if watched[1]() is not None]
        _pools.append((_known(label, _POOLS), weakref.WeakMethod(stats), {}))


def _look_at_pools() -> None:
    sizes: dict[str, list[int]] = {label: [0, 0, 0, 0] for label in _POOLS}
    for label, reference, told in _pools:
        if (stats := reference()) is None:
            continue
        now = stats()
        places = sizes.setdefault(label, [0, 0, 0, 0])
        for place, name in enumerate(("pool_size", "pool_available", "pool_max", "requests_waiting")):
            places[place] += now.get(name, 0)
        for name, counter in _pool_counters.items():
            grown = now.get(name, 0) - told.get(name, 0)
            counter.labels(label).inc(max(grown, 0) / (1000 if name == "requests_wait_ms" else 1))
            told[name] = now.get(name, 0)
    for label, (size, idle, most, waiting) in sizes.items():
        _pool_connections.labels(label, "idle").set(idle)
        _pool_connections.labels(label, "used").set(max(size - idle, 0))
        _pool_most.labels(label).set(most)
        _pool_waiting.labels(label).set(waiting)

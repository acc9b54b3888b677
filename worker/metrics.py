"""Every metric of the project, and one small function to record each fact.

Labels are bounded: an unknown value says "other". Known values are exported as zeros from the start, because
an autoscaler takes an empty answer for an error. Importing opens nothing and starts no thread, so
children may be forked with this module loaded.
"""

import platform
from collections.abc import Iterable, Iterator, Sequence
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


_job_types = ["full_index", "incremental_update", "validate"]
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
_ANSWERS = ["queued", "duplicate", "processed", "ignored", "ping", "refused", "malformed", "too_large", "unavailable"]
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
_PHASES = ["total", "resolve", "fetch", "compare", "extract", "publish"]
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
_KILLS = ["time", "memory", "cancel", "release", "lost"]

_counter = partial(Counter, namespace="indexing_worker", registry=REGISTRY)
_gauge = partial(Gauge, namespace="indexing_worker", registry=REGISTRY)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
_quick = partial(Histogram, namespace="indexing_worker", registry=REGISTRY, buckets=_SHORT)
_slow = partial(Histogram, namespace="indexing_worker", registry=REGISTRY, buckets=_LONG)

_deliveries = _counter("deliveries_total", "Webhook posts.", ["event", "outcome"])
_signature_failures = _counter("signature_failures_total", "Webhook posts refused before reading.", ["reason"])
_requests = _quick("receiver_request_seconds", "Time of the receiver's answers.", ["route", "status"])
_queue_jobs = _gauge("queue_jobs", "Jobs in the queue; use max().", ["job_type", "status"])
_queue_oldest = _gauge("queue_oldest_seconds", "Age of the oldest queued job; use max().", ["job_type"])
_claims = _counter("claims_total", "Jobs claimed.")
_attempts = _counter("attempts_total", "Attempts ended.", ["job_type", "outcome", "error_class"])
_attempt_seconds = _slow("attempt_seconds", "Time of attempts and their phases.", ["job_type", "phase"])
_pickup = _slow("pickup_seconds", "From enqueue to start.", ["job_type"])
_slots = _gauge("slots", "Slots of this worker.", ["state"])
_listening = _gauge("listening", "1 while notifications of new jobs provably arrive, 0 while polling.")
_renewals = _counter("lease_renewals_total", "Lease renewals that Postgres confirmed.")
_renewal_age = _gauge("lease_renewal_age_seconds", "Since the last confirmed renewal.")
_rescues = _counter("rescues_total", "Jobs taken back from dead workers.")
_mended = _counter("mended_total", "Repositories and tenants woken by the safety net; should stay 0.")
_rejected = _counter("rejected_writes_total", "Writes refused because the lease was lost.", ["verb"])
_kills = _counter("child_kills_total", "Children killed with their trees.", ["reason"])
_log_bytes = _counter("log_bytes_total", "Bytes of job logs that the store took.")
_log_errors = _counter("log_upload_errors_total", "Failed calls of the log store.")
_tokens = _counter("tokens_total", "Tokens billed.")
_fetched = _counter("fetched_bytes_total", "Bytes fetched by git.")
_collected = _counter("collected_blobs_total", "Contents deleted because no file had used them for the grace time.")
_roundtrip = _quick("database_roundtrip_seconds", "Time of one small query.")
_database_up = _gauge("database_up", "1 when Postgres answered the last time.")
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
        _queue_oldest.labels(job_type)
        _pickup.labels(job_type)
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
_announce(_slots, ("free", "running"))
_announce(_rejected, _VERBS)
_announce(_kills, _KILLS)


def exposition() -> bytes:
    """Everything in Prometheus' text format."""
    return generate_latest(REGISTRY)


def delivery(event: str | None, outcome: str) -> None:
    """One webhook post and how it was answered."""
    _deliveries.labels(_known(event or "none", _EVENTS), _known(outcome, _ANSWERS)).inc()


def signature_failed(reason: str) -> None:
    """A webhook post was refused; the reason is for the operator, the sender sees one answer."""
    _signature_failures.labels(_known(reason, _SIGNATURE_FAILURES)).inc()


def answered(route: str, status: int, seconds: float) -> None:
    """One request to the receiver."""
    _requests.labels(_known(route, _ROUTES), f"{status // 100}xx").observe(seconds)


def queue_depth(rows: Iterable[tuple[str, str, int, float]]) -> None:
    """The whole queue as (job type, status, jobs, oldest in seconds); what is not named becomes zero."""
    labels = [*_job_types, "other"]
    jobs = {(label, status): 0 for label in labels for status in _STATUSES}
    oldest = dict.fromkeys(labels, 0.0)
    for job_type, status, count, seconds in rows:
        label = _known(job_type, _job_types)
        jobs[label, status] = jobs.get((label, status), 0) + count
        if status == "queued":
            oldest[label] = max(oldest[label], seconds)
    for (label, status), count in jobs.items():
        _queue_jobs.labels(label, status).set(count)
    for label, seconds in oldest.items():
        _queue_oldest.labels(label).set(seconds)


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


def phase_ended(job_type: str, phase: str, seconds: float) -> None:
    """One phase of an attempt took this long."""
    _attempt_seconds.labels(_known(job_type, _job_types), _known(phase, _PHASES)).observe(seconds)


def slots(*, running: int, free: int) -> None:
    """How this worker's slots stand."""
    _slots.labels("running").set(running)
    _slots.labels("free").set(free)


def listening(proven: bool) -> None:
    """Notifications of new jobs arrive, or they do not."""
    _listening.set(proven)


def lease_renewed() -> None:
    """Postgres confirmed a renewal."""
    _renewals.inc()
    _renewal_age.set(0)


def renewal_age(seconds: float) -> None:
    """Time since the last confirmed renewal."""
    _renewal_age.set(seconds)


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


def tokens_billed(tokens: int) -> None:
    """A publish billed this many tokens."""
    _tokens.inc(tokens)


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

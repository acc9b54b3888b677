"""One trace a job, from its delivery to its publish, for whoever sets WORKER_OTLP_ENDPOINT; otherwise nothing at all.

No process hands a trace on: its id is the job's id, and the id of its root span follows from that. So receiver and
workers, and the attempts of one job on several machines, meet in one trace without a column and without a header.
Spans are written when what they tell has ended. They carry ids and numbers, never payloads, paths or messages.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from worker.errors import SettingsError

if TYPE_CHECKING:  # an extra: imported when traces are switched on
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from worker.settings import Settings

Phase = tuple[str, int, int]
"""A phase of an attempt: name, begin and end in nanoseconds since 1970."""

SECONDS_TO_END = 3.0
"""Longest wait for a collector at the end of a process, which has better things to do with its drain."""

_SECONDS_OF_AN_EXPORT = 5.0
_chosen = threading.local()
_provider: "TracerProvider | None" = None
_share = 1.0


def configure(settings: "Settings", *, process: str) -> None:
    """Send spans to the collector of the settings, if they name one. Raises SettingsError without the extra."""
    if settings.worker_otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingsError(
            "WORKER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed.",
            hint="Install the extra: pip install 'indexing-worker[otel]'; or leave the variable away.",
        ) from None
    headers = settings.worker_otlp_headers
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.worker_otlp_endpoint}/v1/traces",
        headers=dict(_pairs(headers.get_secret_value())) if headers else None,
        timeout=_SECONDS_OF_AN_EXPORT,
    )
    export_to(exporter, process=process, share=settings.worker_trace_share)


def export_to(exporter: "SpanExporter", *, process: str, share: float = 1.0) -> None:
    """Send the spans of this share of all jobs to this exporter, in batches from a thread."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

    from worker import __version__

    class Ids(RandomIdGenerator, IdGenerator):
        """Random, but for the root of a job."""

        def generate_trace_id(self) -> int:
            return getattr(_chosen, "trace", None) or super().generate_trace_id()

        def generate_span_id(self) -> int:
            return getattr(_chosen, "span", None) or super().generate_span_id()

    global _provider, _share
    facts = {"service.name": f"indexing-worker-{process}", "service.version": __version__}
    _provider, _share = (
        TracerProvider(resource=Resource.create(facts), id_generator=Ids(), shutdown_on_exit=False),
        share,
    )
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))


def end() -> None:
    """Send what waits, and give up after a few seconds: a collector that is away must not hold up a drain."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(SECONDS_TO_END)


def is_on() -> bool:
    """Whether spans are wanted at all."""
    return _provider is not None


def trace_id(job: UUID) -> int:
    """The id of a job's trace: its own, so that `worker job` and a trace are found by the same number."""
    return job.int


def root_span_id(job: UUID) -> int:
    """The id of the span that all others of the job hang under; whoever ends the job writes it."""
    return int.from_bytes(hashlib.sha256(job.bytes).digest()[:8]) or 1


def delivered(job: UUID, begun: int, ended: int, facts: Mapping[str, Any]) -> None:
    """A delivery was answered, and this job does its work. Times in nanoseconds since 1970."""
    if _is_sampled(job):
        _write("receive", _under_root(job), begun, ended, {"job.id": str(job), **facts}, kind="SERVER")


def attempted(job: UUID, begun: int, ended: int, facts: Mapping[str, Any], phases: Iterable[Phase]) -> None:
    """An attempt ended, whatever came of it, and had these phases."""
    if not _is_sampled(job):
        return
    attempt = _write("attempt", _under_root(job), begun, ended, {"job.id": str(job), **facts}, kind="CONSUMER")
    for name, phase_begun, phase_ended in phases:
        _write(name, attempt, phase_begun, phase_ended, {})


def finished(job: UUID, begun: int, ended: int, facts: Mapping[str, Any]) -> None:
    """A job reached its last status: the span from its creation to here, above all others."""
    if not _is_sampled(job):
        return
    _chosen.trace, _chosen.span = trace_id(job), root_span_id(job)
    try:
        _write("job", None, begun, ended, {"job.id": str(job), **facts})
    finally:
        _chosen.trace = _chosen.span = None


def _is_sampled(job: UUID) -> bool:
    """All processes decide alike: the id's last bits are random."""
    return _provider is not None and (job.int & 0xFFFFFFFF) < _share * 2**32


def _under_root(job: UUID) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    place = SpanContext(trace_id(job), root_span_id(job), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(place))


def _write(name: str, parent: Any, begun: int, ended: int, facts: Mapping[str, Any], *, kind: str = "INTERNAL") -> Any:
    """Write one span; answers the context for spans below it."""
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

    assert _provider is not None
    span = _provider.get_tracer("indexing-worker").start_span(
        name,
        context=Context() if parent is None else parent,
        kind=SpanKind[kind],
        start_time=begun,
        attributes={key: value for key, value in facts.items() if value is not None},
    )
    if facts.get("error.type"):
        span.set_status(Status(StatusCode.ERROR))
    span.end(max(begun, ended))
    return set_span_in_context(span)


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        yield name.strip(), value.strip()

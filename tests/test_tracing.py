"""Traces: one a job, whoever writes its spans; a collector that is away costs nothing; nobody pays who has none."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from worker import tracing
from worker.errors import SettingsError
from worker.job import new_job_id
from worker.settings import Settings

memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """After the test nobody tries any more to send: the retries' use of `random` would disturb other tests."""
    yield
    for thread in threading.enumerate():
        if thread.name == "last spans" or thread.name.startswith("Otel"):
            thread.join(60)


class Spans:
    """What was exported, by name."""

    def __init__(self) -> None:
        self.exporter: Any = memory.InMemorySpanExporter()

    def all(self) -> list[Any]:
        """Every span, after what waits was sent."""
        tracing.end()
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Traces of this process, into memory."""
    found = Spans()
    tracing.export_to(found.exporter, process="test")
    yield found
    tracing.end()


def test_delivery_attempt_and_phases_meet_in_one_trace(spans: Spans) -> None:
    """The trace is the job's id, and everything hangs under the job's own span, which comes last."""
    job = new_job_id()
    tracing.delivered(job, 10, 20, {"delivery.id": "d1", "reason": None})
    tracing.attempted(job, 30, 90, {"attempt": 1}, [("fetch", 35, 50), ("publish", 60, 80)])
    tracing.finished(job, 15, 95, {"verb": "complete"})
    by_name = {span.name: span for span in spans.all()}
    assert set(by_name) == {"receive", "attempt", "fetch", "publish", "job"}
    assert {span.context.trace_id for span in by_name.values()} == {job.int}
    root = by_name["job"]
    assert root.parent is None
    assert root.context.span_id == tracing.root_span_id(job)
    assert {by_name[name].parent.span_id for name in ("receive", "attempt")} == {root.context.span_id}
    assert {by_name[name].parent.span_id for name in ("fetch", "publish")} == {by_name["attempt"].context.span_id}
    assert (by_name["publish"].start_time, by_name["publish"].end_time) == (60, 80)
    assert dict(by_name["receive"].attributes) == {"job.id": str(job), "delivery.id": "d1"}


def test_jobs_have_traces_of_their_own(spans: Spans) -> None:
    """The ids chosen for one root are nobody else's."""
    one, other = new_job_id(), new_job_id()
    for job in (one, other):
        tracing.finished(job, 1, 2, {})
    assert {span.context.trace_id for span in spans.all()} == {one.int, other.int}


def test_a_failed_attempt_is_an_error(spans: Spans) -> None:
    """Whoever looks for failed jobs finds them by their status; the message stays in the job's row."""
    tracing.attempted(new_job_id(), 1, 2, {"error.type": "git_network"}, [])
    (span,) = spans.all()
    assert span.status.status_code.name == "ERROR"
    assert span.status.description is None


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_a_share_of_all_jobs_is_traced_whole(share: float, least: int, most: int) -> None:
    """Receiver and workers decide alike, by the job's id: a traced job has all its spans, another none."""
    found = Spans()
    tracing.export_to(found.exporter, process="test", share=share)
    for _ in range(200):
        job = new_job_id()
        tracing.delivered(job, 1, 2, {})
        tracing.finished(job, 1, 2, {})
    names = [span.name for span in found.all()]
    assert least <= names.count("job") <= most
    assert names.count("job") == names.count("receive")


def test_without_an_endpoint_nothing_is_imported_or_written() -> None:
    """Who does not ask for traces does not wait for OpenTelemetry's import either."""
    code = (
        "import sys, uuid; from worker import tracing; from worker.settings import Settings;"
        "tracing.configure(Settings(_env_file=None), process='x');"
        "tracing.finished(uuid.uuid4(), 1, 2, {}); tracing.end();"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={}, timeout=60, check=False).returncode == 0


def test_without_the_extra_the_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that is silently not written would be looked for."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = Settings(_env_file=None, worker_otlp_endpoint="http://127.0.0.1:1")  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="not installed"):
        tracing.configure(settings, process="test")


def test_a_collector_that_is_away_does_not_hold_up_the_end() -> None:
    """A drain has minutes for jobs and seconds for spans."""
    settings = Settings(_env_file=None, worker_otlp_endpoint="http://127.0.0.1:1")  # type: ignore[call-arg]
    tracing.configure(settings, process="test")
    tracing.finished(uuid.uuid4(), 1, 2, {})
    begun = time.monotonic()
    tracing.end()
    assert time.monotonic() - begun < tracing.SECONDS_TO_END + 5

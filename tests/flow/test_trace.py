"""One push through real processes: its trace at an OTLP collector, and its ids in every process's log."""

import http.server
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.git_repositories import GitRepository
from tests.fixtures.receivers import KEYS, ReceiverProcess
from tests.fixtures.workers import WorkerProcess, eventually
from worker.credentials.master_keys import load_master_keys
from worker.receiver.provision import provision_secret
from worker.receiver.signature import sign
from worker.settings import Settings
from worker.tracing import root_span_id

protobuf = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


class Collector:
    """An OTLP receiver over HTTP: keeps every span, with the service that wrote it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.headers: list[str | None] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                collector.take(self.path, self.headers.get("X-Token"), body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path: str, token: str | None, body: bytes) -> None:
        """Keep what one process sent."""
        assert path == "/v1/traces"
        self.headers.append(token)
        request = protobuf.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            facts = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(facts["service.name"], span) for span in scope.spans]

    def named(self, name: str) -> list[tuple[str, Any]]:
        """The spans of this name."""
        return [(service, span) for service, span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector at work."""
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_one_trace_from_delivery_to_publish_and_one_id_through_all_logs(
    collector: Collector,
    start_worker: Callable[..., WorkerProcess],
    start_receiver: Callable[..., ReceiverProcess],
    db: psycopg.Connection[dict[str, Any]],
    database_url: str,
    make_repository: Callable[..., uuid.UUID],
    git_repository: Callable[..., GitRepository],
) -> None:
    """Receiver and worker never speak of the trace, and still write one: its id is the job's."""
    git = git_repository("repo", {"a.py": "def a():\n    return 1\n"})
    repository = make_repository(git_url=git.url)
    settings = Settings(_env_file=None, database_url=database_url, worker_master_keys=KEYS)  # type: ignore[call-arg]
    secret = provision_secret(db, load_master_keys(settings), repository)
    traced = {"WORKER_OTLP_ENDPOINT": collector.url, "WORKER_OTLP_HEADERS": "x-token=secret-of-the-collector"}
    receiver, worker = start_receiver(**traced), start_worker(**traced)
    body = (
        b'{"ref": "refs/heads/main", "before": "%s", "after": "%s", "created": false, "deleted": false,'
        b' "forced": false, "commits": [], "repository": {"id": 7, "full_name": "acme/repo", "default_branch": "main"}}'
        % (b"a" * 40, git.head.encode())
    )
    delivery = str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": sign(body, secret),
    }  # fmt: skip
    answer = httpx.post(f"{receiver.url}/webhooks/github/{repository}", content=body, headers=headers)
    assert answer.status_code == 202
    job = uuid.UUID(answer.json()["job_id"])
    # Three processes send it, each when it likes.
    whole = {"job", "receive", "attempt", "resolve", "fetch", "compare", "extract", "link", "publish"}
    eventually(lambda: whole <= {span.name for _, span in collector.spans}, seconds=60, what="the trace")

    assert {uuid.UUID(bytes=span.trace_id) for _, span in collector.spans} == {job}
    (root_by, root), (received_by, received) = collector.named("job")[0], collector.named("receive")[0]
    (_, attempt), (_, publish) = collector.named("attempt")[0], collector.named("publish")[0]
    assert (root_by, received_by) == ("indexing-worker-worker", "indexing-worker-receiver")
    assert int.from_bytes(root.span_id) == root_span_id(job)
    assert received.parent_span_id == attempt.parent_span_id == root.span_id
    assert publish.parent_span_id == attempt.span_id
    names = [span.name for _, span in sorted(collector.spans, key=lambda found: found[1].start_time_unix_nano)]
    assert [name for name in names if name in ("resolve", "fetch", "compare", "extract", "link", "publish")] == [
        "resolve", "fetch", "compare", "fetch", "extract", "link", "publish",
    ]  # fmt: skip
    facts = {pair.key: pair.value.string_value for pair in received.attributes}
    assert facts["delivery.id"] == delivery
    assert set(collector.headers) == {"secret-of-the-collector"}

    (request,) = eventually(lambda: receiver.said("request"), what="the receiver's line")
    assert (request["delivery"], request["job"]) == (delivery, str(job))
    assert [line["job"] for line in worker.said("complete")] == [str(job)]
    lines = [*receiver.lines, *worker.lines]
    assert "secret-of-the-collector" not in str(lines)

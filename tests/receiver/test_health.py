"""What the receiver tells about the pipeline and itself."""

import re
import socket
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from tests.receiver.conftest import Sender, make_push

Database = psycopg.Connection[dict[str, Any]]
_WORKER = """
insert into workers (id, hostname, pid, version, slots) values (gen_random_uuid(), 'here', 1, '0', 2)"""


def _samples(client: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_health_tells_the_queue_and_who_works(
    receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database
) -> None:
    """Postgres up, the queue by status; queued jobs and no worker is degraded, and said in words."""
    make_sender(receiver).post(make_push())
    health = receiver.get("/health")
    assert health.status_code == 200
    facts = health.json()
    assert facts["supabase_status"] == "up"
    assert 0 < facts["latency_ms"] < 2000
    assert facts["queue"] == {"queued": 1, "in_progress": 0}
    assert facts["oldest_seconds"] >= 0
    assert facts["version"]
    assert facts["status"] == "degraded"
    assert "no worker has been seen" in facts["reasons"][0]


def test_a_worker_that_lives_makes_it_well(
    receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database
) -> None:
    """Jobs queue and a worker lives: all is well, until the oldest has waited too long."""
    db.execute(_WORKER)
    make_sender(receiver).post(make_push())
    assert receiver.get("/health").json()["status"] == "ok"


def test_old_jobs_are_told(receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database) -> None:
    """A queue that does not move is degraded although everything answers."""
    db.execute(_WORKER)
    make_sender(receiver).post(make_push())
    db.execute("update queue.waiting set queued_at = now() - interval '20 minutes'")
    facts = receiver.get("/health").json()
    assert facts["reasons"] == ["The oldest queued job has waited 20 minutes."]


def test_health_asks_postgres_at_most_once_a_second(receiver: httpx.Client, sender: Sender) -> None:
    """Strangers who call /health in a loop do not reach Postgres: the answer is remembered."""
    first = receiver.get("/health").json()
    sender.post(make_push())
    assert receiver.get("/health").json() == first


def test_metrics_parse_and_count(receiver: httpx.Client, sender: Sender) -> None:
    """The exposition is Prometheus' own format, zeros are there from the start, and facts are counted."""
    before = _samples(receiver)
    queued = ("indexing_worker_deliveries_total", frozenset({("event", "push"), ("outcome", "queued")}))
    mismatch = ("indexing_worker_signature_failures_total", frozenset({("reason", "mismatch")}))
    sender.post(make_push())
    sender.post(make_push(), secret="another")
    sender.post({}, event=f"event-{uuid.uuid4()}")
    after = _samples(receiver)
    assert after[queued] == before[queued] + 1
    assert after[mismatch] == before[mismatch] + 1
    assert ("indexing_worker_deliveries_total", frozenset({("event", "other"), ("outcome", "ignored")})) in after
    for job_type in ("full_index", "incremental_update", "validate"):
        for status in ("queued", "in_progress"):
            labels = frozenset({("job_type", job_type), ("status", status)})
            assert ("indexing_worker_queue_oldest_seconds", labels) in before
            assert ("indexing_worker_queue_jobs", labels) in before
    assert any(name == "indexing_worker_build_info" for name, _ in after)
    assert after["indexing_worker_database_up", frozenset()] == 1


def test_metrics_tell_strangers_no_tenant(
    receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database
) -> None:
    """Who has jobs in the queue is nobody's business who can reach the receiver."""
    tenant = uuid.uuid4()
    make_sender(receiver, user_id=tenant).post(make_push())
    told = receiver.get("/metrics").text
    assert re.search(r'^indexing_worker_queue_due_jobs\{job_type="\w+"\} 1\.0$', told, re.M)
    assert str(tenant) not in told


def test_the_server_does_not_name_itself(receiver: httpx.Client) -> None:
    """No Server header, no page for what is not there."""
    assert "server" not in receiver.get("/health/live").headers
    assert receiver.get("/").status_code == 404
    assert receiver.get(f"/webhooks/github/{uuid.uuid4()}").status_code == 405


def test_endless_headers_are_cut_off(receiver: httpx.Client) -> None:
    """A header that never ends is refused long before it fills the memory."""
    with socket.create_connection(("127.0.0.1", receiver.base_url.port or 80), timeout=10) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: ")
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"x" * 65536)
                sent += 65536
        except OSError:
            pass
        assert sent < 10_000_000
    assert receiver.get("/health/live").status_code == 200

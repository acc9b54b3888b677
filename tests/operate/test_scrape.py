"""What a real Prometheus sees of a receiver and several workers on one machine."""

import urllib.request
from collections.abc import Callable
from typing import Any

from scripts.lib.dashboard import queries
from tests.fixtures.workers import eventually
from tests.operate.conftest import Deployment, port_of


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_the_queue_is_told_alike_and_the_rest_adds_up(deployment: Deployment, promtool: Callable[..., str]) -> None:
    """Gauges of the whole database agree on every process, so max() is right; counters are each process's own.

    promtool finds nothing to complain of in their names, and every query of the dashboard has an answer.
    """
    receiver = deployment.receive()
    first, second = deployment.work(WORKER_SLOTS="2"), deployment.work(WORKER_SLOTS="3")
    repository = deployment.make_repository()
    assert deployment.push(repository, deployment.secret(repository)) == 202
    done = deployment.put("nothing", 6) + deployment.put("fail", 2)
    value = deployment.prometheus.value
    ended = "select count(*) as n from indexing_jobs where id = any (%s) and finished_at is not null"
    eventually(lambda: deployment.db.execute(ended, (done,)).fetchall()[0]["n"] == 8, seconds=60, what="the jobs' end")
    eventually(lambda: value('sum(indexing_worker_attempts_total{job_type=~"nothing|fail"})') == 8, what="the count")
    eventually(lambda: value("max(indexing_worker_queue_demand_jobs)") == 0, seconds=60, what="an empty queue")
    assert value("max(indexing_worker_workers_slots)") == 5
    assert value('sum(indexing_worker_slots{kind="child"})') == 5
    assert value('max(indexing_worker_workers{state="running"})') == 2
    taken = 'sum(indexing_worker_deliveries_total{event="push", outcome="queued"})'
    eventually(lambda: value(taken) == 1, what="the delivery's count")
    assert value('sum(indexing_worker_attempt_failures_total{job_type="fail"})') == 2

    for port in (receiver.port, port_of(first), port_of(second)):
        assert promtool("check", "metrics", given=_metrics(port)) == ""

    def unanswered() -> list[tuple[str, str]]:
        shown = [(title, query.replace("$__rate_interval", "30s")) for title, query in queries()]
        return [(title, query) for title, query in shown if not deployment.prometheus.query(query)]

    eventually(lambda: not unanswered(), seconds=30, what="an answer to every query of the dashboard")


def test_the_queue_is_not_told_by_whoever_cannot_see_it() -> None:
    """After a minute without Postgres a process says NaN, which max() passes over; and numbers again afterwards."""
    from worker import metrics

    nothing: dict[str, Any] = {
        "depth": [],
        "due": [],
        "tenants": [],
        "workers": {},
        "slots": 0,
        "demand": 0,
        "pauses": 0,
        "unsealed": 0,
    }
    busy: dict[str, Any] = {**nothing, "due": [("full_index", 3, 1.0)], "demand": 3}
    metrics.queue_gauges(**busy)
    assert "\nindexing_worker_queue_demand_jobs 3.0\n" in metrics.exposition().decode()
    long_ago, metrics._known_at = metrics._known_at, float("-inf")
    try:
        told = metrics.exposition().decode()
        assert "\nindexing_worker_queue_demand_jobs NaN\n" in told
        assert '\nindexing_worker_queue_due_jobs{job_type="full_index"} NaN\n' in told
        assert '\nindexing_worker_attempt_failures_total{job_type="full_index"} NaN' not in told
        metrics.queue_gauges(**nothing)
        assert "\nindexing_worker_queue_demand_jobs 0.0\n" in metrics.exposition().decode()
    finally:
        metrics._known_at = max(long_ago, metrics._known_at)

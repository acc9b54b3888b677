"""What /metrics of a worker says of the whole queue, and what it costs when nobody asks."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.workers import eventually


def address(worker):
    """Where a worker answers."""
    said = eventually(lambda: worker.said("worker starts"), what="the worker's start")
    return f"http://127.0.0.1:{said[0]['metrics_port']}"


def gauge(text, name, **labels):
    """One value of an exposition."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


@pytest.fixture
def counted(load):
    """Whether anybody has counted this database's queue."""
    return lambda: load.ask("select from queue.gauge_cache where taken_at > '-infinity'") != []


def test_the_queue_is_counted_when_somebody_asks_and_not_before(start_worker, load, counted, stop_all):
    """A worker that nobody scrapes does its jobs without ever counting them; the first scrape already has the count."""
    worker = start_worker(WORKER_METRICS_SECONDS="0.1")
    jobs = load.put([("inline_nothing", {})] * 50)
    load.settle()
    load.put([("inline_nothing", {})] * 7 + [("of_nobody", {})] * 3, in_repositories=False)
    eventually(lambda: load.ask("select count(*) as n from queue.waiting")[0]["n"] == 3, what="the other jobs")
    assert len(jobs) == 50
    assert not counted()
    text = httpx.get(f"{address(worker)}/metrics", timeout=20).text
    assert counted()
    assert gauge(text, "indexing_worker_queue_jobs", job_type="other", status="queued") == 3
    assert gauge(text, "indexing_worker_database_up") == 1
    load.tell("select queue.cancel(id, 'test') from indexing_jobs where job_type = 'of_nobody'")
    stop_all(worker)


def test_metrics_are_answered_while_postgres_is_silent(start_worker, load, proxy):
    """Whoever scrapes does not wait for as long as a worker has patience with Postgres."""
    worker = start_worker(database_url=proxy.url, WORKER_LEASE_SECONDS="120")
    metrics = f"{address(worker)}/metrics"
    eventually(lambda: gauge(httpx.get(metrics, timeout=20).text, "indexing_worker_database_up") == 1, what="Postgres")
    proxy.freeze()
    for _ in range(2):
        assert gauge(httpx.get(metrics, timeout=20).text, "indexing_worker_lease_renewal_age_seconds") is not None
    proxy.thaw()


def test_metrics_tell_that_postgres_does_not_answer_and_that_it_does_again(start_worker, load, proxy, stop_all):
    """When patience is at its end."""
    worker = start_worker(database_url=proxy.url)
    metrics = f"{address(worker)}/metrics"
    for disturb, is_up in ((proxy.thaw, 1), (proxy.freeze, 0), (proxy.thaw, 1)):
        disturb()
        eventually(
            lambda is_up=is_up: gauge(httpx.get(metrics, timeout=20).text, "indexing_worker_database_up") == is_up,
            seconds=60,
            what=f"{is_up}",
        )
    stop_all(worker)

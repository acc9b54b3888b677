"""Each alert fires when its fault is there and clears when it is gone, in a real Prometheus; and promtool agrees."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lib.alerts import ROOT, RULE_TESTS, RULES, RUNBOOKS, alerts, rules
from tests.fixtures.proxy import Proxy
from tests.fixtures.workers import eventually
from tests.operate.conftest import Deployment
from worker.database.connect import connect

THIS_FILE = Path(__file__).read_text("utf-8")


def test_promtool_accepts_the_rules(promtool: Callable[..., str], tmp_path: Path) -> None:
    """As they are deployed, and as the tests below shorten them."""
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES)
    (tmp_path / "short.yml").write_text(rules(100))
    promtool("check", "rules", tmp_path / "short.yml")
    assert "1 rule files found" in promtool("check", "config", RULES.with_name("prometheus.yml"))


def test_promtool_sees_each_alert_fire_and_keep_quiet(promtool: Callable[..., str]) -> None:
    """By its real times, on series made for it."""
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def test_each_alert_has_a_runbook() -> None:
    """Its link leads to a heading, and that page has no runbook for an alert that is no more."""
    text = (ROOT / RUNBOOKS).read_text("utf-8")
    headings = {line[3:].strip().lower().replace(" ", "-") for line in text.splitlines() if line.startswith("## ")}
    assert headings == {alert["runbook"] for alert in alerts()}


def test_each_alert_is_caused_by_a_test() -> None:
    """Nobody adds an alert that nobody has seen."""
    missing = [alert["name"] for alert in alerts() if f'fires("{alert["name"]}")' not in THIS_FILE]
    assert missing == []
    assert [alert["name"] for alert in alerts() if f'clears("{alert["name"]}")' not in THIS_FILE] == []


def test_delivery_failures(deployment: Deployment) -> None:
    """Postgres is away: GitHub gets 503 and does not come again by itself."""
    repository = deployment.make_repository()
    secret = deployment.secret(repository)
    with Proxy(deployment.database_url) as proxy:
        deployment.receive(database_url=proxy.url)
        assert deployment.push(repository, secret) == 202
        proxy.refuse()
        proxy.cut()
        assert deployment.push(repository, secret) == 503
        deployment.fires("DeliveryFailures")
        proxy.accept()
        eventually(lambda: deployment.push(repository, secret) == 202, seconds=60, what="a receiver that is well again")
        deployment.clears("DeliveryFailures")


@pytest.mark.slow
def test_signature_failures(deployment: Deployment) -> None:
    """Somebody set another secret at GitHub."""
    deployment.receive()
    repository = deployment.make_repository()
    deployment.secret(repository)
    assert [deployment.push(repository, "another") for _ in range(8)] == [401] * 8
    deployment.fires("SignatureFailures")
    deployment.clears("SignatureFailures")


@pytest.mark.slow
def test_no_worker_alive(deployment: Deployment) -> None:
    """The only worker is gone and a job waits; an idle installation without workers is well."""
    deployment.receive()
    worker = deployment.work()
    worker.signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    eventually(
        lambda: deployment.prometheus.value('max(indexing_worker_workers{state="running"})') == 0, what="its end"
    )
    assert "IndexingWorkerNoWorkerAlive" not in deployment.prometheus.firing()
    deployment.put("nothing")
    deployment.fires("NoWorkerAlive")
    deployment.work()
    deployment.clears("NoWorkerAlive")


@pytest.mark.slow
def test_queue_stuck(deployment: Deployment) -> None:
    """A worker is alive and idle, and takes no jobs of the type that waits."""
    deployment.work(WORKER_JOB_TYPES="validate")
    deployment.put("nothing", 2)
    deployment.fires("QueueStuck")
    deployment.work()
    deployment.clears("QueueStuck")


@pytest.mark.slow
def test_oldest_job(deployment: Deployment) -> None:
    """The only slot is taken for long."""
    deployment.work(WORKER_SLOTS="1")
    (slow,) = deployment.put("sleep", seconds=300)
    eventually(
        lambda: deployment.prometheus.value('sum(indexing_worker_slots{state="running"})') == 1, what="its start"
    )
    deployment.put("nothing")
    deployment.fires("OldestJob")
    deployment.db.execute("select queue.cancel(%s)", (slow,))
    deployment.clears("OldestJob")


@pytest.mark.slow
def test_failing_ratio(deployment: Deployment) -> None:
    """Everything fails for a while."""
    deployment.work()
    deployment.put("nothing")
    deployment.put("fail", 9)
    deployment.fires("FailingRatio")
    deployment.clears("FailingRatio")


@pytest.mark.slow
def test_crash_loop(deployment: Deployment) -> None:
    """Jobs kill their process, up to the crash limit."""
    deployment.work()
    deployment.put("die", 3)
    deployment.fires("CrashLoop")
    deployment.clears("CrashLoop")


@pytest.mark.slow
@pytest.mark.parametrize("shorter", [20])
def test_lease_lost(deployment: Deployment) -> None:
    """A worker that stood still for longer than its lease gives its jobs up when it wakes."""
    worker = deployment.work()
    time.sleep(1)  # some scrapes of the zero
    worker.signal(signal.SIGSTOP)
    try:
        time.sleep(4.5)  # the lease is 3 s
    finally:
        worker.signal(signal.SIGCONT)
    deployment.fires("LeaseLost")
    deployment.clears("LeaseLost")


@pytest.mark.slow
def test_pool_exhausted(deployment: Deployment) -> None:
    """One connection, held by a statement that waits for a lock, and many who want it."""
    deployment.receive(DATABASE_POOL_SIZE="1")
    repository = deployment.make_repository()
    secret = deployment.secret(repository)
    with connect(deployment.database_url, name="lock") as other, other.transaction():
        other.execute("lock table public.webhook_deliveries in access exclusive mode")
        posts = [threading.Thread(target=deployment.push, args=(repository, secret)) for _ in range(12)]
        for post in posts:
            post.start()
        deployment.fires("PoolExhausted")
        for post in posts:
            post.join(30)
    deployment.clears("PoolExhausted")


@pytest.mark.slow
def test_log_flush_lag(deployment: Deployment, tmp_path: Path) -> None:
    """The log store takes nothing while a job writes lines; then it does again."""
    folder = tmp_path / "worker-0" / "logs" / "worker-logs"
    deployment.work(WORKER_LOG_FLUSH_INTERVAL="0.6")
    (talking,) = deployment.put("talk", seconds=0.1)
    eventually(lambda: list(folder.glob("live/*/*/*")), what="the first segment")
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("a file where the bucket was")
    deployment.fires("LogFlushLag")
    folder.unlink()
    away.rename(folder)
    deployment.clears("LogFlushLag")
    deployment.db.execute("select queue.cancel(%s)", (talking,))

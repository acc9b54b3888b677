"""The autoscaler's own query and rules, on a real Prometheus, through a burst from nothing to nothing."""

import json
import re
import signal
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.workers import WorkerProcess
from tests.operate.conftest import OFTEN, ROOT, Deployment

SCALER = tomllib.loads((ROOT / "ops/fly-autoscaler/fly.toml").read_text("utf-8"))["env"]


def rule(name: str, busy: float) -> int:
    """A rule of the autoscaler, of its language what is used there: min, ceil, and one condition."""
    from math import ceil

    expression = re.sub(r"^(.+?) \? (.+?) : (.+)$", r"(\2) if (\1) else (\3)", SCALER[name])
    return int(eval(expression, {"__builtins__": {}}, {"min": min, "max": max, "ceil": ceil, "busy": busy}))


@pytest.mark.parametrize(
    ("busy", "least", "most"), [(0, 0, 0), (1, 1, 8), (2, 1, 8), (3, 2, 8), (16, 8, 8), (900, 8, 8)]
)
def test_as_many_machines_as_there_is_work_for(busy: int, least: int, most: int) -> None:
    """None without work, one from the first job on, never more than there are, and none stopped while one is busy."""
    assert (rule("FAS_MIN_STARTED_MACHINE_COUNT", busy), rule("FAS_MAX_STARTED_MACHINE_COUNT", busy)) == (least, most)


_OUTAGE = """
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'indexing_worker_queue_demand_jobs{{app="indexing-worker", instance="a"}}', values: '7 NaN NaN 0'}}
      - {{series: 'indexing_worker_queue_demand_jobs{{app="indexing-worker", instance="b"}}', values: '7 6 NaN 0'}}
    promql_expr_test:
      - {{expr: {query}, eval_time: 0m, exp_samples: [{{labels: "{{}}", value: 7}}]}}
      - {{expr: {query}, eval_time: 1m, exp_samples: [{{labels: "{{}}", value: 6}}]}}
      - {{expr: {query}, eval_time: 2m, exp_samples: []}}
      - {{expr: {query}, eval_time: 3m, exp_samples: [{{labels: "{{}}", value: 0}}]}}
"""


def test_an_outage_of_postgres_is_an_empty_answer_and_no_reason_to_stop(
    promtool: Callable[..., str], tmp_path: Path
) -> None:
    """Nobody knows the queue: the autoscaler must not take that for an empty one. Zero stays zero."""
    (tmp_path / "test.yml").write_text(_OUTAGE.format(query=json.dumps(SCALER["FAS_PROMETHEUS_QUERY"])))
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")


class Machines:
    """Workers, started and stopped as the autoscaler would: it knows the query's answer and its rules, no more."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.workers: list[WorkerProcess] = []
        self.seen: list[tuple[float, int]] = []

    def look(self) -> float:
        """One round; answers what the query said."""
        (answer,) = self.deployment.prometheus.query(SCALER["FAS_PROMETHEUS_QUERY"])
        busy, started = answer["value"], len(self.workers)
        least = rule("FAS_MIN_STARTED_MACHINE_COUNT", busy)
        most = rule("FAS_MAX_STARTED_MACHINE_COUNT", busy)
        for number in range(started, least):
            self.workers.append(self.deployment.start_worker(state=f"machine-{number}", **OFTEN, WORKER_SLOTS="2"))
        for worker in self.workers[most:]:
            worker.signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        del self.workers[most:]
        self.seen.append((busy, len(self.workers)))
        return busy

    def look_until(self, busy: float, seconds: float = 90) -> None:
        """Rounds until the query says so."""
        deadline = time.monotonic() + seconds
        while self.look() != busy:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_machines_follow_a_burst_from_nothing_to_nothing(deployment: Deployment) -> None:
    """0, then one for two jobs, then 0; no job is interrupted, and one that is due in an hour starts nothing."""
    deployment.receive()  # alone it exports the gauges while no worker runs
    machines = Machines(deployment)
    machines.look_until(0)
    assert machines.workers == []
    jobs = deployment.put("sleep", 5, seconds=4)
    machines.look_until(5)
    assert len(machines.workers) == 3
    (later,) = deployment.put("nothing")
    deployment.db.execute(
        "update queue.waiting set run_after = now() + interval '1 hour', hold = 'time' where job_id = %s", (later,)
    )
    machines.look_until(0)
    assert machines.workers == []
    assert max(count for _, count in machines.seen) == 3
    assert all(count == 3 for busy, count in machines.seen[machines.seen.index((5, 3)) :] if busy > 0)
    rows = deployment.db.execute(
        "select status, attempt, errors from indexing_jobs where id = any (%s)", (jobs,)
    ).fetchall()
    assert rows == [{"status": "completed", "attempt": 1, "errors": 0}] * 5
    assert machines.look() == 0

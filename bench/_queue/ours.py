"""Our own worker, measured: real `worker run` processes against a database of the benchmark."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from worker.database.connect import connect, connect_async
from worker.queue.enqueue import NewJob, enqueue

ROOT = Path(__file__).parents[2]
WARM_UP = 20
PAUSE_SECONDS = (0.01, 0.04)
_IDLE_CALLS = """
select coalesce(sum(calls), 0) as calls from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = current_database() and toplevel
  and (query ilike '%%queue.look%%' or query ilike '%%queue.claim%%' or query ilike '%%pg_notify%%'
       or query ilike 'listen%%')"""


@contextlib.contextmanager
def workers(url: str, count: int = 1, **settings: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`worker run` processes, ended at the end if they have not."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_"))}
    with tempfile.TemporaryDirectory(prefix="iw-bench-") as folder:
        started: list[subprocess.Popen[bytes]] = []
        for number in range(count):
            state = Path(folder) / str(number)
            state.mkdir()
            environment = clean | {
                "DATABASE_URL": url, "WORKER_HANDLERS": "bench._queue.handlers", "WORKER_METRICS_PORT": "0",
                "WORKER_LOG_LEVEL": "warning", "WORKER_STATE_DIR": str(state), "WORKER_SCRATCH_DIR": str(state),
                "PYTHONPATH": str(ROOT),
            } | settings  # fmt: skip
            command = [sys.executable, "-m", "worker", "run"]
            started.append(subprocess.Popen(command, cwd=state, env=environment, stdin=subprocess.DEVNULL))
        try:
            yield started
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(60)


def drain(url: str, jobs: int, *, count: int = 1) -> float:
    """Jobs a second from the first claim's statement to the last completion, once `jobs` are completed."""
    with connect(url, name="bench") as connection:
        before = connection.execute("select last_value as token from public.lease_tokens").fetchone()
        assert before is not None
        with workers(url, count, WORKER_JOB_TYPES="bench_nothing"):
            # Counting a million jobs now and then would take a core from what is measured: first until enough were
            # claimed, then, once in the normal case, the jobs themselves.
            enough = before["token"] + jobs - 1
            _until(connection, "select last_value >= %s as reached from public.lease_tokens", enough)
            time.sleep(0.3)
            _until(
                connection,
                "select count(*) >= %s as reached from public.indexing_jobs where status = 'completed'",
                jobs,
            )
    with connect(url, name="bench") as connection:
        row = connection.execute(
            "with first as (select started_at, finished_at from public.indexing_jobs"
            "  where status = 'completed' order by finished_at limit %s)"
            " select count(*) as jobs, extract(epoch from max(finished_at) - min(started_at))::float8 as seconds"
            " from first",
            (jobs,),
        ).fetchone()
        assert row is not None
        assert row["jobs"] == jobs
        _check(connection)
    return jobs / row["seconds"]


def _check(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Each completed job has one completion, and a claim for each attempt (a worker that ends gives jobs back)."""
    row = connection.execute(
        "select count(*) as wrong from (select j.id from public.indexing_jobs j"
        "  left join public.indexing_job_events e on e.job_id = j.id"
        "  where j.status = 'completed' group by j.id, j.attempt"
        "  having count(*) filter (where e.event_type = 'claim') <> j.attempt"
        "      or count(*) filter (where e.event_type = 'complete') <> 1) x"
    ).fetchone()
    assert row is not None
    assert row["wrong"] == 0, f"{row['wrong']} jobs lack an event, or ran twice"


def pickup(
    url: str, jobs: int, job_type: str, pause: tuple[float, float] = PAUSE_SECONDS, **settings: str
) -> list[float]:
    """Milliseconds from each enqueue's commit to the handler's first line, of an idle worker, sorted.

    `pause`: seconds between two jobs, long enough for the first to have ended.
    """
    with workers(url, 1, WORKER_JOB_TYPES=job_type, **settings), connect(url, name="bench") as connection:
        _until(connection, "select exists (select from public.workers where state = 'running') as reached")
        if settings.get("WORKER_LISTEN") != "false":
            _until(
                connection,
                "select exists (select from pg_stat_activity where datname = current_database()"
                " and application_name = 'indexing-worker listen') as reached",
            )
            time.sleep(1)  # the listener's first proof
        committed = asyncio.run(_one_at_a_time(url, job_type, jobs + WARM_UP, pause))
        _until(
            connection, "select not exists (select from public.indexing_jobs where status <> 'completed') as reached"
        )
        rows = connection.execute("select id, (result ->> 'started')::bigint as started from public.indexing_jobs")
        started = {row["id"]: row["started"] for row in rows}
    took = [(started[job_id] - at) / 1e6 for job_id, at in committed[WARM_UP:]]
    return sorted(took)


async def _one_at_a_time(url: str, job_type: str, jobs: int, pause: tuple[float, float]) -> list[tuple[Any, int]]:
    """Enqueue and call at once, as the receiver does for the first push after a quiet moment."""
    committed: list[tuple[Any, int]] = []
    async with await connect_async(url, name="bench") as connection:
        for _ in range(jobs):
            job = await enqueue(connection, NewJob(job_type), and_call=True)
            committed.append((job.job_id, time.monotonic_ns()))
            await asyncio.sleep(random.uniform(*pause))
    return committed


def idle_calls_a_second(url: str, seconds: float, **settings: str) -> float:
    """Statements a second by which an idle worker looks for jobs and listens; heartbeat and maintenance are apart."""
    with connect(url, name="bench") as connection:
        connection.execute("create extension if not exists pg_stat_statements")
        with workers(url, 1, **settings):
            _until(connection, "select exists (select from public.workers where state = 'running') as reached")
            time.sleep(5)  # started, listening, settled
            before = _calls(connection)
            time.sleep(seconds)
            return (_calls(connection) - before) / seconds


def _calls(connection: psycopg.Connection[dict[str, Any]]) -> int:
    row = connection.execute(_IDLE_CALLS).fetchone()
    assert row is not None
    return int(row["calls"])


def _until(connection: psycopg.Connection[dict[str, Any]], condition: Any, *arguments: Any) -> None:
    deadline = time.monotonic() + 300
    while True:
        row = connection.execute(condition, arguments).fetchone()
        if row is not None and row["reached"]:
            return
        assert time.monotonic() < deadline, f"not within 300 s: {condition}"
        time.sleep(0.2)

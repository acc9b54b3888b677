"""The receiver: deliveries committed a second, and how soon they are answered; beside the raw limits of Postgres and of
HTTP in interleaved rounds. The sender and Postgres run on the same machine.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench._queue.server import own_server
from bench._receiver.sender import Plan, as_json
from worker.credentials.master_keys import load_master_keys
from worker.database.connect import connect
from worker.receiver.provision import provision_secret
from worker.settings import Settings

CLIENTS = 32
SMALL, LARGE = 10_000, 1_000_000
_KEYS = "bench=" + "0123456789abcdef" * 2
_REPOSITORIES = """
with owners as (insert into auth.users (id) select gen_random_uuid() from generate_series(1, 10) returning id),
     numbered as (select id, row_number() over () as n from owners)
insert into public.repositories (user_id, name, git_url, default_branch, settings)
select id, 'bench', 'https://github.com/acme/bench-' || n || '-' || m, 'main', '{"branches": ["*"]}'
from numbered, generate_series(1, 20) m returning id"""
_COMMITTED = """
select count(*) as n from public.webhook_deliveries d join public.indexing_jobs j on j.id = d.job_id
where starts_with(d.delivery_id, %s)"""
_notes = Console(stderr=True)


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """Medians of the rounds."""
    posts, rounds = (int(args[0]) if args else 4_000, 3) if quick else (20_000, 5)
    with own_server() as server, server.database() as url, server.database() as raw_url:
        targets = _register(url)
        _register(raw_url)
        with _receiver(url) as port, _bare(targets[0][1]) as bare_port:
            _send(Plan(port, targets, CLIENTS, len(targets) * 2, SMALL, name="warm"))
            kept: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": []}
            raws: list[float] = []
            for number in range(rounds):
                server.settle()
                kept["ours"].append(_ours(url, Plan(port, targets, CLIENTS, posts, SMALL, name=f"r{number}x")))
                kept["bare"].append(_send(Plan(bare_port, targets[:1], CLIENTS, posts, SMALL, name="bare")))
                server.settle()
                raws.append(_raw(raw_url, posts, number))
            rate = median(each["per_s"] for each in kept["ours"])
            shapes = {
                "10 kB, as fast as answered": _middle(kept["ours"]),
                "10 kB, at half that rate": _ours(
                    url, Plan(port, targets, CLIENTS, posts // 2, SMALL, rate=rate / 2, name="half")
                ),
                "1 MB": _ours(url, Plan(port, targets, CLIENTS, posts // 40, LARGE, name="large")),
                "one delivery, again and again": _send(
                    Plan(port, targets, 50, posts // 2, SMALL, same="delivery", name="again")
                ),
                "one branch, pushed again and again": _ours(
                    url, Plan(port, targets, 50, posts // 2, SMALL, same="branch", name="branch")
                ),
                "signature only": _middle(kept["bare"]),
            }
    ours = shapes["10 kB, as fast as answered"]
    return {
        "shapes": [
            {"what": name, **{key: round(each[key], 1) for key in ("per_s", "p50_ms", "p99_ms", "max_ms")}}
            for name, each in shapes.items()
        ],
        "deliveries_per_s": round(rate),
        "p50_ms": round(ours["p50_ms"], 1),
        "p99_ms": round(ours["p99_ms"], 1),
        "p99_ms_half_rate": round(shapes["10 kB, at half that rate"]["p99_ms"], 1),
        "raw_inserts_per_s": round(median(raws)),
        "raw_insert_ratio": _ratio(kept["ours"], raws),
        "signature_only_ratio": _ratio(kept["ours"], [each["per_s"] for each in kept["bare"]]),
    }


def _register(url: str) -> list[tuple[str, str]]:
    """200 repositories of ten owners that track every branch; path and secret of each."""
    keys = load_master_keys(_settings(url))
    with connect(url, name="bench") as connection:
        ids = [row["id"] for row in connection.execute(_REPOSITORIES).fetchall()]
        return [(f"/webhooks/github/{each}", provision_secret(connection, keys, each)) for each in ids]


def _settings(url: str) -> Settings:
    return Settings(_env_file=None, database_url=url, worker_master_keys=_KEYS)  # type: ignore[call-arg]


@contextlib.contextmanager
def _receiver(url: str) -> Iterator[int]:
    """`worker receive` as users run it, with its own log, which goes nowhere."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_"))}
    with tempfile.TemporaryDirectory(prefix="indexing-worker-bench-") as folder:
        given = {"DATABASE_URL": url, "WORKER_MASTER_KEYS": _KEYS, "WORKER_STATE_DIR": folder}
        given["WORKER_RECEIVER_RATE_PER_MINUTE"] = "0"  # one branch is pushed more often here than anybody may
        command = [sys.executable, "-m", "worker", "receive", "--port", str(port)]
        with _process(command, clean | given | {"WORKER_LOG_FORMAT": "json"}):
            _wait_for(port)
            yield port


@contextlib.contextmanager
def _bare(secret: str) -> Iterator[int]:
    with _process([sys.executable, "-m", "bench._receiver.bare", secret], dict(os.environ)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, env=environment, cwd=_root(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _root() -> Path:
    return Path(__file__).parents[1]


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2):
            return
        if time.monotonic() > end:
            raise TimeoutError("The receiver did not start.")
        time.sleep(0.05)


def _ours(url: str, plan: Plan) -> dict[str, Any]:
    """As `_send`, and it is checked that each delivery and its job are committed."""
    seen = _send(plan)
    with connect(url, name="bench") as connection:
        row = connection.execute(_COMMITTED, (f"{plan.name}-",)).fetchone()
    assert row is not None
    if row["n"] != plan.posts:
        raise AssertionError(f"{plan.posts} deliveries were sent, {row['n']} are committed with a job.")
    return seen


def _send(plan: Plan) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._receiver.sender"]
    done = subprocess.run(command, input=as_json(plan), cwd=_root(), capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout)
    _notes.print(f"[dim]{plan.name}, {plan.body_bytes} bytes: {seen}[/]")
    if set(seen["statuses"]) != {"202"}:
        raise AssertionError(f"Not every post was accepted: {seen['statuses']}.")
    return seen


def _raw(url: str, posts: int, number: int) -> float:
    with connect(url, name="bench") as connection:
        connection.execute("delete from public.webhook_deliveries")
    command = [sys.executable, "-m", "bench._receiver.raw", url, str(CLIENTS), str(posts)]
    rate = float(subprocess.run(command, cwd=_root(), capture_output=True, text=True, check=True).stdout)
    _notes.print(f"[dim]raw {number}: {rate:,.0f} deliveries a second[/]")
    return rate


def _middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the median."""
    return {key: median(each[key] for each in rounds) for key in ("per_s", "p50_ms", "p99_ms", "max_ms")}


def _ratio(ours: list[dict[str, Any]], limits: list[float]) -> float:
    """The median of the rounds' ratios: what weighs on a machine for a while weighs on both."""
    return round(median(each["per_s"] / limit for each, limit in zip(ours, limits, strict=True)), 3)

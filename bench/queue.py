"""The queue: how fast it drains, how soon a job starts, what a backlog and an idle worker cost; beside the raw limit
and two peers, in the same run and on the same server, in interleaved rounds.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench import _peers
from bench._plot import bars
from bench._queue import ours, raw
from bench._queue.fill import clear, fill, fill_busy, pause_type
from bench._queue.server import Server, own_server
from worker.database.connect import connect

TYPE = "bench_nothing"
_notes = Console(stderr=True)
# Percentiles of pickups: ours, what this machine allows, and what the peers reach on it, listening and inline.
_SHOWN = {"listen": (50, 95), "child": (50, 95), "poll": (50,), "raw_listen": (50,)} | dict.fromkeys(
    _peers.PEERS, (50, 95)
)


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """Medians. An argument names a file for the plot (SVG)."""
    jobs, rounds = 20_000, 3 if quick else 5
    with own_server() as server, ThreadPoolExecutor() as beside:
        drains = _drains(server, jobs, rounds, procrastinate_jobs=3_000 if quick else jobs)
        pickup = _pickup(server, *((2, 60, 10) if quick else (5, 100, 60)))
        # Calls are counted, not timed: that may happen while others fill tables.
        idle = beside.submit(_timed, "idle", lambda: _idle(server, 13 if quick else 60))
        backlogs = _backlogs(server, jobs if quick else 3 * jobs, 1_000_000, quick=quick, meanwhile=idle)
        heartbeat = _heartbeat(server)
    figures = {name: round(median(values)) for name, values in drains.items() if values}
    two = figures.pop("two_workers")
    if args:
        rows = [("this queue", figures["ours"]), ("raw limit", figures["raw"])]
        rows += [(peer, figures[peer]) for peer in _peers.PEERS if peer in figures]
        bars(
            Path(args[0]), "Drain of 20,000 no-op jobs, one worker process", [(n, float(v)) for n, v in rows], "jobs/s"
        )
    return {
        "drains": [{"what": name, "jobs_per_s": value} for name, value in figures.items()],
        "backlogs": [{"a million more": name, "share_of_empty": value} for name, value in backlogs.items()],
        "drain": {
            "jobs_per_s": figures["ours"],
            "raw_ratio": round(figures["ours"] / figures["raw"], 3),
            **{f"{peer}_ratio": _ratio(figures["ours"], figures.get(peer)) for peer in _peers.PEERS},
        },
        "two_workers": {"jobs_per_s": two},
        "pickup_ms": pickup,
        "backlog_ratio": backlogs["queued"],
        "idle_queries_per_s": idle.result(),
        "heartbeat_ms_at_500": heartbeat,
    }


def _drains(server: Server, jobs: int, rounds: int, *, procrastinate_jobs: int) -> dict[str, list[float]]:
    """Jobs a second of each, the rounds interleaved; a peer that cannot be had is left out, and it is said why."""
    taken: dict[str, list[float]] = {"raw": [], "ours": [], "two_workers": [], **{peer: [] for peer in _peers.PEERS}}
    away: set[str] = set()
    for number in range(rounds):
        taken["raw"].append(_timed(f"raw {number}", lambda: _raw(server, jobs)))
        taken["ours"].append(_timed(f"ours {number}", lambda: _ours(server, jobs)))
        taken["two_workers"].append(_timed(f"two workers {number}", lambda: _ours(server, jobs, count=2)))
        for peer in _peers.PEERS:
            if peer not in away and not (peer == "procrastinate" and number > 0 and procrastinate_jobs < jobs):
                count = procrastinate_jobs if peer == "procrastinate" else jobs
                try:
                    taken[peer].append(
                        _timed(f"{peer} {number}", lambda peer=peer, count=count: _peer(server, peer, count))
                    )
                except (_peers.PeersUnavailable, _peers.PeerFailed) as failure:
                    away.add(peer)
                    _notes.print(f"[yellow]{peer} is left out:[/] {failure}")
    return taken


def _raw(server: Server, jobs: int) -> float:
    with server.database() as url:
        server.settle()
        fill(url, jobs, TYPE)
        return raw.drain(url, jobs)


def _ours(server: Server, jobs: int, *, count: int = 1) -> float:
    with server.database() as url:
        server.settle()
        fill(url, jobs, TYPE)
        return ours.drain(url, jobs, count=count)


def _peer(server: Server, peer: str, jobs: int) -> float:
    with server.database(migrated=False) as url:
        server.settle()
        return _peers.drain(peer, url, jobs)


def _pickup(server: Server, rounds: int, jobs: int, polled: int) -> dict[str, float]:
    """Milliseconds; of listening workers, a bare LISTEN and the peers `jobs` in each of the interleaved rounds."""

    def measure(job_type: str, count: int, pause: tuple[float, float], **settings: str) -> list[float]:
        with server.database() as url:
            return ours.pickup(url, count, job_type, pause, **settings)

    def bare() -> list[float]:
        with server.database() as url:
            return raw.listen_pickup(url, jobs)

    took: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        took["listen"] += _timed(
            f"pickup, listening {number}", lambda: measure("bench_pickup", jobs, ours.PAUSE_SECONDS)
        )
        took["raw_listen"] += bare()
        for peer in _peers.PEERS:
            took[peer] += _timed(f"pickup, {peer} {number}", lambda peer=peer: _peers_pickup(server, peer, jobs))
    took["child"] = _timed("pickup, child", lambda: measure("bench_pickup_child", rounds * jobs // 3, (0.08, 0.12)))
    took["poll"] = _timed(
        "pickup, polling", lambda: measure("bench_pickup", polled, (0.05, 0.35), WORKER_LISTEN="false")
    )
    figures = {name: sorted(milliseconds) for name, milliseconds in took.items() if milliseconds}
    return {
        f"{name}_p{percent}": _percentile(figures[name], percent)
        for name, percents in _SHOWN.items()
        for percent in percents
        if name in figures
    }


def _peers_pickup(server: Server, peer: str, jobs: int) -> list[float]:
    with server.database(migrated=False) as url:
        try:
            return _peers.pickup(peer, url, jobs)
        except (_peers.PeersUnavailable, _peers.PeerFailed):
            return []


def _backlogs(server: Server, jobs: int, more: int, *, quick: bool, meanwhile: Future[Any]) -> dict[str, float]:
    """The drain rate beside a million rows more, as a share of the rate without them, rounds interleaved.

    Both begin right after a checkpoint, so that both pay for the first change of each page. More jobs than above: a
    worker that starts is slow at first, which should weigh here as it does in the long run. `meanwhile`: what must have
    ended before anything is measured.
    """
    kinds: dict[str, Callable[[str], None]] = {
        "queued": lambda url: fill(url, more, TYPE),
        "not due": lambda url: fill(url, more, TYPE, hold="time", delay_seconds=3600),
        "of a paused type": lambda url: fill(url, more, pause_type(url)),
        "of busy repositories": lambda url: fill_busy(url, more, TYPE),
    }
    if quick:
        kinds = {"queued": kinds["queued"]}
    shares: dict[str, float] = {}
    for name, add in kinds.items():
        with server.database() as full:
            _timed(f"a million {name}", lambda add=add, full=full: add(full))
            meanwhile.result()
            ratios = []
            for number in range(3 if quick else 5):
                empty = _timed(f"empty {number}", lambda: _alone(server, jobs))
                clear(full)
                fill(full, jobs, TYPE)
                server.settle()
                beside = _timed(f"beside {number}", lambda full=full: ours.drain(full, jobs))
                ratios.append(beside / empty)
        shares[name] = round(median(ratios), 3)
    return shares


def _alone(server: Server, jobs: int) -> float:
    with server.database() as url:
        fill(url, jobs, TYPE)
        server.settle()
        return ours.drain(url, jobs)


def _idle(server: Server, seconds: float) -> dict[str, float]:
    """Both at once, each on a database of its own: idle workers are not in each other's way."""

    def measure(**settings: str) -> float:
        with server.database() as url:
            return round(ours.idle_calls_a_second(url, seconds, **settings), 3)

    with ThreadPoolExecutor() as threads:
        listen, poll = threads.submit(measure), threads.submit(measure, WORKER_LISTEN="false")
        return {"listen": listen.result(), "poll": poll.result()}


def _heartbeat(server: Server) -> float:
    """One renewal of a worker that holds 500 running jobs, the median in milliseconds."""
    with server.database() as url, connect(url, name="bench") as connection:
        fill(url, 1_000, TYPE)
        connection.execute(
            "insert into public.workers (id, hostname, pid, version, slots)"
            " values ('00000000-0000-4000-8000-00000000000a', 'bench', 1, '0', 500)"
        )
        rows = connection.execute(
            "select lease_token from queue.claim('00000000-0000-4000-8000-00000000000a', array[%s], 500)", (TYPE,)
        )
        tokens = [row["lease_token"] for row in rows]
        assert len(tokens) == 500
        took: list[float] = []
        for _ in range(30):
            started = time.perf_counter()
            connection.execute(
                "select queue.renew('00000000-0000-4000-8000-00000000000a', %s, interval '30 s')", (tokens,)
            )
            took.append((time.perf_counter() - started) * 1000)
    return round(median(took), 2)


def _percentile(ordered: list[float], percent: int) -> float:
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def _ratio(figure: float, other: float | None) -> float | None:
    return round(figure / other, 3) if other else None


def _timed(what: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = work()
    shown = f"{result:,.2f}" if isinstance(result, float) else ""
    _notes.print(f"[dim]{what}: {shown} ({time.perf_counter() - started:.1f} s)[/]")
    return result

"""Who enqueues for a pickup: a process of its own, so that it shares neither event loop nor GIL with the worker."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench._peers.environment import ROOT

WARM_UP = 20  # the first jobs meet cold caches, and a worker that may not be listening yet
PAUSE_SECONDS = (0.01, 0.04)


@dataclass
class Pickup:
    """When the handler of each job started, and when the enqueue of it had committed."""

    jobs: int
    started: dict[int, int] = field(default_factory=dict)
    all_started: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, job: int) -> None:
        """To be the handler's first line."""
        self.started.setdefault(job, time.monotonic_ns())  # one clock for all processes of a machine
        if len(self.started) == self.jobs + WARM_UP:
            self.all_started.set()

    async def milliseconds(self, peer: str, url: str) -> list[float]:
        """Let another process enqueue one job at a time; answer how long each waited for its handler."""
        committed = await _committed(peer, url, self.jobs + WARM_UP)
        await self.all_started.wait()
        return [(self.started[job] - at) / 1e6 for job, at in enumerate(committed)][WARM_UP:]


def one_at_a_time(enqueue: Callable[[int], object], jobs: int) -> list[int]:
    """The producer's loop: each call returns once its transaction has committed; answers those moments."""
    committed: list[int] = []
    for job in range(jobs):
        enqueue(job)
        committed.append(time.monotonic_ns())
        time.sleep(random.uniform(*PAUSE_SECONDS))
    return committed


async def _committed(peer: str, url: str, jobs: int) -> list[int]:
    command = [sys.executable, "-m", "bench._peers", peer, "enqueue", "--url", url, "--jobs", str(jobs)]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0, "the producer failed"
    return json.loads(printed)["enqueue"]

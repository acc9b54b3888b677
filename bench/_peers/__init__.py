"""The peers, measured: each runs in a child process with a Python environment of its own, on an empty database.

Both functions take the name of a peer and the URL of a database made for this one call; the peer's own installer fills
it. They raise PeersUnavailable when the libraries cannot be installed here, PeerFailed when a run ends badly.
"""

import json
import subprocess
from typing import Any

from bench._peers.environment import ROOT, PeersUnavailable, peers_python

__all__ = ["PEERS", "PeerFailed", "PeersUnavailable", "drain", "pickup"]

PEERS = ("pgqueuer", "procrastinate")
MOST_SECONDS = 900


class PeerFailed(Exception):
    """A peer's run ended badly; the message holds the last line it wrote."""


def drain(peer: str, url: str, jobs: int) -> float:
    """No-op jobs a second: one worker process with the peer's fastest settings, from its start to the last job done."""
    return float(_run(peer, "drain", url, jobs))


def pickup(peer: str, url: str, jobs: int) -> list[float]:
    """Milliseconds from each enqueue's commit to its handler's first line: one idle, listening worker, single jobs."""
    return [float(milliseconds) for milliseconds in _run(peer, "pickup", url, jobs)]


def _run(peer: str, what: str, url: str, jobs: int) -> Any:
    command = [peers_python(), "-m", "bench._peers", peer, what, "--url", url, "--jobs", str(jobs)]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise PeerFailed(f"{peer} {what}: not done after {MOST_SECONDS} s") from late
    if ended.returncode != 0:
        raise PeerFailed(f"{peer} {what}: {(ended.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(ended.stdout.splitlines()[-1])[what]

"""`just stack`: a deployment on one machine comes up green, twice without harm, and leaves nothing when it is ended."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PORTS = 12

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_ports() -> int:
    """The first of some ports in a row that nobody uses."""
    for first in range(26000, 32000, PORTS):
        if all(_is_free(port) for port in range(first, first + PORTS)):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run scripts/stack with data and ports of this test's own; what it started is ended."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_", "AWS_"))}
    place = {"STACK_DIR": str(tmp_path / "stack"), "STACK_PORT": str(free_ports())}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/stack", *arguments], env={**kept, **place},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip

    yield run
    run("down", "--wipe")


def pids(said: str) -> set[int]:
    """The process ids that its table names."""
    return {int(pid) for pid in re.findall(r"pid (\d+)", said)}


def test_the_stack_comes_up_green_and_goes_without_a_trace(
    stack: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A second start changes nothing, commands find it by its file, and down leaves neither process nor data."""
    first = stack("up")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "healthy: " in first.stdout
    again = stack("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert pids(again.stdout) == pids(first.stdout) != set()
    asked = subprocess.run(
        ["bash", "-c", f"source '{tmp_path}/stack/env' && worker check --json && worker status"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    listening = {connection.laddr.ip for pid in pids(first.stdout) for connection in _listening(pid)}
    assert listening == {"127.0.0.1"}
    ended = stack("down", "--wipe")
    assert ended.returncode == 0, ended.stderr
    assert [pid for pid in pids(first.stdout) if psutil.pid_exists(pid)] == []
    assert not (tmp_path / "stack").exists()


def _listening(pid: int) -> list[Any]:
    found = psutil.Process(pid).net_connections("inet")
    return [connection for connection in found if connection.status == psutil.CONN_LISTEN]


def test_a_taken_port_is_named_before_anything_is_started() -> None:
    """Nothing speaks to a stranger that has one of its ports."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        done = subprocess.run(
            [ROOT / "scripts/stack", "up"],
            env={**os.environ, "STACK_DIR": "/nonexistent/stack", "STACK_PORT": str(port)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"{port} (postgres)" in done.stderr

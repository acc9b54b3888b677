"""The files that deploy the program: Procfile, fly.toml and Dockerfile say the same, and what Fly can do."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from worker.settings import Settings

ROOT = Path(__file__).parents[2]
MACHINE_CPUS = {"shared-cpu-1x": 1, "shared-cpu-2x": 2, "shared-cpu-4x": 4, "performance-1x": 1, "performance-2x": 2}


@pytest.fixture(scope="module")
def fly() -> dict[str, Any]:
    """fly.toml as Fly reads it."""
    return tomllib.loads((ROOT / "fly.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fly_settings(fly: dict[str, Any]) -> Settings:
    """The settings of a process on Fly, without its secrets."""
    return Settings(_env_file=None, **{name.lower(): value for name, value in fly["env"].items()})  # pyright: ignore[reportCallIssue]


def of_group(entries: list[dict[str, Any]], group: str) -> dict[str, Any]:
    """The one entry that is for this process group."""
    (entry,) = [entry for entry in entries if group in entry["processes"]]
    return entry


def test_procfile_and_fly_run_the_same_processes(fly: dict[str, Any]) -> None:
    """A host that reads the Procfile runs what Fly runs."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    assert {name: command.strip() for name, _, command in (line.partition(":") for line in lines)} == fly["processes"]


def test_a_drain_ends_before_fly_kills(fly: dict[str, Any], fly_settings: Settings) -> None:
    """Fly waits for 300 s at most; the drain leaves time to give jobs back before that."""
    assert fly["kill_signal"] == "SIGTERM"
    assert fly["kill_timeout"] <= 300
    assert fly_settings.worker_drain_seconds <= fly["kill_timeout"] - 15


def test_migrations_run_before_a_release(fly: dict[str, Any]) -> None:
    """The schema is there before the first new process starts."""
    assert fly["deploy"]["release_command"] == "worker migrate"


def test_servers_listen_where_fly_looks(fly: dict[str, Any], fly_settings: Settings) -> None:
    """The proxy, the checks and the scraper reach the ports that the program opens."""
    assert fly_settings.worker_http_host == "0.0.0.0"
    assert fly["http_service"]["internal_port"] == fly_settings.worker_receiver_port
    assert of_group(fly["metrics"], "worker")["port"] == fly_settings.worker_metrics_port
    assert of_group(fly["metrics"], "receiver")["port"] == fly_settings.worker_receiver_port
    assert of_group(list(fly["checks"].values()), "worker")["port"] == fly_settings.worker_metrics_port
    assert [check["path"] for check in fly["http_service"]["checks"]] == ["/health"]


def test_only_the_receiver_is_public_and_never_asleep(fly: dict[str, Any]) -> None:
    """A push must not wait for a Machine, and nobody outside speaks to a worker."""
    assert fly["http_service"]["processes"] == ["receiver"]
    assert fly["http_service"]["min_machines_running"] >= 1
    assert "services" not in fly


def test_a_worker_machine_has_room_for_its_slots(fly: dict[str, Any], fly_settings: Settings) -> None:
    """All slots at their memory limit, and the parent, fit into the Machine; no group has Fly's default size."""
    machine = of_group(fly["vm"], "worker")
    needed = fly_settings.worker_slots * fly_settings.worker_memory_mb + 512
    assert needed <= int(machine["memory"].removesuffix("gb")) * 1024
    assert fly_settings.worker_slots <= MACHINE_CPUS[machine["size"]]
    assert {group for vm in fly["vm"] for group in vm["processes"]} == set(fly["processes"])


def test_image_runs_as_an_ordinary_user_in_the_exec_form() -> None:
    """Signals reach the program itself, and it is not root; nothing but what a build needs enters the context."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "USER worker" in image
    assert 'CMD ["worker", "run"]' in image
    copied = [
        word for line in image if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)

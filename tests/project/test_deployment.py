"""The files that deploy the program: Procfile, fly.toml and Dockerfile say the same, and what Fly can do."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.project.fly_keys import unknown_keys
from worker.runtime.worker import SECONDS_TO_HAND_BACK
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
    """Fly waits for 300 s at most; the drain leaves time to give jobs back before that, and a deploy waits for it."""
    assert fly["kill_signal"] == "SIGTERM"
    assert fly["kill_timeout"] <= 300
    assert fly_settings.worker_drain_seconds + SECONDS_TO_HAND_BACK + 5 <= fly["kill_timeout"]
    assert int(fly["deploy"]["wait_timeout"].removesuffix("m")) * 60 > fly["kill_timeout"]


def test_migrations_run_before_a_release(fly: dict[str, Any]) -> None:
    """The schema is there before the first new process starts."""
    assert fly["deploy"]["release_command"] == "worker migrate"


def test_servers_listen_where_fly_looks(fly: dict[str, Any], fly_settings: Settings) -> None:
    """The proxy, the checks and the scraper reach the ports that the program opens; by IPv6 the other Machines do."""
    assert fly_settings.worker_http_host == "::"
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


def test_the_workers_volume_has_room_for_what_is_put_there(fly: dict[str, Any], fly_settings: Settings) -> None:
    """Kept repositories, the scratch of all slots and the spool of logs fit, and nothing large is written elsewhere."""
    (mount,) = fly["mounts"]
    assert mount["processes"] == ["worker"]
    place = mount["destination"]
    folders = [fly_settings.worker_state_dir, fly_settings.worker_scratch_dir, fly_settings.worker_git_cache_dir]
    assert [folder for folder in folders if folder is None or not folder.is_relative_to(place)] == []
    scratch = fly_settings.worker_slots * fly_settings.worker_max_fetch_mb * 2
    needed = fly_settings.worker_git_cache_mb + scratch + fly_settings.worker_log_spool_mb
    assert needed <= int(mount["initial_size"].removesuffix("gb")) * 1000


def test_volumes_are_deployed_as_fly_can(fly: dict[str, Any]) -> None:
    """A volume is bound to one Machine: no new one can take it over before the old is gone."""
    assert fly["deploy"]["strategy"] == "rolling"


@pytest.mark.parametrize("path", ["fly.toml", "ops/fly-autoscaler/fly.toml"])
def test_fly_knows_every_key(path: str) -> None:
    """flyctl ignores what it does not know: a misspelt key would have no effect, and nobody would be told."""
    assert unknown_keys(tomllib.loads((ROOT / path).read_text(encoding="utf-8"))) == []


def test_every_group_that_is_named_exists(fly: dict[str, Any]) -> None:
    """Checks, metrics, mounts, restarts and Machines name process groups; Fly refuses others, or skips them."""
    parts = [*fly["checks"].values(), *fly["metrics"], *fly["mounts"], *fly["restart"], *fly["vm"], fly["http_service"]]
    assert {group for part in parts for group in part["processes"]} == set(fly["processes"])


def test_the_autoscaler_scales_the_workers_of_this_app_alone(fly: dict[str, Any], fly_settings: Settings) -> None:
    """It never stops a receiver, stops no worker while a job waits or runs, and counts on the slots there are."""
    scaler = tomllib.loads((ROOT / "ops/fly-autoscaler/fly.toml").read_text(encoding="utf-8"))["env"]
    assert scaler["FAS_APP_NAME"] == fly["app"]
    assert f'app="{fly["app"]}"' in scaler["FAS_PROMETHEUS_QUERY"]
    assert scaler["FAS_PROCESS_GROUP"] == "worker"
    assert f"ceil(busy / {fly_settings.worker_slots})" in scaler["FAS_MIN_STARTED_MACHINE_COUNT"]
    (most,) = set(re.findall(r"\b(8)(?:\.0)?\b", scaler["FAS_MIN_STARTED_MACHINE_COUNT"]))
    assert scaler["FAS_MAX_STARTED_MACHINE_COUNT"] == f"busy > 0 ? {most}.0 : 0.0"
    assert not [name for name in scaler if "CREATED" in name or name == "FAS_STARTED_MACHINE_COUNT"]


def test_image_copies_what_its_context_holds() -> None:
    """Nothing but what a build needs enters the context, and all of it is there."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        word for line in image if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert [word for word in copied if not any(word == name or word.startswith(f"{name}/") for name in allowed)] == []
    assert [name for name in allowed if name not in copied] == []
    assert all((ROOT / name).exists() for name in copied)


def test_image_is_built_and_runs_on_one_named_debian() -> None:
    """What is built fits what runs, another Debian does not come by itself, and no secret is put into the image."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases[0])
    secrets = [name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)]
    assert len(secrets) > 3
    assert [name for name in secrets if name in text] == []


def test_image_passes_signals_on_and_drops_root() -> None:
    """tini is process 1, in the exec form; as-worker becomes an ordinary account before anything of ours runs."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["tini", "-s", "--", "as-worker"]' in image
    assert 'CMD ["worker", "run"]' in image
    assert "STOPSIGNAL SIGTERM" in image


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_as_worker_gives_the_volume_away_and_keeps_no_right(tmp_path: Path) -> None:
    """The platform mounts volumes as root's; the program gets its own, and can never become root again."""
    tmp_path.chmod(0o755)
    volume = tmp_path / "data"
    volume.mkdir()
    done = subprocess.run(
        [
            ROOT / "ops/image/as-worker",
            "sh",
            "-c",
            "id -un; id -u; grep -E 'NoNewPrivs|CapEff|Groups' /proc/self/status",
        ],
        env={"PATH": os.environ["PATH"], "WORKER_ACCOUNT": "nobody", "WORKER_VOLUME": str(volume)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    name, number, *status = done.stdout.split("\n")
    assert (name, int(number)) == (volume.owner(), volume.stat().st_uid) != ("root", 0)
    facts = {key: value.split() for key, _, value in (line.partition(":") for line in status if line)}
    assert facts["NoNewPrivs"] == ["1"]
    assert facts["CapEff"] == ["0" * 16]
    assert "0" not in facts["Groups"]


def test_as_worker_only_runs_the_command_where_the_platform_chose_the_account(tmp_path: Path) -> None:
    """Kubernetes and others set the user themselves: then nothing is changed."""
    fake = tmp_path / "id"
    fake.write_text("#!/bin/sh\necho 1000\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [ROOT / "ops/image/as-worker", "echo", "worker", "run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "worker run\n"

"""scripts/setup-env and the scripts that call it: a checkout becomes ready by itself, however it was left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "chmod", "cmp", "cp", "dirname", "env", "mkdir", "mv", "rm", "sh")
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "nothing"
version = "1"

[dependency-groups]
test = []
dev = [{ include-group = "test" }]
"""
BACKEND = """
import pathlib, time, zipfile

def get_requires_for_build_editable(config_settings=None):
    return []

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with open("builds", "a") as builds:
        builds.write("build\\n")
    if pathlib.Path("refuse").exists():
        raise OSError("no room left")
    while pathlib.Path("hold").exists():
        time.sleep(0.01)
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / "nothing-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nothing-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: nothing\\nVersion: 1\\n")
        wheel.writestr("nothing-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("nothing-1.dist-info/RECORD", "")
    return "nothing-1-py3-none-any.whl"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a package that needs no index, with this project's own set-up scripts."""
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (root / "backend.py").write_text(BACKEND, encoding="utf-8")
    return root


def environment(tmp_path: Path, *, uv: bool) -> dict[str, str]:
    """A fresh account: HOME is empty and PATH holds the system's tools, this Python and, where asked for, uv."""
    tools = tmp_path / ("tools-and-uv" if uv else "tools")
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    if not tools.exists():
        tools.mkdir()
        (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        for name in TOOLS:
            (tools / name).symlink_to(str(shutil.which(name)))
        if uv:
            (tools / "uv").symlink_to(Path(sys.executable).parent / "uv")
    return {"HOME": str(home), "PATH": str(tools), "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}


def start(checkout: Path, group: str = "test", *, cwd: Path | None = None, uv: bool = True) -> subprocess.Popen[str]:
    """Start a set-up, in a process group of its own."""
    return subprocess.Popen(
        [checkout / "scripts/setup-env", group],
        cwd=cwd or checkout.parent,
        env=environment(checkout.parent, uv=uv),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def setup(checkout: Path, group: str = "test", *, cwd: Path | None = None, uv: bool = True) -> str:
    """Run a set-up to its good end; what it said."""
    process = start(checkout, group, cwd=cwd, uv=uv)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    return said


def builds(checkout: Path) -> int:
    """How often the package was installed."""
    record = checkout / "builds"
    return len(record.read_text(encoding="utf-8").splitlines()) if record.exists() else 0


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for a condition, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@pytest.mark.parametrize("uv", [True, False], ids=["uv", "venv and pip"])
def test_the_second_run_does_nothing(checkout: Path, uv: bool) -> None:
    """A ready checkout costs nothing and says nothing, from any folder; a changed pyproject.toml is installed."""
    assert ("with uv" in setup(checkout, uv=uv)) is uv
    assert setup(checkout, cwd=Path("/"), uv=uv) == ""
    assert setup(checkout, "runtime", uv=uv) == ""
    assert builds(checkout) == 1
    assert "ready" in setup(checkout, "dev", uv=uv)
    with (checkout / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write("# changed\n")
    assert "ready" in setup(checkout, "runtime", uv=uv)
    assert builds(checkout) >= 2


@pytest.mark.slow
def test_pip_goes_on_where_uv_cannot(checkout: Path) -> None:
    """Somebody whose index is known to pip alone is not stopped by a uv on PATH."""
    uv = Path(environment(checkout.parent, uv=True)["PATH"]) / "uv"
    uv.unlink()
    real = Path(sys.executable).parent / "uv"
    uv.write_text(f'#!/bin/sh\n[ "$1" = venv ] && exec "{real}" "$@"\nexit 1\n', encoding="utf-8")
    uv.chmod(0o755)
    said = setup(checkout)
    assert "trying pip" in said
    assert builds(checkout) == 1


def test_two_at_once_make_one_environment(checkout: Path) -> None:
    """The second waits for the first and finds the work done."""
    (checkout / "hold").touch()
    first = start(checkout)
    wait_until(lambda: builds(checkout) == 1)
    second = start(checkout)
    assert second.stderr is not None
    assert "waiting for another" in second.stderr.readline()
    (checkout / "hold").unlink()
    assert [process.wait(timeout=60) for process in (first, second)] == [0, 0]
    first.communicate()
    second.communicate()
    assert builds(checkout) == 1


def test_a_killed_set_up_is_made_anew(checkout: Path) -> None:
    """What was killed in the middle of an installation is never taken for a whole one."""
    (checkout / "hold").touch()
    process = start(checkout)
    wait_until(lambda: builds(checkout) == 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (checkout / "hold").unlink()
    assert "making it anew" in setup(checkout)
    assert setup(checkout) == ""


def test_a_failed_set_up_says_why_and_keeps_what_was_there(checkout: Path) -> None:
    """Without a network, a changed pyproject.toml must not cost the environment that worked."""
    setup(checkout)
    (checkout / ".venv/kept").touch()
    (checkout / "refuse").touch()
    process = start(checkout, "dev")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no room left" in said
    assert "failed" in said
    (checkout / "refuse").unlink()
    assert "ready" in setup(checkout, "dev")
    assert (checkout / ".venv/kept").exists()


@pytest.mark.parametrize("damage", ["moved", "no interpreter"])
def test_a_broken_environment_is_made_anew(checkout: Path, tmp_path: Path, damage: str) -> None:
    """A moved checkout, or one whose Python was removed, is repaired instead of failing later."""
    setup(checkout)
    if damage == "moved":
        checkout = checkout.rename(tmp_path / "elsewhere")
    else:
        (checkout / ".venv/bin/python").unlink()
    assert "making it anew" in setup(checkout)
    printed = subprocess.run(
        [checkout / ".venv/bin/python", "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == str(checkout / ".venv")


def test_a_machine_without_python_is_told_what_to_do(checkout: Path, tmp_path: Path) -> None:
    """The sentence names the versions and the variable."""
    tools = tmp_path / "bare"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [checkout / "scripts/setup-env"], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no Python 3.11–3.14 found" in done.stderr
    assert "PYTHON=" in done.stderr


def test_an_unknown_group_is_refused(checkout: Path) -> None:
    """A typing error installs nothing."""
    process = start(checkout, "everything")
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "runtime, test or dev" in said) == (2, True)
    assert not (checkout / ".venv").exists()

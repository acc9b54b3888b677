"""The peers' own Python environment: made once beside ours and kept, so that their libraries never touch it."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-peers"
PYTHON = HOME / "bin" / "python"
STAMP = HOME / "installed.txt"
MOST_SECONDS = 600


class PeersUnavailable(Exception):
    """The peers' libraries cannot be installed here, most often for want of a network."""


def peers_python() -> Path:
    """The interpreter that has the peers; makes its environment first when missing, unfinished or out of date."""
    wanted = requirements()
    if not (PYTHON.exists() and STAMP.exists() and STAMP.read_text() == "\n".join(wanted)):
        _install(wanted)
        STAMP.write_text("\n".join(wanted))  # last: an interrupted installation has no stamp
    return PYTHON


def requirements() -> list[str]:
    """The dependency group `peers`; read here because pip knows groups only since version 25.1."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["peers"]


def _install(wanted: list[str]) -> None:
    """Try each way in turn: pip may be configured for a package index that uv does not know of."""
    failures: list[str] = []
    for way in _ways(wanted):
        try:
            for command in way:
                subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_SECONDS, check=True)
            return
        except (OSError, subprocess.SubprocessError) as failure:
            failures.append(_reason(failure))
    raise PeersUnavailable(f"the peers cannot be installed in {HOME.name}: {'; '.join(failures)}")


def _ways(wanted: list[str]) -> Iterator[list[list[str]]]:
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv:
        make = [uv, "venv", "--clear", "--python", sys.executable, str(HOME)]
        yield [make, [uv, "pip", "install", "--python", str(PYTHON), *wanted]]
    make = [sys.executable, "-m", "venv", "--clear", str(HOME)]
    yield [make, [str(PYTHON), "-m", "pip", "install", *wanted]]


def _reason(failure: Exception) -> str:
    said = (getattr(failure, "stderr", None) or "").strip().splitlines()
    return said[-1].strip() if said else str(failure)

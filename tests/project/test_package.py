"""The package: what it asks for, and what a wheel of it holds."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def all_requirements() -> list[str]:
    """Every requirement written in pyproject.toml."""
    groups = [*PYPROJECT["project"]["optional-dependencies"].values(), *PYPROJECT["dependency-groups"].values()]
    return [
        *PYPROJECT["project"]["dependencies"],
        *(entry for group in groups for entry in group if isinstance(entry, str)),
    ]


def test_every_requirement_has_both_bounds() -> None:
    """A new major version of a dependency reaches users only after somebody has tried it."""
    assert [line for line in all_requirements() if not re.search(r">=[\w.]+,<[\w.]+$", line)] == []


def test_python_versions_agree() -> None:
    """requires-python, the classifiers, the linter and the type checker speak of the same versions."""
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PYPROJECT["project"]["requires-python"]).groups()  # pyright: ignore[reportOptionalMemberAccess]
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert named == [str(minor) for minor in range(int(low), int(high))]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{low}"
    assert PYPROJECT["tool"]["basedpyright"]["pythonVersion"] == f"3.{low}"
    assert f"(3, {low}) <= sys.version_info[:2] <= (3, {int(high) - 1})" in (ROOT / "scripts/setup-env").read_text(
        "utf-8"
    )


def test_groups_are_read_with_those_they_include() -> None:
    """scripts/setup-env installs a group whole, whatever pip it finds."""
    printed = subprocess.run(
        [sys.executable, ROOT / "scripts/lib/requirements.py", "dev"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    groups = PYPROJECT["dependency-groups"]
    assert printed == [*groups["test"], *groups["check"]]


@pytest.mark.slow
def test_a_wheel_holds_what_the_program_reads(tmp_path: Path) -> None:
    """An installed program finds its migrations and queries without a checkout."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        check=True,
        timeout=100,
    )
    (wheel,) = tmp_path.glob("indexing_worker-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = {f"worker/database/migrations/{path.name}" for path in (ROOT / "supabase/migrations").glob("*.sql")}
    queries = {str(path.relative_to(ROOT)) for path in (ROOT / "worker/indexing/queries").iterdir()}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "worker").rglob("*.py")}
    assert names >= migrations | queries | modules
    assert not any(name.startswith(("tests/", "bench/", "supabase/")) for name in names)

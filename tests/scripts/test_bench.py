"""The frame of the benchmarks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import benchmarks

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench` as scripts/bench does."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_last_line_is_json_after_a_table(tmp_path: Path) -> None:
    """People read a table; a program reads the last line."""
    (tmp_path / "one.py").write_text("class A:\n    def b(self):\n        return 1\n", encoding="utf-8")
    done = bench("extract", "--quick", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["bench"], result["files"], result["symbols"]) == ("extract", 1, 2)
    assert "megabytes a second" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("nope",), ("__main__",)])
def test_an_unknown_name_is_answered_with_the_list(arguments: tuple[str, ...]) -> None:
    """Whoever does not know the names gets them, and exit code 2."""
    done = bench(*arguments)
    assert done.returncode == 2
    assert ", ".join(benchmarks()) in done.stderr


@pytest.mark.skipif(shutil.which("ctags") is None, reason="universal-ctags is not installed: scripts/setup-test-tools")
def test_definitions_are_compared_with_ctags(tmp_path: Path) -> None:
    """Both sides are counted by language; what ctags lacks is named with its place."""
    (tmp_path / "one.py").write_text("class A:\n    def b(self): ...\n\n\nx = 1\n", encoding="utf-8")
    (tmp_path / "one.go").write_text("package one\n\nfunc f() { type T struct{} }\n", encoding="utf-8")
    done = bench("definitions", "--repo", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [(row["language"], row["ctags"], row["ours"], row["both"]) for row in result["languages"]] == [
        ("python", 2, 2, 2),
        ("go", 1, 2, 1),
    ]
    assert [(row["side"], row["count"]) for row in result["classes"]] == [("extra", 1)]
    assert result["classes"][0]["examples"].startswith("one.go:3 T:")

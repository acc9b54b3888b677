"""Headings and keys of this repository's own files, beside those that markdown-it, PyYAML, tomllib and json find."""

import shutil
from pathlib import Path

import pytest

from bench.outlines import run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("where", "language"),
    [("docs", "markdown"), ("README.md", "markdown"), ("tests/receiver/payloads", "json"), ("mkdocs.yml", "yaml")],
)
def test_headings_and_keys(where: str, language: str, tmp_path: Path) -> None:
    """None is missing and none is too much."""
    if (ROOT / where).is_dir():
        shutil.copytree(ROOT / where, tmp_path / "all")
    else:
        shutil.copy(ROOT / where, tmp_path)
    (row,) = [row for row in run(False, ["--repo", str(tmp_path)])["languages"] if row["language"] == language]
    assert row["theirs"] > 5
    assert (row["recall"], row["precision"]) == (1.0, 1.0)


def test_keys_of_toml(tmp_path: Path) -> None:
    """The same for pyproject.toml; keys of inline tables are values to us."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (row,) = run(False, ["--repo", str(tmp_path)])["languages"]
    assert row["theirs"] > 30
    assert row["recall"] >= 0.9
    assert row["precision"] == 1.0

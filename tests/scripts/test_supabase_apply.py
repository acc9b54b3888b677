"""scripts/supabase-apply-remote.sh: what reaches the Supabase CLI, and what never shows in the process list."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDER = """#!/bin/sh
[ "$3" = --help ] && { echo "  %s"; exit; }
printf 'argument %%s\\n' "$@"
printf 'password %%s\\n' "$PGPASSWORD"
env | grep -c 'hunter' | sed 's/^/mentions /'
"""


def apply(
    tmp_path: Path, *, option: str = "--remote[=<ref|branch|url>]", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with a CLI that only says what it was given."""
    cli = tmp_path / "supabase"
    cli.write_text(RECORDER % option, encoding="utf-8")
    cli.chmod(0o755)
    return subprocess.run(
        [ROOT / "scripts/supabase-apply-remote.sh", "--dry-run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("variable", ["SUPABASE_DB_URL", "DATABASE_URL"])
def test_a_password_in_the_url_goes_to_the_environment(tmp_path: Path, variable: str) -> None:
    """Arguments are public on a machine, so the URL that is passed on has no password; it arrives decoded."""
    done = apply(tmp_path, **{variable: "postgresql://postgres.ref:hunter%402@db.example:5432/postgres"})
    lines = done.stdout.splitlines()
    assert "argument --remote=postgresql://postgres.ref@db.example:5432/postgres" in lines
    assert "argument --dry-run" in lines
    assert "password hunter@2" in lines
    assert "mentions 1" in lines


def test_a_bare_url_uses_pgpassword(tmp_path: Path) -> None:
    """PGPASSWORD is passed on as it is, and older CLIs get the option they know."""
    done = apply(tmp_path, option="--db-url string", SUPABASE_DB_URL="postgres://u@h/db", PGPASSWORD="hunter 2")
    assert "argument --db-url=postgres://u@h/db" in done.stdout.splitlines()
    assert "password hunter 2" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "set SUPABASE_DB_URL"),
        ({"PGPASSWORD": "hunter2"}, "set SUPABASE_DB_URL"),
        ({"SUPABASE_DB_URL": "postgresql://u@h/db"}, "set PGPASSWORD"),
        ({"SUPABASE_DB_URL": "https://h/db", "PGPASSWORD": "hunter2"}, "must read"),
        ({"SUPABASE_DB_URL": "postgresql://h/db", "PGPASSWORD": "hunter2"}, "names no user"),
        ({"SUPABASE_DB_URL": "postgresql://u@h/db?password=hunter2"}, "process list"),
        ({"SUPABASE_DB_URL": "postgresql://u:hunter2@x@h/db"}, "must read"),
    ],
)
def test_refuses_what_it_cannot_use(tmp_path: Path, environment: dict[str, str], wanted: str) -> None:
    """A missing or unusable variable ends it before the CLI runs, in a sentence without the password."""
    done = apply(tmp_path, **environment)
    assert done.returncode == 2
    assert wanted in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert "argument" not in done.stdout

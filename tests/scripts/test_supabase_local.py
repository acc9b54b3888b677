"""scripts/supabase-reset-local.sh and -generate.sh on a plain local Postgres, with the real Supabase CLI."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.lib.database_types import find_cli
from worker.database.connect import connect
from worker.database.migrate import migrate, pending

ROOT = Path(__file__).parents[2]
CLI = find_cli()
needs_cli = pytest.mark.skipif(CLI is None, reason="no Supabase CLI: scripts/setup-test-tools installs it with npm")


def run(script: Path, *arguments: str, path: Path | None = None, **values: str) -> subprocess.CompletedProcess[str]:
    """Run a script with these variables and the CLI, or what stands for it, on PATH."""
    tools = path or (Path(CLI).parent if CLI else Path("/nowhere"))
    kept = {name: value for name, value in os.environ.items() if name not in ("PGPASSWORD", "DATABASE_URL")}
    return subprocess.run(
        [script, *arguments],
        env={**kept, "PATH": f"{tools}:{os.environ['PATH']}", **values},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A folder with a CLI that only says what it was given, and with which URLs in its environment."""
    cli = tmp_path / "supabase"
    cli.write_text('#!/bin/sh\nprintf "argument %s\\n" "$@"\nenv | grep -E "^(DATABASE|SUPABASE_DB)_URL="; true\n')
    cli.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:hunter22@db.ref.supabase.co:5432/postgres",
        "postgresql://postgres:hunter22@127.0.0.1:5432/ours?host=db.ref.supabase.co",
        "postgresql://postgres:hunter22@127.0.0.1:5432/postgres",
        "postgresql://postgres:hunter22@127.0.0.1:5432/",
    ],
)
def test_nothing_but_a_local_database_of_its_own_is_reset(recorder: Path, url: str) -> None:
    """A hosted project is out of reach, and so are the server's own databases; the password is not printed."""
    done = run(ROOT / "scripts/supabase-reset-local.sh", path=recorder, LOCAL_DATABASE_URL=url)
    assert done.returncode == 1
    assert "not this machine" in done.stderr or "name a database" in done.stderr
    assert "hunter22" not in done.stdout + done.stderr
    assert "argument" not in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "wanted"),
    [("reset-local", (), ["db", "reset"]), ("generate", ("add_labels",), ["db", "diff", "--file", "add_labels"])],
)
def test_without_a_url_it_is_the_local_stack(
    recorder: Path, script: str, arguments: tuple[str, ...], wanted: list[str]
) -> None:
    """The CLI's own local stack, and no URL of a hosted project within its reach."""
    urls = {"DATABASE_URL": "postgresql://u@hosted/db", "SUPABASE_DB_URL": "postgresql://u@hosted/db"}
    done = run(ROOT / f"scripts/supabase-{script}.sh", *arguments, path=recorder, LOCAL_DATABASE_URL="", **urls)
    assert done.stdout.splitlines() == [f"argument {word}" for word in wanted], done.stderr


@pytest.mark.parametrize("name", ["", "Add Labels", "../x", "a;b"])
def test_a_migration_needs_a_name_that_is_a_file_name(recorder: Path, name: str) -> None:
    """The name becomes a part of a path."""
    done = run(ROOT / "scripts/supabase-generate.sh", name, path=recorder)
    assert done.returncode == 2
    assert "give the migration a name" in done.stderr


@needs_cli
@pytest.mark.slow
def test_reset_makes_the_database_anew_with_the_seed(empty_database_url: str) -> None:
    """What was in it is gone, all migrations are applied, the local user is there."""
    with connect(empty_database_url, name="test") as connection:
        connection.execute("create table public.left_over (id bigint)")
    done = run(ROOT / "scripts/supabase-reset-local.sh", LOCAL_DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pending(empty_database_url) == []
    with connect(empty_database_url, name="test") as connection:
        row = connection.execute(
            "select to_regclass('public.left_over') as old, count(*) as n from auth.users"
        ).fetchone()
    assert row == {"old": None, "n": 1}


@needs_cli
@pytest.mark.slow
def test_generate_writes_what_was_changed_as_the_newest_migration(tmp_path: Path, empty_database_url: str) -> None:
    """The new file brings another database to the same schema; an unchanged database makes none; no scratch is left."""
    checkout = tmp_path / "checkout"
    for name in ("scripts", "supabase", "worker"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "scripts/setup-env").write_text("#!/bin/sh\n")
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    folder = checkout / "supabase/migrations"
    migrate(empty_database_url, folder=folder)
    before = {path.name for path in folder.iterdir()}
    generate = checkout / "scripts/supabase-generate.sh"
    unchanged = run(generate, "nothing", LOCAL_DATABASE_URL=empty_database_url)
    assert unchanged.returncode == 0, unchanged.stderr
    assert {path.name for path in folder.iterdir()} == before
    with connect(empty_database_url, name="test") as connection:
        connection.execute("alter table public.indexing_jobs add column hello text")
    done = run(generate, "add_hello", LOCAL_DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stderr
    (new,) = {path.name for path in folder.iterdir()} - before
    assert new > max(before)
    assert new.endswith("_add_hello.sql")
    assert 'ADD COLUMN "hello" text' in (folder / new).read_text()
    with connect(empty_database_url, name="test") as connection:
        left = connection.execute("select from pg_database where datname like '%scratch_for_diff'").fetchall()
    assert left == []

"""The Supabase CLI and `worker migrate` continue each other's work."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from worker.database.connect import connect
from worker.database.migrate import migrate, pending
from worker.database.migration_files import migrations_folder

CLI = os.environ.get("SUPABASE_CLI") or shutil.which("supabase")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CLI is None, reason="no Supabase CLI on PATH (npm install supabase) nor in SUPABASE_CLI"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this repository's supabase/ folder, without migrations."""
    shutil.copytree(
        migrations_folder().parent, tmp_path / "supabase", ignore=shutil.ignore_patterns("*_*.sql", ".temp")
    )
    return tmp_path


def take(project: Path, count: int | None) -> Path:
    """Give the project the first so many of our migrations, in order."""
    folder = project / "supabase" / "migrations"
    for path in sorted(migrations_folder().glob("*.sql"))[:count]:
        shutil.copy(path, folder)
    return folder


def push(project: Path, url: str) -> str:
    """Run `supabase db push`, seed included."""
    assert CLI is not None
    done = subprocess.run(
        [CLI, "db", "push", f"--remote={url}", "--yes", "--include-seed", f"--workdir={project}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_cli_and_we_take_turns(project: Path, empty_database_url: str) -> None:
    """CLI, we, CLI, we: each applies only what is new, and the CLI's own files are adopted with a checksum."""
    take(project, 3)
    push(project, empty_database_url)
    folder = take(project, 5)
    assert migrate(empty_database_url, folder=folder) == [path.name for path in sorted(folder.glob("*.sql"))[3:]]
    take(project, None)
    said = push(project, empty_database_url)
    assert "queue_verbs" in said
    assert "accounts" not in said
    assert pending(empty_database_url) == migrate(empty_database_url) == []
    with connect(empty_database_url, name="test") as connection:
        rows = connection.execute(
            """select m.version from supabase_migrations.schema_migrations m
               join supabase_migrations.indexing_worker_files f using (version, name)
               where m.statements is not null"""
        ).fetchall()
    assert len(rows) == len(list(migrations_folder().glob("*.sql")))


def test_the_seed_is_applied_twice_without_harm(project: Path, empty_database_url: str) -> None:
    """Seeding is safe to repeat, and makes the local user."""
    take(project, None)
    push(project, empty_database_url)
    with connect(empty_database_url, name="test") as connection:
        connection.execute("truncate supabase_migrations.seed_files")
    push(project, empty_database_url)
    with connect(empty_database_url, name="test") as connection:
        assert len(connection.execute("select from auth.users").fetchall()) == 1

"""The Supabase CLI and `worker migrate` continue each other's work, beside other projects too."""

import os
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from scripts.lib.database_types import find_cli
from worker.database.connect import connect
from worker.database.migrate import migrate, pending
from worker.database.migration_files import migrations_folder

ROOT = Path(__file__).parents[2]
CLI = find_cli()
THEIRS = [("20240101000000", "theirs"), ("20991231235959", "their newest"), ("1234", None)]

pytestmark = pytest.mark.skipif(CLI is None, reason="no Supabase CLI: scripts/setup-test-tools installs it with npm")


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_seed_is_applied_twice_without_harm(project: Path, empty_database_url: str) -> None:
    """Seeding is safe to repeat, and makes the local user."""
    take(project, None)
    push(project, empty_database_url)
    with connect(empty_database_url, name="test") as connection:
        connection.execute("truncate supabase_migrations.seed_files")
    push(project, empty_database_url)
    with connect(empty_database_url, name="test") as connection:
        assert len(connection.execute("select from auth.users").fetchall()) == 1


def environment(**values: str) -> dict[str, str]:
    """Ours with the CLI on PATH, and none of the variables that the scripts read."""
    assert CLI is not None
    kept = {name: value for name, value in os.environ.items() if name not in ("PGPASSWORD", "DATABASE_URL")}
    return {**kept, "PATH": f"{Path(CLI).parent}:{os.environ['PATH']}", **values}


def with_foreign_history(url: str) -> None:
    """A database that another project keeps its own migrations in, older and newer than ours."""
    with connect(url, name="test") as connection:
        connection.execute("create schema supabase_migrations")
        connection.execute(
            "create table supabase_migrations.schema_migrations"
            " (version text primary key, statements text[], name text)"
        )
        connection.cursor().executemany(
            "insert into supabase_migrations.schema_migrations values (%s, null, %s)", THEIRS
        )


def history(url: str) -> dict[str, str | None]:
    """Version and name of what is applied."""
    with connect(url, name="test") as connection:
        rows = connection.execute("select version, name from supabase_migrations.schema_migrations").fetchall()
    return {row["version"]: row["name"] for row in rows}


def seen_with(secret: str, stop: threading.Event) -> list[str]:
    """Command lines and outside environments aside, every process argument that showed this secret until `stop`."""
    found: list[str] = []
    while not stop.wait(0.01):
        for process in psutil.process_iter():
            try:
                found += [word for word in process.cmdline() if secret in word]
            except psutil.Error:
                continue
    return found


def test_the_apply_script_keeps_others_history_and_its_password_to_itself(empty_database_url: str) -> None:
    """Beside another project's migrations ours are applied, and no process list shows the password."""
    with_foreign_history(empty_database_url)
    password = urlsplit(empty_database_url).password
    assert password
    stop, shown = threading.Event(), list[str]()
    watcher = threading.Thread(target=lambda: shown.extend(seen_with(password, stop)))
    watcher.start()
    try:
        done = subprocess.run(
            [ROOT / "scripts/supabase-apply-remote.sh"],
            env=environment(SUPABASE_DB_URL=empty_database_url),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        stop.set()
        watcher.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert password not in done.stdout + done.stderr
    assert shown == []
    applied = history(empty_database_url)
    assert applied.items() >= dict(THEIRS).items()
    assert len(applied) == len(THEIRS) + len(list(migrations_folder().glob("*.sql")))
    assert pending(empty_database_url) == migrate(empty_database_url) == []


@pytest.mark.slow
def test_the_cli_continues_worker_migrate_beside_others(tmp_path: Path, empty_database_url: str) -> None:
    """We first, then the CLI with one more file of ours: it applies that alone."""
    with_foreign_history(empty_database_url)
    names = migrate(empty_database_url)
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    shutil.copytree(ROOT / "supabase", checkout / "supabase")
    later = checkout / "supabase/migrations/20981231000000_later.sql"
    later.write_text("create table public.later (id bigint primary key);\n")
    done = subprocess.run(
        [checkout / "scripts/supabase-apply-remote.sh"],
        env=environment(SUPABASE_DB_URL=empty_database_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20981231000000_later" in done.stdout + done.stderr
    assert names[-1] not in done.stdout + done.stderr
    assert history(empty_database_url).items() >= dict(THEIRS).items()
    assert migrate(empty_database_url, folder=checkout / "supabase/migrations") == []

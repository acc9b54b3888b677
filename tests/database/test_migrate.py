"""Migrations: applied once, in order, in the history the Supabase CLI reads."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from worker.database.connect import connect
from worker.database.migrate import migrate, pending
from worker.database.migration_files import migrations_folder, read_folder
from worker.errors import DatabaseUnavailable, MigrationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two small migrations."""
    (tmp_path / "20260101000000_one.sql").write_text("create table one (a int);\ninsert into one values (1);\n")
    (tmp_path / "20260102000000_two.sql").write_text("create table two (a int);\n")
    return tmp_path


def rows(url: str, query: str) -> list[dict[str, Any]]:
    """What a query gives."""
    with connect(url, name="test") as connection:
        return connection.execute(query.encode()).fetchall()


def test_every_file_is_applied_once_in_order(empty_database_url: str, folder: Path) -> None:
    """The first call applies all, the second none; the history holds version, name and statements."""
    names = ["20260101000000_one.sql", "20260102000000_two.sql"]
    assert pending(empty_database_url, folder=folder) == names
    assert migrate(empty_database_url, folder=folder) == names
    assert migrate(empty_database_url, folder=folder) == pending(empty_database_url, folder=folder) == []
    history = rows(empty_database_url, "select * from supabase_migrations.schema_migrations order by version")
    assert [(row["version"], row["name"]) for row in history] == [("20260101000000", "one"), ("20260102000000", "two")]
    assert history[1]["statements"] == ["create table two (a int);\n"]
    assert rows(empty_database_url, "select a from one") == [{"a": 1}]


def test_our_own_files_are_found_and_well_named() -> None:
    """The folder of this checkout has migrations, each with 14 digits."""
    assert len(read_folder(migrations_folder())) >= 8


def test_looking_changes_nothing(empty_database_url: str, folder: Path) -> None:
    """`pending` makes no table."""
    pending(empty_database_url, folder=folder)
    assert rows(empty_database_url, "select from pg_namespace where nspname = 'supabase_migrations'") == []


def test_an_edited_file_is_refused(empty_database_url: str, folder: Path) -> None:
    """A file that changed after it was applied stops everything, and its name is told."""
    migrate(empty_database_url, folder=folder)
    (folder / "20260101000000_one.sql").write_text("create table one (b int);")
    (folder / "20260103000000_three.sql").write_text("create table three ();")
    for look in (migrate, pending):
        with pytest.raises(MigrationError, match=r"one\.sql was edited") as refused:
            look(empty_database_url, folder=folder)
    assert "new migration" in str(refused.value.hint)
    assert rows(empty_database_url, "select to_regclass('three') as there") == [{"there": None}]


def test_other_line_ends_are_no_edit(empty_database_url: str, folder: Path) -> None:
    """Git may write CRLF into a work tree."""
    migrate(empty_database_url, folder=folder)
    path = folder / "20260101000000_one.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(empty_database_url, folder=folder) == []


def test_a_file_older_than_an_applied_one_is_refused(empty_database_url: str, folder: Path) -> None:
    """A file that came late from a branch must get a new version."""
    migrate(empty_database_url, folder=folder)
    (folder / "20260101120000_late.sql").write_text("select 1")
    with pytest.raises(MigrationError, match=r"late\.sql is not applied, but the newer 20260102000000 is"):
        migrate(empty_database_url, folder=folder)


def test_versions_of_other_projects_are_left_alone(empty_database_url: str, folder: Path) -> None:
    """Older and newer ones than ours, and ones in another format, do not disturb."""
    with connect(empty_database_url, name="test") as connection:
        connection.execute("create schema supabase_migrations")
        connection.execute("create table supabase_migrations.schema_migrations (version text primary key)")
        connection.execute("insert into supabase_migrations.schema_migrations values ('1'), ('20990101000000')")
    assert len(migrate(empty_database_url, folder=folder)) == 2
    assert len(rows(empty_database_url, "select from supabase_migrations.schema_migrations")) == 4


def test_another_projects_file_of_the_same_version_is_not_taken_for_ours(empty_database_url: str, folder: Path) -> None:
    """Same digits, other name: refused instead of skipped."""
    migrate(empty_database_url, folder=folder)
    with connect(empty_database_url, name="test") as connection:
        connection.execute("delete from supabase_migrations.indexing_worker_files")
        connection.execute("update supabase_migrations.schema_migrations set name = 'theirs' where name = 'two'")
    with pytest.raises(MigrationError, match="named 'theirs'; ours is 20260102000000_two"):
        migrate(empty_database_url, folder=folder)


def test_a_file_the_cli_applied_is_adopted(empty_database_url: str, folder: Path) -> None:
    """It is not applied again, and from then on an edit of it is noticed."""
    migrate(empty_database_url, folder=folder)
    with connect(empty_database_url, name="test") as connection:
        connection.execute("drop table supabase_migrations.indexing_worker_files")
    assert pending(empty_database_url, folder=folder) == migrate(empty_database_url, folder=folder) == []
    (folder / "20260102000000_two.sql").write_text("create table two (b int);")
    with pytest.raises(MigrationError, match="edited"):
        migrate(empty_database_url, folder=folder)


def test_a_failing_file_is_named_and_what_came_before_stays(empty_database_url: str, folder: Path) -> None:
    """File and line are told, its own statements are undone, and a mended file goes on from there."""
    broken = folder / "20260102000000_two.sql"
    broken.write_text("create table two (a int);\n\nselect *\nfrom nowhere;\n")
    with pytest.raises(MigrationError, match=r'two\.sql, line 4 \(from nowhere;\) failed: relation "nowhere"'):
        migrate(empty_database_url, folder=folder)
    assert pending(empty_database_url, folder=folder) == [broken.name]
    broken.write_text("create table two (a int);")
    assert migrate(empty_database_url, folder=folder) == [broken.name]


def test_an_error_inside_a_block_tells_where(empty_database_url: str, folder: Path) -> None:
    """Code in a DO block has no position in the file; its context is told instead."""
    (folder / "20260102000000_two.sql").write_text("do $$ begin\n  raise exception 'no luck';\nend $$;")
    with pytest.raises(MigrationError, match=r"two\.sql \(PL/pgSQL.* line 2.*\) failed: no luck"):
        migrate(empty_database_url, folder=folder)


def test_a_half_migrated_database_goes_on(empty_database_url: str, tmp_path: Path) -> None:
    """A database of an older release gets the files it lacks, of the real ones."""
    older = tmp_path / "older"
    older.mkdir()
    for file in read_folder(migrations_folder())[:4]:
        shutil.copy(file.path, older)
    assert len(migrate(empty_database_url, folder=older)) == 4
    rest = [file.path.name for file in read_folder(migrations_folder())[4:]]
    assert migrate(empty_database_url) == rest


def test_an_older_release_accepts_a_newer_database(database_url: str, tmp_path: Path) -> None:
    """While a deploy rolls, old programs meet a database with files they do not have."""
    for file in read_folder(migrations_folder())[:4]:
        shutil.copy(file.path, tmp_path)
    assert migrate(database_url, folder=tmp_path) == []


def test_any_number_may_migrate_at_once(empty_database_url: str) -> None:
    """Three at once: every file is applied exactly once and nobody fails."""
    gate = threading.Barrier(3)

    def apply() -> list[str]:
        gate.wait()
        return migrate(empty_database_url)

    with ThreadPoolExecutor(3) as callers:
        answers = [callers.submit(apply) for _ in range(3)]
    applied = [name for answer in answers for name in answer.result()]
    assert sorted(applied) == [file.path.name for file in read_folder(migrations_folder())]


@pytest.mark.parametrize("name", ["2026_short.sql", "one.sql", "20260101000000-dash.sql", "202601010000001_long.sql"])
def test_a_name_the_cli_would_not_take_is_refused(folder: Path, name: str) -> None:
    """Versions compare as strings, so each must have 14 digits."""
    (folder / name).touch()
    with pytest.raises(MigrationError, match="no name of a migration"):
        read_folder(folder)


def test_two_files_of_one_version_are_refused(folder: Path) -> None:
    """The history has one row a version."""
    (folder / "20260101000000_uno.sql").touch()
    with pytest.raises(MigrationError, match="same version"):
        read_folder(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """A package without migrations must not pass for a migrated database."""
    with pytest.raises(MigrationError, match="no migrations"):
        read_folder(tmp_path)


def test_a_busy_table_is_not_waited_for_without_end(empty_database_url: str, folder: Path) -> None:
    """A lock time-out in a file is told as such, with the advice to try again."""
    (folder / "20260102000000_two.sql").write_text("set local lock_timeout = '50ms'; alter table one add b int;")
    (folder / "20260101000000_one.sql").write_text("create table if not exists one (a int);")
    with psycopg.connect(empty_database_url) as other:
        other.execute("create table one (a int)")
        other.commit()
        other.execute("lock table one in access share mode")
        with pytest.raises(MigrationError, match="lock timeout") as failure:
            migrate(empty_database_url, folder=folder)
    assert "busy" in str(failure.value.hint)


def test_a_server_that_goes_away_is_told(empty_database_url: str, folder: Path) -> None:
    """A lost connection is no fault of the file."""
    (folder / "20260102000000_two.sql").write_text("select pg_terminate_backend(pg_backend_pid());")
    with pytest.raises(DatabaseUnavailable, match="during the migration"):
        migrate(empty_database_url, folder=folder)
    assert pending(empty_database_url, folder=folder) == ["20260102000000_two.sql"]


def test_missing_rights_are_told_with_a_way_out(database_url: str, tmp_path: Path) -> None:
    """Not every owner of a database may create the API roles; the hint says who must, and which."""
    (tmp_path / "20991231000000_roles.sql").write_text("set local role anon; create role somebody;")
    with pytest.raises(MigrationError, match="permission denied to create role") as failure:
        migrate(database_url, folder=tmp_path)
    assert "service_role" in str(failure.value.hint)

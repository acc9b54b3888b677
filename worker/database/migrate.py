"""Applies the migrations, in the Supabase CLI's own history table, so that either tool continues the other's work.

Every file is one transaction, which takes an advisory lock and looks at the history anew: any number of processes may
migrate at once, through a transaction-mode pooler too. A table of our own keeps a checksum of each file of ours; the
history may hold versions of other projects, and files of ours that the CLI applied, which are adopted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from worker.database.connect import connect
from worker.database.migration_files import MigrationFile, migrations_folder, read_folder
from worker.errors import DatabaseUnavailable, MigrationError

_LOCK = "select pg_advisory_xact_lock(4716238120061121)"  # any number that nobody else uses

# The CLI's statements, word for word in effect; then the table of our own.
_TABLES = (
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.schema_migrations (version text not null primary key)",
    "alter table supabase_migrations.schema_migrations add column if not exists statements text[]",
    "alter table supabase_migrations.schema_migrations add column if not exists name text",
    """create table if not exists supabase_migrations.indexing_worker_files (
        version text not null primary key, name text not null, sha256 text not null,
        applied_at timestamptz not null default now())""",
    "revoke all on supabase_migrations.indexing_worker_files from public",
)
_REMEMBER = """
    insert into supabase_migrations.indexing_worker_files (version, name, sha256) values (%s, %s, %s)
    on conflict (version) do update set name = excluded.name, sha256 = excluded.sha256, applied_at = now()"""
_ADD_TO_HISTORY = "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)"

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _History:
    applied: dict[str, str | None]
    checksums: dict[str, str]


def migrate(url: str, *, folder: Path | None = None) -> list[str]:
    """Apply every file that is not applied yet and answer their names; nothing to do is an empty list.

    Raises MigrationError for files that do not fit the database's history, and for one that fails; what was applied
    before it stays.
    """
    files = read_folder(folder or migrations_folder())
    applied: list[str] = []
    with connect(url, name="worker migrate") as connection:
        try:
            _create_tables(connection)
            while (file := _apply_next(connection, files)) is not None:
                applied.append(file.path.name)
        except psycopg.Error as failure:
            raise _unfinished(connection, failure) from failure
    return applied


def pending(url: str, *, folder: Path | None = None) -> list[str]:
    """The files `migrate` would apply now, after the same checks; changes nothing."""
    files = read_folder(folder or migrations_folder())
    with connect(url, name="worker migrate") as connection:
        history = _read_history(connection)
    _check(files, history)
    return [file.path.name for file in files if file.version not in history.applied]


def _create_tables(connection: Connection) -> None:
    if _has_tables(connection):  # a role that may use them need not be one that may create them
        return
    with connection.transaction():
        connection.execute(_LOCK)
        for statement in _TABLES:
            connection.execute(statement)


def _apply_next(connection: Connection, files: list[MigrationFile]) -> MigrationFile | None:
    with connection.transaction():
        connection.execute(_LOCK)
        history = _read_history(connection)
        _check(files, history)
        _adopt(connection, files, history)
        file = next((file for file in files if file.version not in history.applied), None)
        if file is not None:
            _apply(connection, file)
    return file


def _apply(connection: Connection, file: MigrationFile) -> None:
    # Hosted databases limit statements; and a change that waits for a busy table would block all who come after it.
    connection.execute("set local statement_timeout = 0")
    connection.execute("set local lock_timeout = '10s'")
    try:
        connection.execute(file.text.encode())
    except psycopg.Error as failure:
        if connection.broken:
            raise
        raise MigrationError(
            f"{file.path.name}{_line_of(failure, file.text)} failed: {failure.diag.message_primary or failure}",
            hint=_advice(failure),
        ) from failure
    connection.execute(_ADD_TO_HISTORY, (file.version, file.name, [file.text]))
    connection.execute(_REMEMBER, (file.version, file.name, file.sha256))


def _has_tables(connection: Connection) -> bool:
    return _exists(connection, "schema_migrations") and _exists(connection, "indexing_worker_files")


def _exists(connection: Connection, table: str) -> bool:
    found = connection.execute(
        """select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                          where n.nspname = 'supabase_migrations' and c.relname = %s) as there""",
        (table,),
    ).fetchone()
    return bool(found and found["there"])


def _read_history(connection: Connection) -> _History:
    applied: dict[str, str | None] = {}
    checksums: dict[str, str] = {}
    if _exists(connection, "schema_migrations"):
        # The oldest Supabase CLIs kept no name.
        rows = connection.execute(
            "select version, to_jsonb(m) ->> 'name' as name from supabase_migrations.schema_migrations m"
        )
        applied = {row["version"]: row["name"] for row in rows}
    if _exists(connection, "indexing_worker_files"):
        rows = connection.execute("select version, sha256 from supabase_migrations.indexing_worker_files")
        checksums = {row["version"]: row["sha256"] for row in rows}
    return _History(applied, checksums)


def _check(files: list[MigrationFile], history: _History) -> None:
    newest = max((file.version for file in files if file.version in history.applied), default="")
    for file in files:
        if file.version not in history.applied:
            _refuse_out_of_order(file, newest)
            continue
        known_as = history.applied[file.version]
        if known_as not in (None, "", file.name):
            raise MigrationError(
                f"The database has a migration {file.version} named {known_as!r}; ours is {file.path.name}.",
                hint="Another project in this database uses the same version; give this program a database of its own.",
            )
        if history.checksums.get(file.version, file.sha256) != file.sha256:
            raise MigrationError(
                f"{file.path.name} was edited after it was applied to this database.",
                hint="Bring the file back as it was, and put the change into a new migration.",
            )


def _refuse_out_of_order(file: MigrationFile, newest: str) -> None:
    if file.version < newest:
        raise MigrationError(
            f"{file.path.name} is not applied, but the newer {newest} is.",
            hint="Rename it so that its version is the newest, and migrate again.",
        )


def _adopt(connection: Connection, files: list[MigrationFile], history: _History) -> None:
    for file in files:
        if file.version in history.applied and file.version not in history.checksums:
            connection.execute(_REMEMBER, (file.version, file.name, file.sha256))


def _line_of(failure: psycopg.Error, text: str) -> str:
    position = failure.diag.statement_position
    if position is None:
        context = failure.diag.context
        return f" ({context.splitlines()[0]})" if context else ""
    line = text.count("\n", 0, int(position) - 1) + 1
    return f", line {line} ({text.splitlines()[line - 1].strip()})"


def _advice(failure: psycopg.Error) -> str:
    if isinstance(failure, psycopg.errors.LockNotAvailable):
        return "A table was busy for too long; earlier files stay applied. Run `worker migrate` again."
    if isinstance(failure, psycopg.errors.InsufficientPrivilege):
        return (
            "Migrate as the database's owner (on Supabase: the user postgres). On a Postgres of your own a superuser "
            "must first create the roles anon, authenticated and service_role, the last with bypassrls."
        )
    return "Earlier files stay applied, this one left nothing behind. Mend the cause and run `worker migrate` again."


def _unfinished(connection: Connection, failure: psycopg.Error) -> DatabaseUnavailable | MigrationError:
    if connection.broken:
        return DatabaseUnavailable("Postgres went away during the migration.", hint="Run `worker migrate` again.")
    return MigrationError(
        f"The history of migrations cannot be kept: {failure.diag.message_primary or failure}", hint=_advice(failure)
    )

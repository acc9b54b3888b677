"""The condition of a Postgres: indexes, dead rows, old transactions, clock, connections, and whether it calls."""

import re
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from worker.database.connect import connect
from worker.database.migration_files import migrations_folder, read_folder

Connection = psycopg.Connection[dict[str, Any]]
SCHEMAS = ["public", "queue", "idx"]
SECONDS_FOR_A_CALL = 3.0

_INDEXES = """
select i.relname as name, x.indisvalid as valid
from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
where n.nspname = any (%s)"""
# A few thousand dead rows are every busy table's; what matters is more dead than alive, as vacuum leaves it.
_BLOATED = """
select schemaname || '.' || relname as name, n_live_tup as live, n_dead_tup as dead
from pg_stat_user_tables
where schemaname = any (%s) and n_dead_tup > 20000 and n_dead_tup > 2 * n_live_tup order by n_dead_tup desc"""
_OLD = """
select pid, coalesce(application_name, '') as name, state,
       extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
from pg_stat_activity
where datname = current_database() and xact_start < clock_timestamp() - make_interval(secs => %s)
  and backend_type = 'client backend' order by xact_start limit 20"""
_USED = """
select (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
       current_setting('max_connections')::integer as most"""
_CREATED = re.compile(
    r"^\s*create\s+(?:unique\s+)?index\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?(?:\w+\.)?(\w+)\s+on\s+"
    r"|^\s*drop\s+index\s+(?:concurrently\s+)?(?:if\s+exists\s+)?(?:\w+\.)?(\w+)"
    r"|^\s*alter\s+index\s+(?:if\s+exists\s+)?(?:\w+\.)?(\w+)\s+rename\s+to\s+(\w+)",
    re.I | re.M,
)


class Indexes(NamedTuple):
    """Names of indexes that are not there, or that Postgres does not use because building them failed."""

    missing: list[str]
    invalid: list[str]


class Bloat(NamedTuple):
    """A table with far more dead rows than living ones."""

    name: str
    live: int
    dead: int


class Old(NamedTuple):
    """A transaction that has been open for long: vacuum cannot clean behind it."""

    pid: int
    name: str
    state: str
    seconds: float


def indexes(connection: Connection, *, folder: Path | None = None) -> Indexes:
    """What the migrations created, against what is there."""
    there = {row["name"]: row["valid"] for row in connection.execute(_INDEXES, (SCHEMAS,)).fetchall()}
    wanted = indexes_of(folder or migrations_folder())
    return Indexes(sorted(wanted - there.keys()), sorted(name for name, valid in there.items() if not valid))


def indexes_of(folder: Path) -> set[str]:
    """Names of the indexes that all migrations together leave behind, constraints' own not among them."""
    names: set[str] = set()
    for file in read_folder(folder):
        for made, dropped, before, after in _CREATED.findall(file.path.read_text("utf-8")):
            names -= {dropped, before}
            names |= {name for name in (made, after) if name}
    return names


def bloated(connection: Connection) -> list[Bloat]:
    """Tables that vacuum does not keep up with, the worst first."""
    return [Bloat(**row) for row in connection.execute(_BLOATED, (SCHEMAS,)).fetchall()]


def old_transactions(connection: Connection, *, seconds: float) -> list[Old]:
    """Transactions older than this, the oldest first; of other roles only what we may see."""
    return [Old(**row) for row in connection.execute(_OLD, (seconds,)).fetchall()]


def connections_used(connection: Connection) -> tuple[int, int]:
    """Client connections of the whole server, and the most it takes."""
    row = connection.execute(_USED).fetchone()
    assert row is not None
    return row["used"], row["most"]


def clock_skew(connection: Connection) -> float:
    """Seconds by which this machine's clock is ahead of the database's, the way there and back halved out."""
    asked = datetime.now(UTC)
    row = connection.execute("select clock_timestamp() as now").fetchone()
    answered = datetime.now(UTC)
    assert row is not None
    return (asked + (answered - asked) / 2 - row["now"]).total_seconds()


def calls_arrive(listen_url: str, connection: Connection) -> bool:
    """Whether a notification sent over `connection` reaches a listener at the other URL.

    Raises DatabaseUnavailable when that URL does not answer.
    """
    channel = f"doctor_{uuid.uuid4().hex}"
    with connect(listen_url, name="worker doctor") as listening:
        listening.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        deadline = time.monotonic() + SECONDS_FOR_A_CALL
        while (left := deadline - time.monotonic()) > 0:
            connection.execute("select pg_notify(%s, '')", (channel,))
            if list(listening.notifies(timeout=min(left, 0.5), stop_after=1)):
                return True
        return False

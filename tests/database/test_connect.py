"""Connections: one way in, safe behind a pooler, and silent about the password."""

import asyncio
import socket
from typing import Any

import psycopg
import pytest

from worker.database.connect import connect, connect_async
from worker.database.pool import make_pool
from worker.errors import DatabaseUnavailable


def test_a_connection_is_fit_for_a_pooler(database_url: str) -> None:
    """Autocommit, no prepared statements, rows as dicts, and a name to find it by."""
    with connect(database_url, name="worker test") as connection:
        assert connection.autocommit
        assert connection.prepare_threshold is None
        row = connection.execute("select current_setting('application_name') as name").fetchone()
    assert row == {"name": "worker test"}


def test_the_async_one_is_the_same(database_url: str) -> None:
    """As `connect`."""

    async def look() -> tuple[Any, ...]:
        async with await connect_async(database_url, name="worker test") as connection:
            found = await connection.execute("select current_setting('application_name') as name")
            return connection.autocommit, connection.prepare_threshold, await found.fetchone()

    assert asyncio.run(look()) == (True, None, {"name": "worker test"})


PASSWORD = "p4ss-Word_x"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/db", "127.0.0.1:1/db does not answer: connection refused"),
        (f"postgresql://me:{PASSWORD}@nowhere.invalid/db", "nowhere.invalid:5432/db does not answer"),
        (f"postgresql://me:{PASSWORD}%zz@127.0.0.1/db", "cannot be understood"),
        (f"postgresql://me:x@{PASSWORD}@127.0.0.1:1/db", "cannot be understood"),
        (f"postgresql://me:x/{PASSWORD}@127.0.0.1:1/db", "cannot be understood"),
        (f"postgresql://me:x?{PASSWORD}@127.0.0.1:1/db", "cannot be understood"),
        (f"postgresql://me:x#{PASSWORD}@127.0.0.1:1/db", "cannot be understood"),
        (f"postgresql://me:{PASSWORD}@127.0.0.1:port/db", "cannot be understood"),
        (f"postgresql://127.0.0.1:1/db?user=me&password={PASSWORD}", "127.0.0.1:1/db does not answer"),
        (f"postgresql://127.0.0.1:1/{PASSWORD}?user=me&password={PASSWORD}", "127.0.0.1:1/*** does not answer"),
    ],
)
def test_no_error_tells_the_password(url: str, says: str) -> None:
    """Not in the sentence, the hint or the causes, however the URL is broken."""
    with pytest.raises(DatabaseUnavailable) as sync_failure:
        connect(url, name="test", timeout=2)
    with pytest.raises(DatabaseUnavailable) as async_failure:
        asyncio.run(_open_and_close(url))
    for failure in (sync_failure.value, async_failure.value):
        assert says in str(failure)
        assert PASSWORD not in f"{failure} {failure.hint}"
        assert failure.__suppress_context__
        assert failure.__cause__ is None


async def _open_and_close(url: str) -> None:
    await (await connect_async(url, name="test", timeout=2)).close()


def test_the_servers_own_reason_is_told(server_url: str) -> None:
    """A missing database, full connections, an unknown tenant of a pooler: the server says it best."""
    with pytest.raises(DatabaseUnavailable, match='database "no_such_database" does not exist'):
        connect(server_url.rsplit("/", 1)[0] + "/no_such_database", name="test")


def test_a_server_that_never_answers_is_given_up() -> None:
    """A port that takes the connection and then is silent costs no more than the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/db"
        with pytest.raises(DatabaseUnavailable, match="timeout"):
            connect(url, name="test", timeout=2)


def test_a_pool_lends_no_dead_connection(database_url: str, db: psycopg.Connection[dict[str, Any]]) -> None:
    """When Postgres has dropped a pooled connection, the next user gets a new one."""

    async def use_drop_use() -> list[Any]:
        seen: list[Any] = []
        async with make_pool(database_url, size=2, name="pool test") as pool:
            for _ in range(2):
                async with pool.connection() as connection:
                    found = await connection.execute("select current_setting('application_name') as name")
                    seen.append(await found.fetchone())
                db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pool test'"
                )
        return seen

    assert asyncio.run(use_drop_use()) == [{"name": "pool test"}] * 2

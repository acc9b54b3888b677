"""Connections that a pool lends: tried before they are lent, and what one pipeline on them means to Postgres."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.errors import QueryCanceled, UniqueViolation

from tests.fixtures.workers import eventually
from worker.database import pool as pools
from worker.database.connect import connect_async
from worker.database.pool import Connection, make_pool

Database = psycopg.Connection[dict[str, Any]]


async def _pid(connection: Connection) -> int:
    row = await (await connection.execute("select pg_backend_pid() as pid")).fetchone()
    assert row is not None
    return row["pid"]


@pytest.mark.parametrize("trust", [0, 60])
def test_promise_11_a_connection_that_the_server_closed_is_not_lent(
    database_url: str, db: Database, trust: float
) -> None:
    """Also where connections are trusted for a while: that the server has gone is seen without asking it."""

    def is_gone(pid: int) -> bool:
        row = db.execute("select count(*) as n from pg_stat_activity where pid = %s", (pid,)).fetchone()
        return row == {"n": 0}

    async def borrow_twice() -> None:
        async with make_pool(database_url, size=1, name="test", trust=trust) as pool:
            async with pool.connection() as connection:
                first = await _pid(connection)
            db.execute("select pg_terminate_backend(%s)", (first,))
            eventually(lambda: is_gone(first))
            async with pool.connection(timeout=20) as connection:
                assert await _pid(connection) != first

    asyncio.run(borrow_twice())


@pytest.mark.parametrize(("trust", "tries"), [(0, 5), (600, 1)])
def test_a_connection_is_tried_as_often_as_it_is_not_trusted(
    database_url: str, monkeypatch: pytest.MonkeyPatch, trust: float, tries: int
) -> None:
    """A try is a round trip: under load it would be one more for each batch of deliveries."""
    tried: list[Connection] = []
    really: Callable[[Connection], Any] = getattr(pools, "_try")  # noqa: B009

    async def count(connection: Connection) -> None:
        tried.append(connection)
        await really(connection)

    monkeypatch.setattr(pools, "_try", count)

    async def borrow() -> None:
        async with make_pool(database_url, size=1, name="test", trust=trust) as pool:
            for _ in range(5):
                async with pool.connection() as connection:
                    await _pid(connection)

    asyncio.run(borrow())
    assert len(tried) == tries


@pytest.mark.parametrize("is_pooled", [False, True])
def test_what_one_pipeline_holds_is_one_transaction(
    database_url: str, db: Database, pgbouncer: Callable[..., str], *, is_pooled: bool
) -> None:
    """All of it or nothing is committed, and limits that are set in it hold for it alone; behind a pooler too."""
    url = pgbouncer(database_url, mode="transaction", pool_size=1) if is_pooled else database_url
    db.execute("create table public.held (n integer primary key)")
    limit = "select set_config('statement_timeout', '200', true)"

    async def send(*statements: Any) -> str:
        async with await connect_async(url, name="test") as connection:
            try:
                async with connection.pipeline():
                    for statement in statements:
                        await connection.execute(statement)
            finally:
                row = await (await connection.execute("select current_setting('statement_timeout') as now")).fetchone()
                assert row is not None
                assert row["now"] != "200ms"
        return "committed"

    insert = "insert into public.held values (1)"
    with pytest.raises(UniqueViolation):
        asyncio.run(send(limit, insert, insert))
    with pytest.raises(QueryCanceled):
        asyncio.run(send(limit, insert, "select pg_sleep(60)"))
    assert db.execute("select n from public.held").fetchall() == []
    assert asyncio.run(send(limit, insert)) == "committed"
    assert db.execute("select n from public.held").fetchall() == [{"n": 1}]

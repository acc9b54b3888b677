"""A connection whose answer stays out is cut: nobody waits for ever on a half-open one."""

import asyncio
import time

import psycopg
import pytest

from worker.database import patience
from worker.database.connect import connect, connect_async
from worker.database.pool import make_pool
from worker.database.session import Session


def test_a_frozen_connection_ends_with_an_error_within_its_patience(proxy):
    """The waiting thread gets an operational error, not silence."""
    with connect(proxy.url, name="test", patience=1) as connection:
        connection.execute("select 1")
        proxy.freeze()
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 2")
        assert time.monotonic() - started < 20


def test_a_frozen_connection_of_the_loop_ends_too_and_the_loop_goes_on(proxy):
    """As above, for asyncio; other tasks are not held up meanwhile."""

    async def story():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with await connect_async(proxy.url, name="test", patience=1) as connection:
            await connection.execute("select 1")
            await asyncio.to_thread(proxy.freeze)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("select 2")
        ticking.cancel()
        assert ticks >= 5

    asyncio.run(story())


def test_a_slow_answer_within_patience_is_waited_for(database_url):
    """Patience is for silence of the network, not for honest work."""
    with connect(database_url, name="test", patience=5) as connection:
        assert connection.execute("select pg_sleep(1), 7 as n").fetchone() == {"pg_sleep": "", "n": 7}
    assert patience.deadlines == {}


def test_a_pool_recovers_from_frozen_connections(proxy, monkeypatch):
    """Cut connections are replaced by the pool; the next user gets a live one."""
    monkeypatch.setattr(patience.AsyncConnection, "patience", 1)

    async def story():
        async with make_pool(proxy.url, size=2, name="test") as pool:
            async with pool.connection() as connection:
                await connection.execute("select 1")
            await asyncio.to_thread(proxy.freeze)
            with pytest.raises(psycopg.OperationalError):
                async with pool.connection() as connection:
                    await connection.execute("select 2")
            await asyncio.to_thread(proxy.thaw)
            await asyncio.to_thread(proxy.cut)
            async with asyncio.timeout(30):
                while True:
                    try:
                        async with pool.connection() as connection:
                            await connection.execute("select 3")
                        return
                    except psycopg.OperationalError:
                        await asyncio.sleep(0.1)

    asyncio.run(story())


def test_a_session_replaces_its_broken_connection(database_url, db):
    """The one who meets the break sees it; the next one gets a new connection."""

    async def story():
        session = Session(database_url, name="test session", patience=5)
        async with session.connection() as connection:
            await connection.execute("select 1")
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'test session'"
        )
        with pytest.raises(psycopg.OperationalError):
            async with session.connection() as connection:
                await connection.execute("select 2")
        async with session.connection() as connection:
            await connection.execute("select 3")
        await session.close()

    asyncio.run(story())

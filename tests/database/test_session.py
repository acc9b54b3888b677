"""A connection kept for one part of the program: prepared statements only where the session is known to be real."""

import asyncio

import pytest

from worker.database.session import Session
from worker.errors import DatabaseUnavailable

PREPARED = "select count(*) as n from pg_prepared_statements"


async def count(session: Session) -> int:
    """How many statements the session's connection has prepared, this one included if it is."""
    async with session.connection() as connection:
        row = await (await connection.execute(PREPARED)).fetchone()
        assert row is not None
        return row["n"]


def test_nothing_is_prepared_unless_told(database_url: str):
    """A transaction-mode pooler would lose it."""

    async def story() -> None:
        session = Session(database_url, name="test", patience=5)
        assert [await count(session) for _ in range(7)] == [0] * 7
        session.prepares = True
        assert await count(session) == 1
        session.prepares = False  # for statements to come
        assert await count(session) <= 1
        await session.close()

    asyncio.run(story())


def test_a_lost_prepared_statement_ends_the_preparing(database_url: str):
    """It is an outage of a moment; the next statement comes through, on another connection."""

    async def story() -> None:
        session = Session(database_url, name="test", patience=5)
        session.prepares = True
        assert await count(session) == 1
        async with session.connection() as connection:
            connection.prepare_threshold = None
            await connection.execute("deallocate all")  # what a pooler does by handing out another server connection
        with pytest.raises(DatabaseUnavailable):
            await count(session)
        assert await count(session) == 0
        await session.close()

    asyncio.run(story())

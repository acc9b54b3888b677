"""An answer that comes at once is waited for in place; one that stays out does not hold the loop up."""

import asyncio
import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from worker.database.session import Session


class Turns:
    """Counts what else the loop gets done."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """From here on."""
        self.count = 0
        yield

    def end(self) -> None:
        """Count no more."""
        self._task.cancel()


@pytest.mark.parametrize(("in_place_seconds", "stands_still"), [(20.0, True), (0.0, False)])
def test_a_quick_answer_costs_no_turn_of_the_loop(database_url: str, in_place_seconds: float, stands_still: bool):
    """Only where that was asked for."""

    async def story() -> None:
        session = Session(database_url, name="test", patience=60)
        turns = Turns()
        async with session.connection(in_place_seconds=in_place_seconds) as connection:
            with turns.counted():
                row = await (await connection.execute("select 7 as n from pg_sleep(0.2)")).fetchone()
            assert row == {"n": 7}
            assert (turns.count <= 2) is stands_still
        turns.end()
        await session.close()

    asyncio.run(story())


def test_a_late_answer_leaves_the_loop_to_others(database_url: str):
    """The rest of the wait is the loop's; the connection is as good as before."""

    async def story() -> None:
        session = Session(database_url, name="test", patience=60)
        turns = Turns()
        async with session.connection(in_place_seconds=0.01) as connection:
            with turns.counted():
                row = await (await connection.execute("select 7 as n from pg_sleep(0.5)")).fetchone()
            assert row == {"n": 7}
            assert turns.count > 10
            row = await (await connection.execute("select repeat('x', 3000000) as text")).fetchone()
            assert row is not None
            assert len(row["text"]) == 3_000_000
        turns.end()
        await session.close()

    asyncio.run(story())


def test_a_wait_in_place_can_be_cancelled_and_broken(database_url: str):
    """As any other wait."""

    async def story() -> None:
        session = Session(database_url, name="test", patience=60)
        async with session.connection(in_place_seconds=0.01) as connection:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await connection.execute("select pg_sleep(60)")
            row = await (await connection.execute("select pg_backend_pid() as pid")).fetchone()
            assert row is not None
        other = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
        await other.execute("select pg_terminate_backend(%s)", (row["pid"],))
        await other.close()
        with pytest.raises(psycopg.OperationalError):
            async with session.connection(in_place_seconds=20) as connection:
                await connection.execute("select 1")
        async with session.connection(in_place_seconds=20) as connection:
            await connection.execute("select 1")
        await session.close()

    asyncio.run(story())

"""LISTEN is believed only where a notification has made the round trip."""

import asyncio
from collections.abc import Callable

import pytest

from worker.database import listen
from worker.database.connect import connect_async
from worker.database.listen import Listener


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition in the loop."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what it waits for has no event)
            await asyncio.sleep(0.02)


async def listening(url: str, through: str, story: Callable[..., object]) -> None:
    """Run a listener on `through` that is told over `url`, and a story beside it."""
    heard: list[str] = []
    changes: list[bool] = []
    async with await connect_async(url, name="teller") as teller:

        async def notify(payload: str) -> None:
            await teller.execute("select pg_notify('test_channel', %s)", (payload,))

        listener = Listener(
            through, "test_channel", notify=notify, on_message=heard.append,
            on_change=lambda proven, _: changes.append(proven),
        )  # fmt: skip
        task = asyncio.create_task(listener.run())
        try:
            await story(listener, notify, heard, changes)  # pyright: ignore[reportGeneralTypeIssues]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_a_direct_connection_is_proven_and_hears(database_url):
    """After the round trip messages arrive; proofs are not among them."""

    async def story(listener, notify, heard, changes):
        await until(lambda: listener.proven)
        await notify("a job")
        await until(lambda: heard == ["a job"])
        assert changes == [True]

    asyncio.run(listening(database_url, database_url, story))


def test_behind_a_transaction_mode_pooler_nothing_is_proven(database_url, pgbouncer, monkeypatch):
    """LISTEN succeeds there, and nothing ever arrives: the listener never claims to hear."""
    monkeypatch.setattr(listen, "SECONDS_FOR_A_PROOF", 1.0)

    async def story(listener, notify, heard, changes):
        await until(lambda: changes == [False])
        assert not listener.proven

    asyncio.run(listening(database_url, pgbouncer(database_url, mode="transaction"), story))


def test_behind_a_session_mode_pooler_it_is_proven(database_url, pgbouncer):
    """A session pooler keeps the connection: listening works."""

    async def story(listener, notify, heard, changes):
        await until(lambda: listener.proven)

    asyncio.run(listening(database_url, pgbouncer(database_url, mode="session"), story))


def test_a_listener_of_another_database_is_not_believed(database_url, server_url, monkeypatch):
    """A listen URL that leads elsewhere is found out by the same proof."""
    monkeypatch.setattr(listen, "SECONDS_FOR_A_PROOF", 1.0)

    async def story(listener, notify, heard, changes):
        await until(lambda: changes == [False])

    asyncio.run(listening(database_url, server_url, story))


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_a_listener_whose_connection_dies_doubts_and_recovers(database_url, proxy, monkeypatch, how):
    """Cut or half open: it stops believing, and listens again over a new connection."""
    monkeypatch.setattr(listen, "SECONDS_BETWEEN_PROOFS", 0.5)
    monkeypatch.setattr(listen, "SECONDS_FOR_A_PROOF", 1.0)
    monkeypatch.setattr(listen, "SECONDS_UNTIL_NEXT_TRY", 0.2)

    async def story(listener, notify, heard, changes):
        await until(lambda: listener.proven)
        await asyncio.to_thread(getattr(proxy, how))
        await until(lambda: False in changes)
        if how == "freeze":
            await asyncio.to_thread(proxy.thaw)
        await until(lambda: changes[-1] is True)

    asyncio.run(listening(database_url, proxy.url, story))

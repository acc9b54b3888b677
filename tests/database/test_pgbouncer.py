"""Behind PgBouncer, as behind Supabase's pooler: what this program does there works, and what cannot work is known."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fixtures.pgbouncer import find_pgbouncer, pgbouncer_before
from worker.database.connect import connect
from worker.database.migrate import migrate
from worker.database.pool import Connection, make_pool
from worker.errors import DatabaseUnavailable

Start = Callable[..., str]


async def ask(connection: Connection, client: int) -> int:
    """Write and read as this client, in statements that are alike for all but their values; answers the backend."""
    await connection.execute("insert into public.kept (client) values (%s)", (client,))
    cursor = await connection.execute("select %s::int as n, %s::text as t", (client, f"text {client}"))
    assert await cursor.fetchone() == {"n": client, "t": f"text {client}"}
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 10000")
        cursor = await connection.execute(
            "select client, pg_backend_pid() as backend from public.kept where client = %s", (client,)
        )
        rows = await cursor.fetchall()
    assert {row["client"] for row in rows} == {client}
    return rows[0]["backend"]


async def in_crowd(url: str, *, pools: int, clients: int, rounds: int) -> set[int]:
    """Clients that ask again and again through pools of ours; answers the backends they met."""

    async def live(pool: int) -> list[int]:
        async with make_pool(url, size=clients, name="crowd") as ours:

            async def client(number: int) -> list[int]:
                backends = []
                for _ in range(rounds):
                    async with ours.connection() as connection:
                        backends.append(await ask(connection, number))
                return backends

            met = await asyncio.gather(*(client(pool * clients + number) for number in range(clients)))
            return [backend for backends in met for backend in backends]

    return {backend for met in await asyncio.gather(*map(live, range(pools))) for backend in met}


def test_many_clients_share_few_backends_and_each_sees_only_its_own_rows(pgbouncer: Start, database_url, db) -> None:
    """No error and no foreign row among 40 clients on 3 backends; prepared statements would give both."""
    db.execute("create table public.kept (client int not null)")
    backends = asyncio.run(in_crowd(pgbouncer(database_url, pool_size=3), pools=4, clients=10, rounds=15))
    assert len(backends) <= 3
    assert db.execute("select count(*) as n from public.kept").fetchone() == {"n": 600}


def test_pipelines_work(pgbouncer: Start, database_url) -> None:
    """Several pipelines at once on one backend: every statement gets its own answer."""

    async def run() -> list[list[int]]:
        async with make_pool(pgbouncer(database_url, pool_size=1), size=5, name="pipelines") as pool:

            async def client(number: int) -> list[int]:
                async with pool.connection() as connection, connection.pipeline():
                    wanted = [await connection.execute("select %s::int as n", (number + i,)) for i in range(20)]
                    return [row["n"] for cursor in wanted for row in await cursor.fetchall()]

            return await asyncio.gather(*map(client, range(0, 500, 100)))

    assert asyncio.run(run()) == [[n + i for i in range(20)] for n in range(0, 500, 100)]


def test_migrations_run_through_it(pgbouncer: Start, empty_database_url) -> None:
    """A first installation may know no other URL than the pooler's."""
    url = pgbouncer(empty_database_url)
    assert migrate(url) != []
    assert migrate(url) == []


def test_listen_hears_nothing_in_transaction_mode_and_all_in_session_mode(pgbouncer: Start, database_url, db) -> None:
    """LISTEN succeeds in both, which is why a worker must prove that notifications arrive before it relies on them."""
    deaf = connect(pgbouncer(database_url, "transaction"), name="deaf")
    hearing = connect(pgbouncer(database_url, "session"), name="hearing")
    with deaf, hearing:
        for connection in (deaf, hearing):
            connection.execute("listen jobs")
        db.execute("notify jobs, 'news'")
        assert [heard.payload for heard in hearing.notifies(timeout=20, stop_after=1)] == ["news"]
        # Postgres has told all its sessions by now: what did not come with the other's will never come.
        assert list(deaf.notifies(timeout=0.3)) == []


def poolers() -> list[psutil.Process]:
    """Those of this process that run."""
    return [child for child in psutil.Process().children() if child.name() == "pgbouncer"]


def test_it_takes_the_servers_credentials_alone_and_never_runs_as_root(pgbouncer: Start, database_url) -> None:
    """The fixture is a real pooler, with a real login."""
    url = pgbouncer(database_url)
    connect(url, name="test").close()
    if password := conninfo_to_dict(url).get("password"):
        with pytest.raises(DatabaseUnavailable, match="authentication failed"):
            connect(url.replace(str(password), "guessed"), name="test")
    (process,) = poolers()
    assert process.uids().effective != 0


def test_a_failing_test_leaves_neither_pooler_nor_folder(database_url) -> None:
    """Whatever happens while it runs, its process is ended and its folder removed."""
    seen: list[tuple[psutil.Process, Path]] = []

    def fail() -> None:
        with pgbouncer_before(find_pgbouncer(), database_url, "session", 1):
            seen.extend((pooler, Path(pooler.cmdline()[-1]).parent) for pooler in poolers())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    ((pooler, folder),) = seen
    assert not pooler.is_running()
    assert not folder.exists()


@pytest.mark.parametrize("ci", ["", "true"])
def test_where_it_is_missing_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    """Such tests are skipped with a sentence, and fail in CI on a Debian of root's: it would have been installed."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("CI", ci)
    fails = ci and Path("/etc/debian_version").exists()
    with pytest.raises(pytest.fail.Exception if fails else pytest.skip.Exception, match="setup-test-tools"):
        find_pgbouncer()

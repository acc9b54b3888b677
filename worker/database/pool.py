"""The pool of connections of a process."""

from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from worker import metrics
from worker.database.connect import arguments
from worker.database.patience import PATIENCE_SECONDS, AsyncConnection, patient

Connection = psycopg.AsyncConnection[dict[str, Any]]
SECONDS_TO_TRY = 2.0
"""How long a connection may take to answer before it is lent: half-open ones must not use the borrower's time up."""


def make_pool(url: str, *, size: int, name: str, patience: float = PATIENCE_SECONDS) -> AsyncConnectionPool[Connection]:
    """A pool of at most `size` connections, not opened yet: use it as `async with`, or open and close it.

    Each connection is tried before it is lent, so after a restart of Postgres nobody gets a dead one. `patience`:
    seconds until an exchange with the server that gets no answer ends the connection.
    """

    async def configure(connection: Connection) -> None:
        assert isinstance(connection, AsyncConnection)
        connection.patience = patience

    pool = AsyncConnectionPool[Connection](
        url,
        connection_class=AsyncConnection,
        kwargs=arguments(name, timeout=5) | {"row_factory": dict_row},
        configure=configure,
        check=_try,
        min_size=1,
        max_size=size,
        open=False,
        name=name,
        timeout=5,
        max_idle=60,
        # Short, so that the pauses between attempts never grow long: the next one who asks tries anew.
        reconnect_timeout=5,
    )
    metrics.watch_pool(name, pool.get_stats)
    return pool


async def _try(connection: Connection) -> None:
    with patient(connection, SECONDS_TO_TRY):
        await AsyncConnectionPool[Connection].check_connection(connection)

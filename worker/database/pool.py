"""The pool of connections of a process."""

import select
import time
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


def make_pool(
    url: str, *, size: int, name: str, patience: float = PATIENCE_SECONDS, trust: float = 0
) -> AsyncConnectionPool[Connection]:
    """A pool of at most `size` connections, not opened yet: use it as `async with`, or open and close it.

    Each connection is tried before it is lent, so after a restart of Postgres nobody gets a dead one. `patience`:
    seconds until an exchange with the server that gets no answer ends the connection. `trust`: so many seconds after it
    was tried a connection is lent again as it is, without a round trip, unless the server has closed it.
    """

    async def configure(connection: Connection) -> None:
        assert isinstance(connection, AsyncConnection)
        connection.patience = patience

    async def check(connection: Connection) -> None:
        assert isinstance(connection, AsyncConnection)
        if time.monotonic() - connection.tried_at < trust and not _has_news(connection):
            return
        await _try(connection)
        connection.tried_at = time.monotonic()

    pool = AsyncConnectionPool[Connection](
        url,
        connection_class=AsyncConnection,
        kwargs=arguments(name, timeout=5) | {"row_factory": dict_row},
        configure=configure,
        check=check,
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


def _has_news(connection: Connection) -> bool:
    """Whether something has arrived that nobody asked for: that is how a connection ends which the server closes."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _try(connection: Connection) -> None:
    with patient(connection, SECONDS_TO_TRY):
        await AsyncConnectionPool[Connection].check_connection(connection)

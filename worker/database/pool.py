"""The pool of connections of a process."""

from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from worker.database.connect import arguments
from worker.database.patience import AsyncConnection

Connection = psycopg.AsyncConnection[dict[str, Any]]


def make_pool(url: str, *, size: int, name: str) -> AsyncConnectionPool[Connection]:
    """A pool of at most `size` connections, not opened yet: use it as `async with`, or open and close it.

    Each connection is tried before it is lent, so after a restart of Postgres nobody gets a dead one.
    """
    return AsyncConnectionPool[Connection](
        url,
        connection_class=AsyncConnection,
        kwargs=arguments(name, timeout=5) | {"row_factory": dict_row},
        check=AsyncConnectionPool[Connection].check_connection,
        min_size=1,
        max_size=size,
        open=False,
        name=name,
        timeout=5,
        max_idle=60,
        # Short, so that the pauses between attempts never grow long: the next one who asks tries anew.
        reconnect_timeout=5,
    )

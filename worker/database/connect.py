"""The one way this program connects to Postgres, safe behind a transaction-mode pooler.

No prepared statements, no `options`, autocommit: behind such a pooler a server session belongs to a client only within
a transaction, and prepared statements there fail or, worse, answer with another client's rows.
"""

import math
from typing import Any

import psycopg
from psycopg.rows import dict_row

from worker.database.patience import PATIENCE_SECONDS, AsyncConnection, Connection
from worker.database.unavailable import unavailable


def connect(
    url: str, *, name: str, timeout: float = 5, patience: float = PATIENCE_SECONDS
) -> psycopg.Connection[dict[str, Any]]:
    """A new connection under this application name; raises DatabaseUnavailable, never with the password in it.

    `patience`: seconds until an exchange with the server that gets no answer ends the connection.
    """
    try:
        connection = Connection.connect(url, row_factory=dict_row, **arguments(name, timeout))
    except psycopg.Error as failure:
        raise unavailable(url, failure) from None  # the cause may print parts of the URL
    connection.patience = patience
    return connection


async def connect_async(
    url: str,
    *,
    name: str,
    timeout: float = 5,  # noqa: ASYNC109  (libpq's own)
    patience: float = PATIENCE_SECONDS,
) -> AsyncConnection:
    """As `connect`, for asyncio."""
    try:
        connection = await AsyncConnection.connect(url, row_factory=dict_row, **arguments(name, timeout))
    except psycopg.Error as failure:
        raise unavailable(url, failure) from None
    connection.patience = patience
    return connection


def arguments(name: str, timeout: float) -> dict[str, Any]:
    """What every connection of this program is made with, pools included."""
    return {
        "autocommit": True,
        "prepare_threshold": None,
        "application_name": name,
        "connect_timeout": math.ceil(timeout),
        # A peer that vanished without a word is noticed within about 15 s, idle or not.
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 15_000,
    }

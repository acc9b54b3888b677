"""One connection that a part of the program keeps for itself: opened when first needed, replaced when it breaks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg

from worker.database.connect import connect_async
from worker.database.patience import AsyncConnection
from worker.errors import DatabaseUnavailable

# Behind a pooler whose mode was changed under us.
_NOT_PREPARED = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)


class Session:
    """Lends its one connection to one user at a time. No look before lending: who uses it sees at once if it broke."""

    def __init__(self, url: str, *, name: str, patience: float) -> None:
        self.prepares = False
        """Whether statements are prepared: only where the URL is known to lead to a session of Postgres."""
        self._url, self._name, self._patience = url, name, patience
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    @contextlib.asynccontextmanager
    async def connection(self, *, in_place_seconds: float = 0) -> AsyncIterator[AsyncConnection]:
        """The connection; raises DatabaseUnavailable when none can be made.

        `in_place_seconds`: so long its user would rather wait for an answer in place than let the loop turn.
        """
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect_async(self._url, name=self._name, patience=self._patience)
            self._connection.prepare_threshold = 0 if self.prepares else None
            self._connection.in_place_seconds = in_place_seconds
            try:
                yield self._connection
            except _NOT_PREPARED as failure:
                self.prepares = False
                await self._drop()
                raise DatabaseUnavailable("Prepared statements get lost: a pooler shares this connection.") from failure
            except BaseException as failure:
                if not isinstance(failure, psycopg.Error) or _is_broken(self._connection, failure):
                    await self._drop()
                raise

    async def close(self) -> None:
        """Close the connection, if there is one; the session may be used again."""
        async with self._lock:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


def _is_broken(connection: AsyncConnection, failure: psycopg.Error) -> bool:
    return connection.broken or connection.closed or isinstance(failure, psycopg.OperationalError)

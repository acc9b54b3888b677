"""Connections that do not wait for ever: one whose answer stays out too long is cut, and whoever waits gets the error.

Behind a proxy or a pooler a connection may be half open: nothing arrives any more, and nothing is ever closed. TCP
keep-alives end at the proxy and see nothing.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

from worker.database.in_place import in_place

PATIENCE_SECONDS = 60.0


class Connection(psycopg.Connection[dict[str, Any]]):
    """A connection whose every exchange with the server must end within `patience` seconds."""

    patience = PATIENCE_SECONDS

    def wait(self, gen: PQGen[RV], *arguments: Any, **named: Any) -> RV:
        """As psycopg's, watched."""
        with _watched(self.pgconn, self.patience):
            return super().wait(gen, *arguments, **named)


class AsyncConnection(psycopg.AsyncConnection[dict[str, Any]]):
    """As `Connection`, for asyncio."""

    patience = PATIENCE_SECONDS
    in_place_seconds = 0.0
    """So long an exchange may hold the loop up, instead of being taken up by it again."""
    tried_at = float("-inf")
    """When its pool last saw it answer; of time.monotonic()."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As psycopg's."""
        super().__init__(*arguments, **named)
        self.kept_cursors: dict[type[Any], psycopg.AsyncCursor[Any]] = {}

    async def wait(self, gen: PQGen[RV], *arguments: Any, **named: Any) -> RV:
        """As psycopg's, watched."""
        if self.in_place_seconds:
            gen = in_place(gen, self.pgconn.socket, self.in_place_seconds)
        with _watched(self.pgconn, self.patience):
            return await super().wait(gen, *arguments, **named)


@contextlib.contextmanager
def patient(connection: psycopg.AsyncConnection[dict[str, Any]], seconds: float) -> Iterator[None]:
    """Another patience for a while, for the exchanges that begin in it."""
    assert isinstance(connection, AsyncConnection)
    before, connection.patience = connection.patience, seconds
    try:
        yield
    finally:
        connection.patience = before


@contextlib.contextmanager
def _watched(pgconn: Any, seconds: float) -> Iterator[None]:
    deadlines[pgconn] = time.monotonic() + seconds
    _watcher.ensure()
    try:
        yield
    finally:
        deadlines.pop(pgconn, None)


deadlines: dict[Any, float] = {}
"""libpq connection → the moment its answer must be there. Written by many threads, one key each."""


class _Watcher:
    """One thread a process, started with its first exchange; a forked child starts its own."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._lock = threading.Lock()

    def ensure(self) -> None:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.25)
            now = time.monotonic()
            for pgconn, deadline in list(deadlines.items()):
                if now > deadline and deadlines.pop(pgconn, None) is not None:
                    _cut(pgconn)


def _cut(pgconn: Any) -> None:
    """Shut the socket down under libpq: it sees the connection's end, and says so to whoever waits."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(pgconn.socket)) as cut:
        cut.shutdown(socket.SHUT_RDWR)


_watcher = _Watcher()

"""Read requests' bodies without ever holding more of them than allowed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

PATIENCE_SECONDS = 30
SMALL = 65_536
"""Bytes that a body may have even while large ones fill the memory: a few of those shall not lock out all others."""


class BodyTooLarge(Exception):
    """The body is longer than one body may be."""


class Overloaded(Exception):
    """The bodies being held right now fill the memory meant for them."""


class Bodies:
    """Holds bodies of at most `limit` bytes, and of all requests together at most `budget`."""

    def __init__(self, limit: int, budget: int | None = None) -> None:
        self._limit, self._budget = limit, budget or limit * 8
        self._held = 0

    @contextlib.asynccontextmanager
    async def held(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body; it counts until the block ends, however long Postgres takes to store what it says.

        Raises BodyTooLarge, Overloaded, TimeoutError and Starlette's ClientDisconnect.
        """
        if int(request.headers.get("content-length", "0")) > self._limit:
            raise BodyTooLarge
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._held += len(chunk)
                    if size > self._limit:
                        raise BodyTooLarge
                    if self._held > self._budget and size > SMALL:
                        raise Overloaded
                    chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self._held -= size

"""Read a request's body without ever holding more of it than allowed."""

import asyncio

from starlette.requests import Request

PATIENCE_SECONDS = 30


class BodyTooLarge(Exception):
    """The body is longer than one body may be."""


class Overloaded(Exception):
    """The bodies being read right now fill the memory meant for them."""


class BodyReader:
    """Reads bodies of at most `limit` bytes, and of all requests together at most `budget`."""

    def __init__(self, limit: int, budget: int | None = None) -> None:
        self._limit, self._budget = limit, budget or limit * 8
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The whole body. Raises BodyTooLarge, Overloaded, TimeoutError and Starlette's ClientDisconnect."""
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
                    if self._held > self._budget:
                        raise Overloaded
                    chunks.append(chunk)
            return b"".join(chunks)
        finally:
            self._held -= size

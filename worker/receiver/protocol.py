"""uvicorn's fast protocol with two limits it lacks: the size of headers, and the time until they are complete."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 32_768
PATIENCE_SECONDS = 10.0


class LimitedHeaders(HttpToolsProtocol):
    """Closes a connection whose headers (or trailers) are endless, or do not arrive."""

    _unparsed = 0  # bytes since the parser last came to the end of something
    _header_bytes = 0  # of this request
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A first request is expected soon."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; give up on what never ends."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's headers are too long.")

    def on_message_begin(self) -> None:
        """A request begins: its headers are expected soon."""
        super().on_message_begin()
        self._header_bytes = 0
        self._start_clock()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Whole headers that came in one piece count as well; the parser turns this into a 400."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MOST_HEADER_BYTES:
            raise ValueError("The request's headers are too long.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Headers are here; the body has limits of its own."""
        self._unparsed = 0
        self._stop_clock()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is no header."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        self._unparsed = 0
        super().on_message_complete()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(PATIENCE_SECONDS, self.transport.close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

"""LISTEN that is proven: a notification sent over another connection must arrive, at the start and ever after.

Behind a transaction-mode pooler LISTEN succeeds and nothing ever arrives. So whoever listens believes only what has
made the round trip, and polls until it has.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg import sql

from worker.backoff import poll_delay
from worker.database.connect import connect_async
from worker.errors import WorkerError

SECONDS_BETWEEN_PROOFS = 45.0
SECONDS_FOR_A_PROOF = 3.0
SECONDS_UNTIL_NEXT_TRY = 15.0
SECONDS_AFTER_A_MESSAGE = 0.001
_PROOF = "proof "

Notify = Callable[[str], Awaitable[None]]


class Listener:
    """Hears one channel over a connection of its own, and knows whether it would."""

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        notify: Notify,
        on_message: Callable[[str], None],
        on_change: Callable[[bool, str], None],
    ) -> None:
        """`notify` sends a payload to the channel over another connection; `on_message` gets what others sent.

        `on_change` learns whether listening is proven, whenever that changes, and if not, why.
        """
        self.proven = False
        self._url, self._channel = url, channel
        self._notify, self._on_message, self._on_change = notify, on_message, on_change
        self._awaited: str | None = None
        self._arrived = asyncio.Event()
        self._reason = ""

    async def run(self) -> None:
        """Listen until cancelled, again and again; whatever goes wrong only means that nothing is proven."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, WorkerError, OSError, TimeoutError) as failure:
                self._doubt(str(failure) or type(failure).__name__)
            await asyncio.sleep(poll_delay(SECONDS_UNTIL_NEXT_TRY))

    async def _listen(self) -> None:
        connection = await connect_async(self._url, name="indexing-worker listen", patience=SECONDS_FOR_A_PROOF)
        try:
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
            tasks = [asyncio.create_task(self._hear(connection)), asyncio.create_task(self._prove_again_and_again())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):
                    raise end
        finally:
            await connection.close()

    async def _hear(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        while True:
            # In pieces shorter than the connection's patience: silence is not a broken exchange here.
            async for message in connection.notifies(timeout=SECONDS_FOR_A_PROOF / 2):
                if message.payload == self._awaited:
                    self._arrived.set()
                elif not message.payload.startswith(_PROOF):
                    self._on_message(message.payload)
                    # Whoever was called acts before we prepare to hear more; what comes meanwhile is not lost.
                    await asyncio.sleep(SECONDS_AFTER_A_MESSAGE)

    async def _prove_again_and_again(self) -> None:
        while True:
            self._arrived.clear()
            self._awaited = f"{_PROOF}{uuid.uuid4()}"
            try:
                async with asyncio.timeout(SECONDS_FOR_A_PROOF):
                    await self._notify(self._awaited)
                    await self._arrived.wait()
            except TimeoutError:
                raise TimeoutError("a notification that was sent did not arrive") from None
            self._believe()
            await asyncio.sleep(poll_delay(SECONDS_BETWEEN_PROOFS))

    def _believe(self) -> None:
        if not self.proven:
            self.proven, self._reason = True, ""
            self._on_change(True, "")

    def _doubt(self, reason: str) -> None:
        if self.proven or reason != self._reason:
            self.proven, self._reason = False, reason
            self._on_change(False, reason)

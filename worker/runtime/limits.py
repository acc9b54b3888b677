"""Memory limits: one look over all running attempts twice a second, summed over each attempt's whole tree."""

import asyncio
from collections.abc import Callable, Iterable

from worker.runtime import tree
from worker.runtime.attempt import Attempt, Stop

SECONDS_BETWEEN_LOOKS = 0.5


async def watch_memory(running: Callable[[], Iterable[Attempt]], limit_bytes: int) -> None:
    """Stop every attempt whose processes together hold more than the limit; runs until cancelled."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        by_session = {attempt.session: attempt for attempt in running() if attempt.session is not None}
        if by_session:
            used = await asyncio.to_thread(tree.memory_by_session, list(by_session))
            for session, size in used.items():
                if size > limit_bytes:
                    await asyncio.to_thread(by_session[session].stop, Stop.MEMORY)

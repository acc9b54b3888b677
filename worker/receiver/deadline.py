"""Answer in time, whatever Postgres does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from worker.errors import DatabaseUnavailable

Answer = TypeVar("Answer")

_left_behind: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of work that talks to Postgres, or DatabaseUnavailable after so many seconds.

    asyncio.timeout would wait for the cancelled work to end, and a cancelled query goes on for up to ten seconds
    to tell a silent server about it. Here it does so behind the answer.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            _left_behind.add(task)
            task.add_done_callback(_let_go)
    if not done:
        raise DatabaseUnavailable(f"Postgres did not answer within {seconds:g} s.")
    return task.result()


def _let_go(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it as forgotten

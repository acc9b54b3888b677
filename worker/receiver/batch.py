"""Commits together what arrives together: while one batch is on its way to Postgres, the next one gathers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Batches(Generic[Item, Outcome]):
    """Nothing waits for company: a lone item goes at once, and under load batches grow by themselves."""

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        most: int,
        at_once: int,
    ) -> None:
        """`commit` answers an outcome for each item, in order. `most` items a batch, so many batches at once."""
        self._commit, self._most, self._at_once = commit, most, at_once
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Not how many tasks there are: one that has looked for work for the last time may still be among them.
        self._working = 0

    async def put(self, item: Item) -> Outcome:
        """The item's outcome, once its batch is committed. Raises what `commit` raised for the batch."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if self._working < self._at_once:
            self._working += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await outcome

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._working -= 1

    async def _work(self) -> None:
        while batch := self._take():
            try:
                outcomes = await self._commit([item for item, _ in batch])
            except asyncio.CancelledError:
                for _, waiting in batch:
                    waiting.cancel()
                raise
            except Exception as failure:  # each of those who wait gets it
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(failure)
                continue
            for (_, waiting), outcome in zip(batch, outcomes, strict=True):
                if not waiting.done():
                    waiting.set_result(outcome)

    def _take(self) -> list[tuple[Item, "asyncio.Future[Outcome]"]]:
        """The next batch; whoever stopped waiting is left out: it was told that nothing was committed."""
        batch: list[tuple[Item, asyncio.Future[Outcome]]] = []
        while self._waiting and len(batch) < self._most:
            item, waiting = self._waiting.popleft()
            if not waiting.done():
                batch.append((item, waiting))
        return batch

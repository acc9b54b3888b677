"""Spooled posts go to Postgres when it answers again: in order within a repository, many repositories at once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from worker import metrics
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.receiver.spool import Spool, Spooled, read

_PAUSE_SECONDS = 0.5


class Replay:
    """Commits what the spool holds, file after file, for as long as it runs."""

    def __init__(self, spool: Spool, accept: Callable[[Spooled], Awaitable[None]]) -> None:
        """`accept` commits one post; it raises DatabaseUnavailable while that cannot be done."""
        self._spool, self._accept = spool, accept

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._spool.filled.wait()
            while (path := self._spool.oldest()) is not None:
                try:
                    await self._replay(path)
                except DatabaseUnavailable:
                    await asyncio.sleep(_PAUSE_SECONDS)
                metrics.spooled(len(self._spool))

    async def _replay(self, path: Path) -> None:
        posts = await asyncio.to_thread(lambda: list(read(path)))
        of_one = defaultdict[object, list[Spooled]](list)
        for post in posts:
            of_one[post.repository_id].append(post)
        outcomes = await asyncio.gather(*map(self._in_order, of_one.values()), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._spool.done(path, posts, failed=False in outcomes)
        get_logger().info("spooled deliveries replayed", deliveries=len(posts))

    async def _in_order(self, posts: Iterable[Spooled]) -> bool:
        """Whether all could be committed; one that never can must not stop those behind it."""
        well = True
        for post in posts:
            try:
                await self._accept(post)
            except (DatabaseUnavailable, asyncio.CancelledError):
                raise
            except Exception:  # whatever it is, it is on disk, and told
                get_logger().exception("a spooled delivery cannot be replayed", repository=str(post.repository_id))
                well = False
        return well

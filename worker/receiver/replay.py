"""Spooled posts go to Postgres when it answers again: in order within a line, many lines at once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from worker import metrics
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.receiver.spool import Spool, SpoolDamaged, Spooled, read

_PAUSE_SECONDS = 0.5
_PAUSE_OF_DISK_SECONDS = 5.0


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
                except OSError as failure:  # of the volume: it may come back, and then all goes on
                    get_logger().error("the spool cannot be read", file=path.name, reason=str(failure))
                    await asyncio.sleep(_PAUSE_OF_DISK_SECONDS)
                metrics.spooled(len(self._spool))

    async def _replay(self, path: Path) -> None:
        posts, whole = await asyncio.to_thread(_posts, path)
        of_one = defaultdict[str, list[Spooled]](list)
        for post in posts:
            of_one[post.line].append(post)
        outcomes = await asyncio.gather(*map(self._in_order, of_one.values()), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._spool.done(path, failed=not whole or False in outcomes)
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
                get_logger().exception("a spooled delivery cannot be replayed", line=post.line)
                well = False
        return well


def _posts(path: Path) -> tuple[list[Spooled], bool]:
    """What can be read of a file, and whether that is all of it."""
    posts: list[Spooled] = []
    try:
        posts.extend(read(path))  # keeps what came before a damage
    except (SpoolDamaged, FileNotFoundError) as damage:
        get_logger().error("spooled deliveries are lost or damaged", file=path.name, reason=str(damage))
        return posts, False
    return posts, True

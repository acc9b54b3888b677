"""What becomes of a post while Postgres is away and there is a spool: it is kept, and answered once it is on disk."""

from typing import Protocol

from worker import metrics
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.receiver.deadline import within
from worker.receiver.post import Answer, Post
from worker.receiver.spool import Spool, Spooled, SpoolFull


class Hook(Protocol):
    """One of the receiver's two addresses."""

    async def receive(self, post: Post) -> Answer:
        """Answer a post; committed when this returns 2xx. Raises DatabaseUnavailable."""
        ...

    def line(self, post: Post) -> str | None:
        """Where it stands in the spool; None: it has no place there."""
        ...

    def to_keep(self, post: Post) -> Spooled | Answer:
        """What to keep of it, or its answer. Raises DatabaseUnavailable for all that may not be kept."""
        ...

    async def accept_kept(self, post: Post) -> Answer:
        """Commit what was kept. Raises DatabaseUnavailable."""
        ...


class Keeper:
    """Stands before an address."""

    def __init__(self, hook: Hook, spool: Spool, *, seconds: float) -> None:
        """`seconds`: how long Postgres is waited for."""
        self._hook, self._spool, self._seconds = hook, spool, seconds

    async def receive(self, post: Post) -> Answer:
        """As the address answers; 202 also for what is on disk. Raises DatabaseUnavailable for what cannot be kept."""
        if not self._spool.holds(self._hook.line(post)):
            try:
                return await within(self._seconds, self._hook.receive(post))
            except DatabaseUnavailable as failure:
                get_logger().warning("delivery goes to the spool", reason=str(failure))
        return await self._keep(post)

    async def _keep(self, post: Post) -> Answer:
        kept = self._hook.to_keep(post)
        if isinstance(kept, Answer):
            return kept
        try:
            await self._spool.put(kept)
        except (SpoolFull, OSError) as failure:
            raise DatabaseUnavailable(f"Postgres does not answer, and the spool takes no more: {failure}") from failure
        metrics.spooled(len(self._spool))
        content = {
            "status": "spooled",
            "job_id": None,
            "delivery_id": post.headers["x-github-delivery"],
            "duplicate": False,
        }
        return Answer(202, content, "spooled")

    async def replay(self, kept: Spooled) -> None:
        """Commit what was kept. Raises DatabaseUnavailable while that cannot be done."""
        post = Post(kept.repository_id, kept.headers, kept.body)
        answer = await within(self._seconds, self._hook.accept_kept(post))
        metrics.delivery(kept.headers.get("x-github-event"), answer.outcome)
        if answer.status >= 400:
            get_logger().warning(
                "a spooled delivery was refused",
                line=kept.line,
                delivery=kept.headers.get("x-github-delivery"),
                reason=answer.content["reason"],
            )

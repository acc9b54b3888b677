"""What becomes of a post while Postgres is away and there is a spool: it is kept, and answered once it is on disk."""

from worker import metrics
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.receiver.deadline import within
from worker.receiver.spool import Spool, Spooled, SpoolFull
from worker.receiver.webhook import Answer, Post, Webhook


class Keeper:
    """Stands before the webhook."""

    def __init__(self, webhook: Webhook, spool: Spool, *, seconds: float) -> None:
        """`seconds`: how long Postgres is waited for."""
        self._webhook, self._spool, self._seconds = webhook, spool, seconds

    async def receive(self, post: Post) -> Answer:
        """As the webhook answers; 202 also for what is on disk. Raises DatabaseUnavailable for what cannot be kept."""
        if not self._spool.holds(post.repository_id):
            try:
                return await within(self._seconds, self._webhook.receive(post))
            except DatabaseUnavailable as failure:
                get_logger().warning("delivery goes to the spool", reason=str(failure))
        return await self._keep(post)

    async def _keep(self, post: Post) -> Answer:
        refusal = self._webhook.check_from_memory(post)
        if refusal is not None:
            return refusal
        assert post.repository_id is not None
        try:
            await self._spool.put(Spooled(post.repository_id, dict(post.headers), post.body))
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
        answer = await within(self._seconds, self._webhook.accept_kept(post))
        metrics.delivery(kept.headers.get("x-github-event"), answer.outcome)
        if answer.status >= 400:
            get_logger().warning(
                "a spooled delivery was refused",
                repository=str(kept.repository_id),
                delivery=kept.headers.get("x-github-delivery"),
                reason=answer.content["reason"],
            )

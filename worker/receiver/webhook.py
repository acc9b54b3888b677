"""One webhook post from bytes to answer: who sent it, what it means, committed."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from worker import metrics
from worker.credentials.master_keys import MasterKeys
from worker.errors import DatabaseUnavailable, MasterKeyError, NotFound
from worker.job import INCREMENTAL_UPDATE
from worker.logging import get_logger
from worker.queue.enqueue import Delivered, NewDelivery, NewJob, index_coalesce_key
from worker.receiver.github import Decision, Kind, decide
from worker.receiver.post import REFUSED, Answer, Post, limited, malformed, read_payload
from worker.receiver.rate import Rate
from worker.receiver.repository import Repository, RepositoryCache, accepted_secrets, nobody
from worker.receiver.signature import verify
from worker.receiver.spool import Spooled
from worker.receiver.store import RepositoryChanged, Store
from worker.receiver.stored import UNSTORABLE, stored_headers, stored_payload


class Webhook:
    """Receives the posts of all repositories."""

    def __init__(
        self,
        store: Store,
        keys: MasterKeys,
        *,
        cache_seconds: float,
        max_attempts: int,
        supersede: bool,
        on_job: Callable[[str], None],
        rate: Rate | None = None,
    ) -> None:
        """`supersede`: a push asks the running job of its branch to stop. `on_job` learns the type of each job."""
        self._store, self._keys, self._max_attempts = store, keys, max_attempts
        self._supersede, self._on_job = supersede, on_job
        self._nobody = nobody(keys)
        self._rate = rate or Rate(0)
        self._repositories = RepositoryCache(store.read_repository, ttl=cache_seconds)

    async def receive(self, post: Post) -> Answer:
        """Answer a post. Work is committed when this returns 2xx. Raises DatabaseUnavailable."""
        for _ in range(2):
            repository, failure = await self._authenticate(post)
            if repository is None:
                metrics.signature_failed(failure)
                return REFUSED
            if seconds := self._rate.seconds_to_wait(repository.id):
                return limited(seconds)
            try:
                return await self._accept(post, repository)
            except (RepositoryChanged, NotFound):
                # Remembered facts let the post in; the facts of this moment decide.
                self._repositories.forget(repository.id)
        raise DatabaseUnavailable("The repository's row changes faster than it can be read.")

    def line(self, post: Post) -> str | None:
        """Where a post stands in the spool: behind those of its repository."""
        return None if post.repository_id is None else str(post.repository_id)

    def to_keep(self, post: Post) -> Spooled | Answer:
        """What to keep of a post until Postgres answers again. Raises DatabaseUnavailable for all who may not."""
        known = post.repository_id and self._repositories.remembered(post.repository_id)
        if not known or self._failure(post, known):
            raise DatabaseUnavailable("Postgres does not answer, and the sender is not known.")
        if seconds := self._rate.seconds_to_wait(known.id):
            return limited(seconds)  # or one repository would fill the volume
        payload = read_payload(post)
        return payload if isinstance(payload, Answer) else Spooled(known.id, dict(post.headers), post.body)

    async def accept_kept(self, post: Post) -> Answer:
        """Commit a post that was kept, judged by the repository's row as it is now. Raises DatabaseUnavailable."""
        assert post.repository_id is not None
        for _ in range(3):
            repository = await self._repositories.get_fresh(post.repository_id)
            if repository is None or self._failure(post, repository):
                return REFUSED  # deleted, or its secret was revoked meanwhile
            try:
                return await self._accept(post, repository)
            except (RepositoryChanged, NotFound):
                self._repositories.forget(repository.id)
        raise DatabaseUnavailable("The repository's row changes faster than it can be read.")

    async def _authenticate(self, post: Post) -> tuple[Repository | None, str]:
        if post.repository_id is None:
            return None, self._failure(post, None)
        repository = await self._repositories.get(post.repository_id)
        failure = self._failure(post, repository)
        if failure and (fresh := await self._repositories.get_fresh(post.repository_id)) != repository:
            repository, failure = fresh, self._failure(post, fresh)
        return (None if failure else repository), failure

    def _failure(self, post: Post, repository: Repository | None) -> str:
        """Why this post may not come in; empty when it may. Costs about the same whatever the reason."""
        why = "mismatch" if post.signature else "missing"
        accepted: list[str] = []
        if repository is None:
            why = "unknown_repository"
            accepted_secrets(self._nobody, self._keys)  # costs what a wrong signature costs
        else:
            try:
                accepted = accepted_secrets(repository, self._keys)
                why = why if accepted else "no_secret"
            except MasterKeyError as problem:
                why = "master_key"
                get_logger().error(
                    "webhook refused: wrong master key",
                    repository=str(repository.id),
                    reason=str(problem),
                    hint=problem.hint,
                )
        return "" if verify(post.body, post.signature, accepted) else why

    async def _accept(self, post: Post, repository: Repository) -> Answer:
        payload = read_payload(post)
        if isinstance(payload, Answer):
            return payload
        event, delivery_id = post.headers["x-github-event"], post.headers["x-github-delivery"]
        decision = decide(event, payload, repository.tracked)
        if decision.kind is Kind.MALFORMED:
            return malformed(decision.reason or "")
        if decision.kind is Kind.PING:
            return await self._ping(repository, payload)
        delivery = NewDelivery(
            repository_id=repository.id,
            provider="github",
            delivery_id=delivery_id,
            event_type=event,
            payload=stored_payload(payload, post.body),
            headers=stored_headers(post.headers),
            signature=post.signature,
            reason=decision.reason,
            job=index_job(repository.id, decision, max_attempts=self._max_attempts, supersede=self._supersede),
        )
        delivered = await self._store.deliver(delivery, repository, decision.change)
        if delivery.job is not None and delivered.status == "queued" and not delivered.called:
            self._on_job(delivery.job.job_type)
        if decision.change is not None:
            self._repositories.forget(repository.id)
        return _answer(delivery, delivered)

    async def _ping(self, repository: Repository, payload: Mapping[str, Any]) -> Answer:
        hook = _number(payload.get("hook_id"))
        if hook is None:  # `worker repo test`: nobody's webhook
            return Answer(200, {"status": "ok", "reason": "Address and secret are right."}, "ping")
        sender = payload.get("repository")
        sender = sender if isinstance(sender, dict) else {}
        addresses = [sender.get(name) for name in ("clone_url", "html_url", "ssh_url")]
        await self._store.remember_ping(
            repository,
            hook=hook,
            provider_id=_number(sender.get("id")),
            urls=[each.lower() for each in addresses if isinstance(each, str) and not UNSTORABLE.search(each)],
        )
        self._repositories.forget(repository.id)
        return Answer(200, {"status": "ok", "reason": "The webhook is set up."}, "ping")


def index_job(repository_id: UUID, decision: Decision, *, max_attempts: int, supersede: bool) -> NewJob | None:
    """The job that a decision asks for, if any."""
    if decision.kind is not Kind.INDEX or decision.job_payload is None:
        return None
    return NewJob(
        INCREMENTAL_UPDATE,
        repository_id=repository_id,
        payload=decision.job_payload,
        coalesce_key=index_coalesce_key(repository_id, decision.job_payload["ref"]),
        max_attempts=max_attempts,
        supersede=supersede,
    )


def _answer(delivery: NewDelivery, delivered: Delivered) -> Answer:
    if delivered.status == "ignored":
        reason = delivery.reason or "This delivery was ignored when it came first."
        return Answer(200, {"status": "ignored", "reason": reason}, "ignored")
    if delivered.job_id is None and delivered.status == "processed":
        return Answer(200, {"status": "processed", "reason": delivery.reason}, "processed")
    content = {
        "status": delivered.status,
        "job_id": None if delivered.job_id is None else str(delivered.job_id),
        "delivery_id": delivery.delivery_id,
        "duplicate": delivered.duplicate,
    }
    return Answer(202, content, "duplicate" if delivered.duplicate else "queued")


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None

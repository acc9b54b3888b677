"""POST /webhooks/github: deliveries of a GitHub App, signed with its one secret, for all its repositories."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker import metrics
from worker.job import INCREMENTAL_UPDATE
from worker.queue.enqueue import Delivered, NewDelivery, deliver
from worker.receiver.app_store import Connection, Linking, Meant, change_installation, deliver_to_linked
from worker.receiver.github import Decision, Kind, decide, is_number, parse_body
from worker.receiver.github_app import Installed, Named, decide_installation, installation_of
from worker.receiver.repository import Repository
from worker.receiver.signature import verify
from worker.receiver.store import Store
from worker.receiver.stored import stored_headers, stored_payload
from worker.receiver.webhook import REFUSED, Answer, Post, index_job, is_word, malformed

_NOBODY = "No repository registered here is read through this installation of the GitHub App."
_UNREAD = "No repository's reading changes with this event."


class _Malformed(Exception):
    """The body cannot be read; the transaction that finds out is rolled back."""


class AppHook:
    """Receives the posts of one GitHub App."""

    def __init__(
        self, store: Store, secrets: Sequence[str], linking: Linking, *, supersede: bool, on_job: Callable[[str], None]
    ) -> None:
        """`secrets`: those accepted now; without one every post is refused, as a stranger's is."""
        self._store, self._secrets, self._linking = store, secrets, linking
        self._supersede, self._on_job = supersede, on_job

    async def receive(self, post: Post) -> Answer:
        """Answer a post. Work is committed when this returns 2xx. Raises DatabaseUnavailable."""
        if not verify(post.body, post.signature, self._secrets):
            metrics.signature_failed("mismatch" if post.signature else "missing")
            return REFUSED
        event, delivery_id = post.headers.get("x-github-event"), post.headers.get("x-github-delivery")
        if not is_word(event) or not is_word(delivery_id):
            return malformed("The headers X-GitHub-Event and X-GitHub-Delivery are both needed.")
        payload = parse_body(post.body, post.headers.get("content-type"))
        if isinstance(payload, Decision):
            return malformed(payload.reason or "")
        if event == "ping":
            return Answer(200, {"status": "ok", "reason": "The App's webhook is set up."}, "ping")
        if event in ("installation", "installation_repositories"):
            return await self._change(post, event, payload, decide_installation(event, payload))
        return await self._deliver(post, event, payload)

    async def _change(self, post: Post, event: str, payload: Mapping[str, Any], installed: Installed | None) -> Answer:
        delivery = _delivery(post, event, payload, _UNREAD if installed is None else None)
        if installed is None:
            return await self._ignore(delivery)

        async def work(connection: Connection) -> tuple[Delivered, int, int]:
            return await change_installation(connection, self._linking, delivery, installed)

        delivered, jobs, paused = await self._store.transaction(work)
        if jobs:
            self._on_job(INCREMENTAL_UPDATE)
        told = {"status": "processed", "duplicate": delivered.duplicate, "repositories_read": jobs}
        return Answer(200, {**told, "repositories_paused": paused}, "duplicate" if delivered.duplicate else "processed")

    async def _deliver(self, post: Post, event: str, payload: Mapping[str, Any]) -> Answer:
        installation, named = installation_of(payload), _repository_of(payload)
        if installation is None or named is None:
            return await self._ignore(_delivery(post, event, payload, "It names no installation with a repository."))

        def meant(repository: Repository) -> Meant:
            decision = decide(event, payload, repository.tracked, by_app=True)
            if decision.kind is Kind.MALFORMED:
                raise _Malformed(decision.reason or "")
            job = index_job(repository.id, decision, max_attempts=self._linking.max_attempts, supersede=self._supersede)
            return Meant(_delivery(post, event, payload, decision.reason, repository, job), decision.change)

        async def work(connection: Connection) -> list[tuple[Meant, Delivered]]:
            return await deliver_to_linked(connection, self._linking, installation, named, meant)

        try:
            done = await self._store.transaction(work)
        except _Malformed as problem:  # nothing was committed
            return malformed(str(problem))
        if not done:
            return await self._ignore(_delivery(post, event, payload, _NOBODY))
        return self._answer(post, done)

    def _answer(self, post: Post, done: list[tuple[Meant, Delivered]]) -> Answer:
        jobs = [delivered.job_id for _, delivered in done if delivered.job_id is not None]
        duplicate = all(delivered.duplicate for _, delivered in done)
        if not jobs:
            status = done[0][1].status
            reason = done[0][0].delivery.reason or "This delivery was here before."
            return Answer(
                200, {"status": status, "reason": reason}, "processed" if status == "processed" else "ignored"
            )
        if any(delivered.status == "queued" for _, delivered in done):
            self._on_job(INCREMENTAL_UPDATE)
        content = {
            "status": done[0][1].status,
            "job_ids": [str(job_id) for job_id in jobs],
            "delivery_id": post.headers["x-github-delivery"],
            "duplicate": duplicate,
        }
        return Answer(202, content, "duplicate" if duplicate else "queued")

    async def _ignore(self, delivery: NewDelivery) -> Answer:
        async def work(connection: Connection) -> Delivered:
            return await deliver(connection, delivery)

        await self._store.transaction(work)
        return Answer(200, {"status": "ignored", "reason": delivery.reason}, "ignored")


def _repository_of(payload: Mapping[str, Any]) -> Named | None:
    part = payload.get("repository")
    part = part if isinstance(part, dict) else {}
    number, name = part.get("id"), part.get("full_name")
    return Named(number, name) if is_number(number) and isinstance(name, str) and "\0" not in name else None


def _delivery(
    post: Post,
    event: str,
    payload: Mapping[str, Any],
    reason: str | None,
    repository: Repository | None = None,
    job: Any = None,
) -> NewDelivery:
    return NewDelivery(
        repository_id=repository.id if repository else None,
        provider="github",
        delivery_id=post.headers["x-github-delivery"],
        event_type=event,
        payload=stored_payload(payload, post.body),
        headers=stored_headers(post.headers),
        signature=post.signature,
        reason=reason,
        job=job,
    )

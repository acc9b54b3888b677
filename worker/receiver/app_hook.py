"""POST /webhooks/github: deliveries of a GitHub App, signed with its one secret, for all its repositories."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from worker import metrics
from worker.errors import DatabaseUnavailable, NotFound
from worker.job import INCREMENTAL_UPDATE
from worker.queue.deliver import RepositoryChanged
from worker.queue.enqueue import Delivered, NewDelivery
from worker.receiver.app_store import Connection, Linked, Linking, Meant, change_installation, deliver_in_turn
from worker.receiver.github import Kind, decide, is_number
from worker.receiver.github_app import Installed, Named, decide_installation, installation_of
from worker.receiver.post import REFUSED, Answer, Post, limited, malformed, read_payload
from worker.receiver.rate import Rate
from worker.receiver.repository import Repository
from worker.receiver.signature import verify
from worker.receiver.spool import APP, Spooled
from worker.receiver.store import Store
from worker.receiver.stored import UNSTORABLE, stored_headers, stored_payload
from worker.receiver.webhook import index_job

Outcome = TypeVar("Outcome")

_NOBODY = "No repository registered here is read through this installation of the GitHub App."
_UNREAD = "No repository's reading changes with this event."
_UNNAMED = "It names no installation with a repository."


class AppHook:
    """Receives the posts of one GitHub App."""

    def __init__(
        self,
        store: Store,
        secrets: Sequence[str],
        linking: Linking,
        *,
        supersede: bool,
        on_job: Callable[[str], None],
        rate: Rate | None = None,
    ) -> None:
        """`secrets`: those accepted now; without one every post is refused, as a stranger's is."""
        self._store, self._secrets, self._linking = store, secrets, linking
        self._supersede, self._on_job = supersede, on_job
        self._rate = rate or Rate(0)
        self._linked = Linked(store, linking)

    async def receive(self, post: Post) -> Answer:
        """Answer a post. Work is committed when this returns 2xx. Raises DatabaseUnavailable."""
        payload = self._admitted(post)
        if isinstance(payload, Answer):
            return payload
        return self._too_often(payload) or await self._accept(post, payload)

    def line(self, post: Post) -> str | None:
        """All posts of the App stand behind each other: an installation's events change what its pushes mean."""
        return APP

    def to_keep(self, post: Post) -> Spooled | Answer:
        """What to keep of a post until Postgres answers again. Raises DatabaseUnavailable for all who may not."""
        payload = self._admitted(post)
        if isinstance(payload, Answer):
            return payload
        installation, named = installation_of(payload), _repository_of(payload)
        if installation is None or not self._linked.has_seen(installation, None if named is None else named.number):
            raise DatabaseUnavailable("Postgres does not answer, and the installation or its repository is not known.")
        return self._too_often(payload) or Spooled(None, dict(post.headers), post.body)

    async def accept_kept(self, post: Post) -> Answer:
        """Commit a post that was kept, if the App's secret is still the same. Raises DatabaseUnavailable."""
        payload = self._admitted(post)
        return payload if isinstance(payload, Answer) else await self._accept(post, payload)

    def _admitted(self, post: Post) -> dict[str, Any] | Answer:
        """The payload of a post that GitHub signed, or the answer to all others and to a ping: no database is asked."""
        if not verify(post.body, post.signature, self._secrets):
            metrics.signature_failed("mismatch" if post.signature else "missing")
            return REFUSED
        payload = read_payload(post)
        if not isinstance(payload, Answer) and post.headers["x-github-event"] == "ping":
            return Answer(200, {"status": "ok", "reason": "The App's webhook is set up."}, "ping")
        return payload

    def _too_often(self, payload: Mapping[str, Any]) -> Answer | None:
        named = _repository_of(payload)
        seconds = 0 if named is None else self._rate.seconds_to_wait(named.number)
        return limited(seconds) if seconds else None

    async def _accept(self, post: Post, payload: Mapping[str, Any]) -> Answer:
        event = post.headers["x-github-event"]
        if event in ("installation", "installation_repositories"):
            return await self._change(post, event, payload, decide_installation(event, payload))
        installation, named = installation_of(payload), _repository_of(payload)
        if installation is None or named is None:
            return await self._ignore(_delivery(post, event, payload, _UNNAMED))
        for _ in range(2):
            try:
                return await self._deliver(post, payload, installation, named)
            except (RepositoryChanged, NotFound):
                continue  # what was read is no longer so
        raise DatabaseUnavailable("The repository's row changes faster than it can be read.")

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

    async def _deliver(self, post: Post, payload: Mapping[str, Any], installation: int, named: Named) -> Answer:
        meant: list[Meant] = []
        for repository in await self._linked.find(installation, named):
            one = self._meant(post, payload, repository)
            if isinstance(one, Answer):
                return one  # malformed, whoever it was for
            meant.append(one)
        if not meant:
            return await self._ignore(_delivery(post, post.headers["x-github-event"], payload, _NOBODY))
        return self._answer(post, list(zip(meant, await self._commit(meant, named), strict=True)))

    def _meant(self, post: Post, payload: Mapping[str, Any], repository: Repository) -> Meant | Answer:
        event = post.headers["x-github-event"]
        decision = decide(event, payload, repository.tracked, by_app=True)
        if decision.kind is Kind.MALFORMED:
            return malformed(decision.reason or "")
        job = index_job(repository.id, decision, max_attempts=self._linking.max_attempts, supersede=self._supersede)
        return Meant(repository, _delivery(post, event, payload, decision.reason, repository, job), decision.change)

    async def _commit(self, meant: Sequence[Meant], named: Named) -> list[Delivered]:
        """All of them. What changes no row goes with whatever else comes now, the rest in a transaction of its own."""
        if all(one.change is None and one.repository.tracked.provider_id is not None for one in meant):
            return await _all(*(self._store.deliver(one.delivery, one.repository) for one in meant))

        async def work(connection: Connection) -> list[Delivered]:
            return await deliver_in_turn(connection, meant, named.number)

        return await self._store.transaction(work)

    def _answer(self, post: Post, done: list[tuple[Meant, Delivered]]) -> Answer:
        jobs = [delivered.job_id for _, delivered in done if delivered.job_id is not None]
        duplicate = all(delivered.duplicate for _, delivered in done)
        if not jobs:
            status = done[0][1].status
            reason = done[0][0].delivery.reason or "This delivery was here before."
            return Answer(
                200, {"status": status, "reason": reason}, "processed" if status == "processed" else "ignored"
            )
        if any(delivered.status == "queued" and not delivered.called for _, delivered in done):
            self._on_job(INCREMENTAL_UPDATE)
        content = {
            "status": done[0][1].status,
            "job_ids": [str(job_id) for job_id in jobs],
            "delivery_id": post.headers["x-github-delivery"],
            "duplicate": duplicate,
        }
        return Answer(202, content, "duplicate" if duplicate else "queued")

    async def _ignore(self, delivery: NewDelivery) -> Answer:
        await self._store.deliver(delivery, None)
        return Answer(200, {"status": "ignored", "reason": delivery.reason}, "ignored")


async def _all(*work: Coroutine[Any, Any, Outcome]) -> list[Outcome]:
    """What all of them return; when one fails, its error once the others have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _repository_of(payload: Mapping[str, Any]) -> Named | None:
    part = payload.get("repository")
    part = part if isinstance(part, dict) else {}
    number, name = part.get("id"), part.get("full_name")
    if not is_number(number) or not isinstance(name, str) or UNSTORABLE.search(name):
        return None
    return Named(number, name)


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

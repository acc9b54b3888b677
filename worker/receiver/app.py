"""The receiver's addresses and what each answers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker import metrics, tracing
from worker.credentials.master_keys import MasterKeys
from worker.database.pool import make_pool
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.queue.wake import Caller
from worker.receiver import openapi
from worker.receiver.access_log import AccessLog
from worker.receiver.app_hook import AppHook
from worker.receiver.app_store import linking
from worker.receiver.body import Bodies, BodyTooLarge, Overloaded
from worker.receiver.deadline import within
from worker.receiver.gate import Gate, read_ranges
from worker.receiver.health import Health, report
from worker.receiver.keep import Hook, Keeper
from worker.receiver.post import Answer, Post
from worker.receiver.rate import Rate
from worker.receiver.replay import Replay
from worker.receiver.spool import Spool, Spooled
from worker.receiver.store import Store
from worker.receiver.webhook import Webhook
from worker.settings import Settings

PATIENCE_SECONDS = 1.7
"""How long a request waits for Postgres; its answer is out within two seconds."""

_POSTGRES_SECONDS = 1.5  # less, so that pool and server mostly give up first, and tidily

# Under load a connection is not tried before each batch; after a quiet second none is lent untried.
_TRUST_SECONDS = 1.0

RETRY_SECONDS = 5
_RETRY_AFTER = {"Retry-After": str(RETRY_SECONDS)}

Receiver = Callable[[Post], Coroutine[Any, Any, Answer]]


def make_app(settings: Settings, database_url: str, keys: MasterKeys) -> Starlette:
    """The receiver as an ASGI app; it opens its pool at start-up, and lives on while Postgres is away."""
    # Connections of their own. Posts that wait for a lock must not make a healthy Postgres look dead.
    looks = Store(
        make_pool(database_url, size=1, name="indexing-worker health"),
        seconds=_POSTGRES_SECONDS,
        count_every=settings.worker_metrics_seconds,
    )
    # And a call that waits must not take a post's connection, nor posts keep a call waiting.
    calls = Store(
        make_pool(database_url, size=1, name="indexing-worker calls", trust=_TRUST_SECONDS), seconds=_POSTGRES_SECONDS
    )
    caller = Caller(calls.call)
    posts = Store(
        make_pool(
            database_url, size=settings.database_pool_size, name="indexing-worker receiver", trust=_TRUST_SECONDS
        ),
        seconds=_POSTGRES_SECONDS,
        may_call=caller.may_go_along,
    )
    webhook = Webhook(
        posts,
        keys,
        cache_seconds=settings.cache_ttl_seconds,
        max_attempts=settings.worker_max_attempts,
        supersede=settings.worker_cancel_superseded,
        on_job=caller.announce,
        rate=Rate(settings.worker_receiver_rate_per_minute),
    )
    app_hook = AppHook(
        posts,
        settings.github_app_secrets,
        linking(settings),
        supersede=settings.worker_cancel_superseded,
        on_job=caller.announce,
        rate=Rate(settings.worker_receiver_rate_per_minute),
    )
    spool = _spool(settings)
    routes = Routes(
        _receiving(webhook, spool),
        _receiving(app_hook, spool),
        Health(looks, seconds=PATIENCE_SECONDS),
        Bodies(settings.worker_max_body_bytes),
        _gate(settings),
        spool,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with posts.opened(), looks.opened(), calls.opened(), _replaying(spool, webhook, app_hook):
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await caller.settle()

    return Starlette(routes=_addresses(routes), middleware=[Middleware(AccessLog)], lifespan=lifespan)


def _addresses(routes: "Routes") -> list[Route]:
    """Who answers where."""
    return [
        Route("/webhooks/github", routes.app_webhook, methods=["POST"]),
        Route("/webhooks/github/{repository_id}", routes.webhook, methods=["POST"]),
        Route("/health", routes.health),
        Route("/health/live", routes.live),
        Route("/metrics", routes.metrics),
        Route("/openapi.json", routes.openapi),
    ]


SCRAPE_SECONDS = 0.2
"""A scrape waits for Postgres so long; then it tells what was known."""


class Routes:
    """One method an address."""

    def __init__(
        self,
        webhook: Receiver,
        app_hook: Receiver,
        health: Health,
        bodies: Bodies,
        gate: Gate,
        spool: Spool | None,
    ) -> None:
        self._webhook, self._app_hook = webhook, app_hook
        self._health, self._bodies, self._gate, self._spool = health, bodies, gate, spool

    async def webhook(self, request: Request) -> Response:
        """Take a delivery: 202 means that it and its job are committed."""
        return await self._respond(request, self._webhook)

    async def app_webhook(self, request: Request) -> Response:
        """Take a delivery to the GitHub App."""
        return await self._respond(request, self._app_hook)

    async def _respond(self, request: Request, receive: Receiver) -> Response:
        begun = time.time_ns()
        answer = await self._answer(request, receive)
        _tell_job(request, answer, begun)
        metrics.delivery(request.headers.get("x-github-event"), answer.outcome)
        headers = None if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
        return JSONResponse(answer.content, answer.status, headers)

    async def _answer(self, request: Request, receive: Receiver) -> Answer:
        if not self._gate.admits(request):
            return Answer(403, {"status": "forbidden", "reason": "Not from one of GitHub's addresses."}, "forbidden")
        try:
            async with self._bodies.held(request) as body:
                return await receive(Post(_repository_id(request), request.headers, body))
        except BodyTooLarge:
            return Answer(413, {"status": "too_large", "reason": "The body is over the limit."}, "too_large")
        except (TimeoutError, ClientDisconnect):
            return Answer(408, {"status": "timeout", "reason": "The body did not arrive in time."}, "malformed")
        except Overloaded:
            return _unavailable("Too many large bodies at once.")
        except DatabaseUnavailable as failure:
            get_logger().warning("delivery not taken", reason=str(failure))
            return _unavailable("The database does not answer; deliver again later.")

    async def health(self, _: Request) -> Response:
        """How the pipeline is: 200, or 503 while Postgres does not answer."""
        snapshot = await self._health.snapshot()
        facts = report(snapshot, spooled=None if self._spool is None else len(self._spool))
        return JSONResponse(facts, 503, _RETRY_AFTER) if snapshot is None else JSONResponse(facts)

    async def live(self, _: Request) -> Response:
        """The process answers; Postgres is not asked."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        """Prometheus' text format, the queue's depth included."""
        look = asyncio.create_task(self._health.snapshot())
        await asyncio.wait({look}, timeout=SCRAPE_SECONDS)  # a scrape tells more than Postgres' state
        return Response(metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def openapi(self, _: Request) -> Response:
        """These addresses in OpenAPI's form."""
        return JSONResponse(openapi.document())


def _receiving(hook: Hook, spool: Spool | None) -> Receiver:
    """What an address does with a post: an answer within the time a request waits for Postgres, or the spool."""
    if spool is not None:
        return Keeper(hook, spool, seconds=PATIENCE_SECONDS).receive

    async def receive_in_time(post: Post) -> Answer:
        return await within(PATIENCE_SECONDS, hook.receive(post))

    return receive_in_time


def _gate(settings: Settings) -> Gate:
    return Gate(
        read_ranges(settings.worker_receiver_allow, name="WORKER_RECEIVER_ALLOW"),
        read_ranges(settings.worker_receiver_trusted_proxies, name="WORKER_RECEIVER_TRUSTED_PROXIES"),
        header=settings.worker_receiver_client_header,
    )


def _spool(settings: Settings) -> Spool | None:
    """The spool, where one is switched on; its folder is this process's from now on."""
    if settings.worker_receiver_spool_dir is None:
        return None
    folder = settings.worker_receiver_spool_dir.expanduser().absolute()
    spool = Spool(folder, most_bytes=settings.worker_receiver_spool_mb * 1_000_000)
    spool.open()
    metrics.spooled(len(spool))
    return spool


@contextlib.asynccontextmanager
async def _replaying(spool: Spool | None, webhook: Hook, app_hook: Hook) -> AsyncIterator[None]:
    """While the receiver runs, what the spool holds goes to Postgres as soon as that answers."""
    if spool is None:
        yield
        return
    keepers = {hook: Keeper(hook, spool, seconds=PATIENCE_SECONDS) for hook in (webhook, app_hook)}

    async def replay(kept: Spooled) -> None:
        await keepers[app_hook if kept.repository_id is None else webhook].replay(kept)

    task = asyncio.create_task(Replay(spool, replay).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        spool.close()


def _tell_job(request: Request, answer: Answer, begun: int) -> None:
    """The job's id into the request's log line, and the delivery into the job's trace."""
    job = answer.content.get("job_id")
    if job is None:
        return
    request.scope["log_facts"] = {"job": job}
    if tracing.is_on():
        facts = {"delivery.id": answer.content.get("delivery_id"), "outcome": answer.outcome, "status": answer.status}
        facts["event"] = request.headers.get("x-github-event")
        tracing.delivered(UUID(job), begun, time.time_ns(), facts)


def _repository_id(request: Request) -> UUID | None:
    text: str = request.path_params.get("repository_id", "")
    with contextlib.suppress(ValueError):
        repository_id = UUID(text)
        return repository_id if str(repository_id) == text.lower() else None
    return None


def _unavailable(reason: str) -> Answer:
    return Answer(503, {"status": "unavailable", "reason": reason}, "unavailable", retry_after=RETRY_SECONDS)

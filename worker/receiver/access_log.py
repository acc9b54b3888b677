"""One line and one metric a request: never a body, a query or a secret."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker import metrics
from worker.logging import get_logger
from worker.receiver.stored import clean

_ROUTES = {"/health": "health", "/health/live": "live", "/metrics": "metrics"}


class AccessLog:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and tell how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            _tell(scope, status, time.perf_counter() - started)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    path: str = scope["path"]
    route = "webhook" if path.startswith("/webhooks/") else _ROUTES.get(path, "none")
    metrics.answered(route, status, seconds)
    facts = {"method": scope["method"], "path": clean(path), "status": status, "ms": round(seconds * 1000, 1)}
    for name, value in scope["headers"]:
        if name == b"x-github-delivery":
            facts["delivery"] = clean(value.decode("latin-1"))
    facts |= scope.get("log_facts", {})
    log = get_logger()
    write = log.debug if route in ("health", "live", "metrics") and status == 200 else log.info
    write("request", **facts)

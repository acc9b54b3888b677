"""Run the receiver: one process that answers until it is told to stop, and then finishes what it began."""

import contextlib
import gc
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from worker.credentials.master_keys import load_master_keys
from worker.logging import get_logger
from worker.ports import FOR_RECEIVING, listen_on
from worker.receiver.app import make_app
from worker.settings import Settings

_MOST_CONNECTIONS = 1000
_MOST_HEADER_BYTES = 32_768  # for h11
_IDLE_SECONDS = 20
_GRACE_SECONDS = 10


def serve(settings: Settings, database_url: str, *, ready: Callable[[int], None] | None = None) -> None:
    """Answer webhooks until SIGTERM or SIGINT; returns after a graceful stop.

    `ready` gets the port once it is bound. Raises MasterKeyError, PortUnavailable.
    """
    server = make_server(settings, database_url, ready=ready)
    _calm_collector()
    server.run()


def _calm_collector() -> None:
    """Let Python look for cycles seldom, and never through the program itself: it held up a few posts in a hundred.

    Posts leave hardly any cycles; what they do leave is found some thousand objects later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def make_server(
    settings: Settings, database_url: str, *, ready: Callable[[int], None] | None = None
) -> "ReceiverServer":
    """The server, not started; `run()` blocks, setting `should_exit` ends it."""
    app = make_app(settings, database_url, load_master_keys(settings))
    config = uvicorn.Config(
        app,
        host=settings.worker_http_host,
        port=settings.worker_receiver_port,
        http=_protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # ours says what an operator needs
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return ReceiverServer(config, ready)


def _protocol() -> Any:
    """The fast parser with our limits, or h11, which has limits of its own."""
    if importlib.util.find_spec("httptools") is None:
        return "h11"
    from worker.receiver.protocol import LimitedHeaders

    return LimitedHeaders


class ReceiverServer(uvicorn.Server):
    """uvicorn, which says its port and ends quietly when a signal asked it to."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """Bind, then tell the port."""
        config = self.config
        await super().startup(sockets or [listen_on(config.host, config.port, named=FOR_RECEIVING)])
        if not self.started:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        get_logger().info("receiver listens", host=self.config.host, port=port)
        if self._ready is not None:
            self._ready(port)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; at once on the second. uvicorn would raise them again after its stop."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

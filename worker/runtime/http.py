"""Health and metrics of a worker process, served from a thread of their own: a blocked loop must not hide itself."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from worker import metrics
from worker.ports import FOR_METRICS, listen_on

Health = Callable[[], tuple[bool, dict[str, Any]]]


class HealthServer:
    """Answers /health, /health/live and /metrics until closed; raises PortUnavailable."""

    def __init__(self, host: str, port: int, health: Health, *, before_metrics: Callable[[], None]) -> None:
        """`before_metrics` is called, and waited for, before metrics are answered."""
        handler = _handler(health, before_metrics)
        self._server = ThreadingHTTPServer((host, port), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listen_on(host, port, named=FOR_METRICS)
        self._server.daemon_threads = True
        self.port: int = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health, before_metrics: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    before_metrics()
                    self._answer(200, CONTENT_TYPE_LATEST, metrics.exposition())
                case "/health/live":
                    self._answer(200, "application/json", b'{"status": "ok"}')
                case "/health":
                    healthy, facts = health()
                    body = json.dumps({"status": "ok" if healthy else "degraded", **facts}).encode()
                    self._answer(200 if healthy else 503, "application/json", body)
                case _:
                    self._answer(404, "application/json", b'{"error": "not found"}')

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line."""

    return Handler

"""The limit of HTTP: a bare ASGI app on the same server that checks the signature and answers, and does nothing more.

`python -m bench._receiver.bare SECRET` prints its port.
"""

import hashlib
import hmac
import sys
from typing import Any

import uvicorn

_ANSWER = b'{"status":"queued"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]


def make_app(secret: bytes) -> Any:
    """Answers 202 to what is signed with this secret, else 401."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        chunks, more = [], True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        given = dict(scope["headers"]).get(b"x-hub-signature-256", b"")
        made = b"sha256=" + hmac.new(secret, b"".join(chunks), hashlib.sha256).hexdigest().encode()
        status = 202 if hmac.compare_digest(made, given) else 401
        await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})

    return app


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    config = uvicorn.Config(make_app(sys.argv[1].encode()), port=0, http="httptools", access_log=False, lifespan="off")
    config.log_level = "critical"
    _Server(config).run()

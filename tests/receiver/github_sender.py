"""A sender of webhooks that knows GitHub and not this project: it signs by itself and writes its requests by hand."""

import contextlib
import hashlib
import hmac
import json
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: status 0 when the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def facts(self) -> dict[str, Any]:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class GitHubSender:
    """One webhook of one repository as GitHub has it: an address and a secret."""

    port: int
    path: str
    secret: str

    def headers(self, body: bytes, event: str, delivery: str) -> dict[str, str]:
        """The headers GitHub sends, in its order."""
        secret = self.secret.encode()
        return {
            "Host": "receiver.example",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "Content-Length": str(len(body)),
            "Accept": "*/*",
            "Content-Type": "application/json",
            "X-GitHub-Delivery": delivery,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-ID": "292430182",
            "X-GitHub-Hook-Installation-Target-ID": "79929171",
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature": "sha1=" + hmac.new(secret, body, hashlib.sha1).hexdigest(),
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
        }

    def post(
        self,
        body: bytes,
        *,
        event: str = "push",
        delivery: str | None = None,
        headers: dict[str, str | bytes | None] | None = None,
        chunks: Sequence[bytes] | None = None,
        sent: bytes | None = None,
        end: bool = False,
        timeout: float = 30,
    ) -> Reply:
        """One request. `headers` change GitHub's (None: left out); `chunks`: chunked encoding; `sent`: other bytes than
        those signed; `end`: nothing more will come after them.
        """
        given: dict[str, str | bytes | None] = {**self.headers(body, event, delivery or str(uuid.uuid4()))}
        if chunks is not None:
            given |= {"Content-Length": None, "Transfer-Encoding": "chunked"}
            sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        given |= headers or {}
        lines = [b"POST " + self.path.encode() + b" HTTP/1.1"]
        for name, value in given.items():
            if value is not None:
                lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before all was read
                connection.sendall(head + (body if sent is None else sent))
                if end:
                    connection.shutdown(socket.SHUT_WR)
            return _reply(connection)


def _reply(connection: socket.socket) -> Reply:
    data = b"".join(_until_answered(connection))
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Reply(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


def _until_answered(connection: socket.socket) -> Iterator[bytes]:
    seen = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            yield data
            seen += data
            head, found, body = seen.partition(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if found and line.startswith(b"content-length:") and len(body) >= int(line.partition(b":")[2]):
                    return

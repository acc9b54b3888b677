"""The sender: many keep-alive connections that post signed pushes as fast as they are answered, or at a given rate.

`python -m bench._receiver.sender` reads a Plan (JSON) from stdin and prints what it saw, one JSON object.
"""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import uvloop


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to post what. `targets`: (path, secret) pairs, taken in turn.

    `same`: "" for deliveries of their own to branches of their own; "delivery" for one delivery again and again;
    "branch" for deliveries of their own to one branch of the first target. `rate`: posts a second, all connections
    together; 0: as fast as answered.
    """

    port: int
    targets: list[tuple[str, str]]
    clients: int
    posts: int
    body_bytes: int
    rate: float = 0
    same: str = ""
    name: str = "run"


class Poster:
    """Builds posts. The long part of a body comes first, so that its HMAC is computed once and only copied."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._prefix = _long_part(plan.body_bytes)
        self._begun: dict[str, hmac.HMAC] = {}

    def post(self, number: int) -> bytes:
        """The bytes of one request."""
        plan = self._plan
        path, secret = plan.targets[0 if plan.same else number % len(plan.targets)]
        branch = "main" if plan.same else f"{plan.name}-{number}"
        tail = (
            f'"ref":"refs/heads/{branch}","before":"{"a" * 40}","after":"{number + 1:040x}","forced":false}}'.encode()
        )
        if secret not in self._begun:
            self._begun[secret] = hmac.new(secret.encode(), self._prefix, hashlib.sha256)
        signature = self._begun[secret].copy()
        signature.update(tail)
        delivery = f"{plan.name}-0" if plan.same == "delivery" else f"{plan.name}-{number}"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: GitHub-Hookshot/bench\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: {delivery}\r\n"
            f"X-GitHub-Hook-ID: 1\r\nX-Hub-Signature-256: sha256={signature.hexdigest()}\r\n"
            f"Content-Length: {len(self._prefix) + len(tail)}\r\n\r\n"
        )
        return head.encode() + self._prefix + tail


def _long_part(size: int) -> bytes:
    """A push of one commit, cut before its ref; the commit's message fills it up to about this size."""
    repository = {"id": 7, "full_name": "acme/repo", "default_branch": "main", "private": False}
    commit = {"id": "b" * 40, "added": ["src/new.py"], "modified": ["README.md", "src/a.py"], "removed": []}
    fields = {"repository": repository, "pusher": {"name": "octocat"}, "sender": {"login": "octocat"}}
    urls = [{"url": f"https://api.github.com/repos/acme/repo/git/commits{n}", "n": n} for n in range(size // 90)]
    return (json.dumps({**fields, "commits": [commit], "links": urls})[:-1] + ", ").encode()


class Client(asyncio.Protocol):
    """One connection; posts again as soon as it is answered."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """One answer, maybe in pieces."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self._buffer = b""
        self._run.answered(int(head[9:12]), time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.left()

    def _next(self) -> None:
        post = self._run.next()
        if post is None:
            self._transport.close()
            return
        number, delay = post
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._send, number, time.perf_counter() + delay)
        else:
            self._send(number, time.perf_counter() + delay if self._run.plan.rate else time.perf_counter())

    def _send(self, number: int, due: float) -> None:
        self._sent = due  # at a given rate the time counts from when it was due: a late sender hides nothing
        self._transport.write(self._run.poster.post(number))


class Run:
    """One plan being carried out."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.poster = plan, Poster(plan)
        self._numbers = iter(range(plan.posts))
        self._took: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._open = plan.clients
        self._done = asyncio.Event()
        self._started = time.perf_counter()

    def next(self) -> tuple[int, float] | None:
        """The next post's number and how long until it is due; None: all are out."""
        number = next(self._numbers, None)
        if number is None:
            return None
        return number, (self._started + number / self.plan.rate - time.perf_counter()) if self.plan.rate else 0.0

    def answered(self, status: int, seconds: float) -> None:
        self._took.append(seconds)
        self._statuses[status] += 1

    def left(self) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()

    async def go(self) -> dict[str, Any]:
        """Post all; answers rates, latencies in milliseconds and how often each status came."""
        loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        for _ in range(self.plan.clients):
            await loop.create_connection(lambda: Client(self), "127.0.0.1", self.plan.port)
        await self._done.wait()
        seconds = time.perf_counter() - self._started
        took = sorted(self._took)
        return {
            "per_s": len(took) / seconds,
            "p50_ms": took[len(took) // 2] * 1000,
            "p99_ms": took[len(took) * 99 // 100] * 1000,
            "max_ms": took[-1] * 1000,
            "statuses": dict(self._statuses),
        }


async def _main() -> None:
    plan = Plan(**json.load(sys.stdin))
    print(json.dumps(await Run(plan).go()))


def as_json(plan: Plan) -> str:
    """What this module reads from stdin."""
    return json.dumps(dataclasses.asdict(plan))


if __name__ == "__main__":
    uvloop.run(_main())

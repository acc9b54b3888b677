"""A real receiver over real HTTP, a sender that signs as GitHub does, and a proxy that can be cut."""

import asyncio
import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from worker.credentials.master_keys import MasterKeys, load_master_keys
from worker.receiver.provision import provision_secret
from worker.receiver.serve import make_server
from worker.receiver.signature import sign
from worker.settings import Settings

KEYS = "k1=" + "0123456789abcdef" * 2
OLD, NEW = "a" * 40, "b" * 40


def make_settings(database_url: str, **values: Any) -> Settings:
    """Settings of a receiver on any free port."""
    defaults = {"worker_receiver_port": 0, "worker_master_keys": KEYS}
    return Settings(_env_file=None, database_url=database_url, **defaults | values)  # type: ignore[call-arg]


def make_push(ref: str = "refs/heads/main", **changes: Any) -> dict[str, Any]:
    """A push's payload, cut to what decides."""
    return {
        "ref": ref,
        "before": OLD,
        "after": NEW,
        "created": False,
        "deleted": False,
        "forced": False,
        "commits": [{"added": [], "modified": ["README.md"], "removed": []}],
        "repository": {"id": 7, "full_name": "acme/repo", "default_branch": "main"},
    } | changes


@dataclass(slots=True)
class Sender:
    """Posts to one repository's webhook, signed with its secret."""

    client: httpx.Client
    repository: uuid.UUID
    secret: str

    def post(
        self,
        payload: dict[str, Any] | bytes,
        *,
        event: str = "push",
        delivery: str | None = None,
        secret: str | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> httpx.Response:
        """One delivery; a header that is None is left out."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
            "X-Hub-Signature-256": sign(body, secret or self.secret),
        } | (headers or {})
        sent = {name: value.encode("latin-1") for name, value in given.items() if value is not None}
        headers_sent = {name.encode(): value for name, value in sent.items()}
        return self.client.post(f"/webhooks/github/{self.repository}", content=body, headers=headers_sent)


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    """A receiver in a thread of this process, and a client of it."""
    assert settings.database_url is not None
    bound, ports = threading.Event(), list[int]()

    def ready(port: int) -> None:
        ports.append(port)
        bound.set()

    server = make_server(settings, settings.database_url.get_secret_value(), ready=ready)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert bound.wait(20)
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def keys(database_url: str) -> MasterKeys:
    """The master keys of these receivers."""
    return load_master_keys(make_settings(database_url))


@pytest.fixture
def receiver(database_url: str) -> Iterator[httpx.Client]:
    """A client of a receiver at work."""
    with running(make_settings(database_url)) as client:
        yield client


@pytest.fixture
def make_sender(
    db: psycopg.Connection[dict[str, Any]], keys: MasterKeys, make_repository: Callable[..., uuid.UUID]
) -> Callable[..., Sender]:
    """Register a repository with a webhook secret; keyword arguments are columns."""

    def make(client: httpx.Client, **columns: Any) -> Sender:
        repository = make_repository(**columns)
        return Sender(client, repository, provision_secret(db, keys, repository))

    return make


@pytest.fixture
def sender(receiver: httpx.Client, make_sender: Callable[..., Sender]) -> Sender:
    """A sender for one repository at the running receiver."""
    return make_sender(receiver)


class Proxy:
    """Stands between the receiver and Postgres: can be cut (refuses, drops) or frozen (silent)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.restore()
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{self.port}").geturl()

    def restore(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen())

    def cut(self) -> None:
        """Drop every connection and refuse new ones."""
        self._run(self._cut())

    def freeze(self) -> None:
        """Pass on nothing more, and close nothing."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        """Pass on what waited."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def close(self) -> None:
        """Stop for good."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy in front of this test's database."""
    proxy = Proxy(database_url)
    yield proxy
    proxy.close()

"""Limits of the receiver: how often, from where, how slowly, how much."""

import asyncio
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection, Request

from tests.receiver.conftest import Sender, make_push, make_settings, running
from worker.errors import SettingsError
from worker.receiver import protocol
from worker.receiver.body import Bodies, BodyTooLarge, Overloaded
from worker.receiver.gate import Gate, read_ranges
from worker.receiver.rate import Rate

_META = Path(__file__).parent / "payloads" / "meta.json"


def test_a_repository_that_delivers_too_often_is_told_when_to_come_again(
    database_url: str, make_sender: Callable[..., Sender]
) -> None:
    """429 with Retry-After for that repository alone; strangers use up nobody's share."""
    with running(make_settings(database_url, worker_receiver_rate_per_minute=3)) as client:
        sender, other = make_sender(client), make_sender(client)
        for _ in range(5):
            assert sender.post(make_push(), secret="another").status_code == 401
        answers = [sender.post(make_push()) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[3].json()["status"] == "limited"
        assert 0 < int(answers[3].headers["retry-after"]) <= 20
        assert other.post(make_push()).status_code == 202


def test_a_bucket_fills_evenly() -> None:
    """A minute's worth at once, then one each sixtieth of it; 0 is no limit."""
    now = [0.0]
    rate, one = Rate(60, clock=lambda: now[0]), uuid.uuid4()
    assert [rate.seconds_to_wait(one) for _ in range(61)] == [0.0] * 60 + [pytest.approx(1.0)]
    now[0] = 0.5
    assert rate.seconds_to_wait(one) == pytest.approx(0.5)
    now[0] = 1.01
    assert rate.seconds_to_wait(one) == 0.0
    assert rate.seconds_to_wait(one) > 0
    assert {Rate(0).seconds_to_wait(one) for _ in range(1000)} == {0.0}


@pytest.mark.parametrize(
    ("peer", "told", "is_in"),
    [
        ("140.82.112.9", None, True),
        ("::ffff:140.82.112.9", None, True),
        ("2a0a:a440::17", None, True),
        ("203.0.113.5", None, False),
        ("203.0.113.5", "140.82.112.9", False),  # anybody may claim to be GitHub
        ("10.0.0.3", "140.82.112.9", True),
        ("10.0.0.3", "203.0.113.5", False),
        ("10.0.0.3", "140.82.112.9, 203.0.113.5", False),  # the first one was said by the sender
        ("10.0.0.3", "203.0.113.5, 140.82.112.9, 10.0.0.4", True),
        ("10.0.0.3", "140.82.112.9, nonsense", False),
        ("10.0.0.3", None, False),
        ("", None, False),
    ],
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "fly-client-ip"])
def test_only_trusted_proxies_are_believed(header: str, peer: str, told: str | None, *, is_in: bool) -> None:
    """The sender is the last address that no proxy of ours has; ranges come in the shape of GitHub's `meta`."""
    gate = Gate(read_ranges(str(_META), name="X"), read_ranges("10.0.0.0/8", name="Y"), header=header)
    headers = [] if told is None else [(header.encode(), told.encode())]
    request = HTTPConnection({"type": "http", "client": (peer, 1) if peer else None, "headers": headers})
    assert gate.admits(request) is is_in


def test_without_ranges_everybody_may_come() -> None:
    """The list is off by default."""
    request = HTTPConnection({"type": "http", "client": None, "headers": []})
    assert Gate([], [], header="x-forwarded-for").admits(request)


@pytest.mark.parametrize("given", ["192.30.252.0/99", "nowhere.json", "300.1.1.1"])
def test_ranges_that_cannot_be_read_are_named(given: str) -> None:
    """The receiver does not start with a list that would admit nobody, or all."""
    with pytest.raises(SettingsError, match="WORKER_RECEIVER_ALLOW"):
        read_ranges(given, name="WORKER_RECEIVER_ALLOW")


def test_a_file_without_hooks_is_named(tmp_path: Path) -> None:
    """An empty list would admit everybody."""
    for text in ('{"hooks": []}', '{"web": ["1.1.1.1/32"]}', "[]", "{"):
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(SettingsError):
            read_ranges(str(tmp_path / "meta.json"), name="WORKER_RECEIVER_ALLOW")


def test_a_sender_from_elsewhere_gets_403(database_url: str, make_sender: Callable[..., Sender]) -> None:
    """With a list that this machine is not on, a signed post is refused; health and metrics are still there."""
    with running(make_settings(database_url, worker_receiver_allow="192.30.252.0/22")) as client:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 403
        told = sender.post(make_push(), headers={"X-Forwarded-For": "192.30.252.1"})
        assert told.status_code == 403
        assert client.get("/health").status_code == 200
    with running(
        make_settings(
            database_url, worker_receiver_allow="192.30.252.0/22", worker_receiver_trusted_proxies="127.0.0.0/8"
        )
    ) as client:
        sender = Sender(client, sender.repository, sender.secret)
        assert sender.post(make_push(), headers={"X-Forwarded-For": "192.30.252.1"}).status_code == 202
        assert sender.post(make_push(), headers={"X-Forwarded-For": "192.30.252.1, 9.9.9.9"}).status_code == 403


def test_slow_headers_are_not_waited_for(receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that send a byte now and then are closed in time, while others are served."""
    monkeypatch.setattr(protocol, "PATIENCE_SECONDS", 0.5)
    address = ("127.0.0.1", receiver.base_url.port or 80)
    ended: list[float] = []

    def dawdle() -> None:
        with socket.create_connection(address, timeout=10) as connection:
            started = time.monotonic()
            try:
                while time.monotonic() - started < 8:
                    connection.sendall(b"P")
                    connection.settimeout(0.1)
                    try:
                        if connection.recv(100) == b"":
                            break
                    except TimeoutError:
                        continue
            except OSError:
                pass
            ended.append(time.monotonic() - started)

    threads = [threading.Thread(target=dawdle) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert receiver.get("/health/live").status_code == 200
    for thread in threads:
        thread.join(20)
    assert len(ended) == 20
    assert max(ended) < 7


def test_a_body_that_does_not_come_is_not_waited_for(
    sender: Sender, receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers, and then nothing: 408 in time, and nothing is held for it."""
    from worker.receiver import body

    monkeypatch.setattr(body, "PATIENCE_SECONDS", 0.3)
    address = ("127.0.0.1", receiver.base_url.port or 80)
    with socket.create_connection(address, timeout=10) as connection:
        head = f"POST /webhooks/github/{sender.repository} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab"
        connection.sendall(head.encode())
        assert b" 408 " in connection.recv(1000)
    assert sender.post(make_push()).status_code == 202


def test_bodies_count_until_they_are_answered() -> None:
    """While Postgres keeps posts waiting their bodies fill the memory for bodies; small ones find room even then."""

    def request(size: int) -> Request:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * size, "more_body": False}

        return Request({"type": "http", "method": "POST", "headers": []}, receive)

    async def hold() -> None:
        bodies = Bodies(100_000, budget=150_000)
        async with bodies.held(request(100_000)) as body:
            assert len(body) == 100_000
            with pytest.raises(Overloaded):
                async with bodies.held(request(90_000)):
                    pass
            async with bodies.held(request(60_000)) as small:
                assert len(small) == 60_000
        async with bodies.held(request(90_000)):
            pass
        with pytest.raises(BodyTooLarge):
            async with bodies.held(request(100_001)):
                pass

    asyncio.run(hold())


def test_the_access_log_names_no_secret(sender: Sender, capfd: pytest.CaptureFixture[str]) -> None:
    """A line a request, with its delivery; never a body, a query, a signature or a secret."""
    word: Any = uuid.uuid4().hex
    sender.post(make_push(marker=word), delivery="seen-delivery")
    sender.client.post(f"/webhooks/github/{sender.repository}?token={word}", content=word)
    log = capfd.readouterr().err
    assert "seen-delivery" in log
    assert word not in log
    assert sender.secret not in log
    assert "sha256=" not in log

"""Deliveries that an App's webhook did not take are asked for again, at a local server that speaks GitHub's API."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.credentials.test_github_app import Api, pem
from tests.fixtures.github_api import Attempt, GitHub
from tests.fixtures.workers import WorkerProcess, eventually
from worker.credentials.github_app import App
from worker.errors import GitHubApiError
from worker.runtime.redeliver import MOST_ATTEMPTS, MOST_REQUESTS, Redelivered, redeliver

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """The App's key; making one takes its time."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@pytest.fixture
def github(github_api: GitHub, key: rsa.RSAPrivateKey) -> GitHub:
    """GitHub, which checks that it is App 42 that asks."""

    def is_app(token: str) -> bool:
        claims = Api.claims(_Key(key), f"Bearer {token}")  # type: ignore[arg-type]
        return claims["iss"] == "42"

    github_api.is_app = is_app
    return github_api


class _Key:
    """What reads a JWT's claims, once its signature holds."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key.public_key()


def _at(seconds_ago: float, *, now: float = NOW) -> str:
    return datetime.fromtimestamp(now - seconds_ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _run(github: GitHub, key: rsa.RSAPrivateKey) -> Redelivered:
    return asyncio.run(redeliver(App("42", pem(key), github.url), clock=lambda: NOW))


def test_what_failed_is_asked_for_once_the_oldest_first(github: GitHub, key: rsa.RSAPrivateKey) -> None:
    """By guid: one attempt that was taken settles it; its newest failed attempt is what GitHub repeats."""
    github.attempts = [
        Attempt(1, "a", 503, _at(7200)),
        Attempt(2, "b", 202, _at(7100)),
        Attempt(3, "c", 0, _at(7000)),  # nobody answered
        Attempt(4, "a", 502, _at(3600), redelivery=True),
        Attempt(5, "d", 500, _at(3500)),
        Attempt(6, "d", 200, _at(3400), redelivery=True),
    ]
    assert _run(github, key) == Redelivered(2, 2)
    assert github.redelivered == [3, 4]


def test_all_pages_are_looked_at_and_the_old_left_alone(github: GitHub, key: rsa.RSAPrivateKey) -> None:
    """A failure behind hundreds of successes is found; what is older than three days GitHub no longer has."""
    old, day = 4 * 86_400, 86_400
    github.attempts = [Attempt(1, "old", 503, _at(old)), Attempt(2, "failed", 503, _at(day))]
    github.attempts += [Attempt(n, f"fine-{n}", 202, _at(day / 2)) for n in range(3, 353)]
    assert _run(github, key) == Redelivered(1, 1)
    assert github.redelivered == [2]
    assert len([path for method, path in github.asked if method == "GET"]) == 4


def test_the_young_the_hopeless_and_too_many_are_left(github: GitHub, key: rsa.RSAPrivateKey) -> None:
    """One under way, one that failed five times, and more than a run may ask for."""
    github.attempts = [Attempt(1, "young", 503, _at(10))]
    github.attempts += [Attempt(n, "hopeless", 503, _at(9000 - n)) for n in range(2, 2 + MOST_ATTEMPTS)]
    assert _run(github, key) == Redelivered(0, 0)
    github.attempts += [Attempt(n, f"down-{n}", 503, _at(600)) for n in range(100, 100 + MOST_REQUESTS + 7)]
    assert _run(github, key) == Redelivered(MOST_REQUESTS + 7, MOST_REQUESTS)
    assert len(github.redelivered) == MOST_REQUESTS


@pytest.mark.parametrize("status", [301, 401, 403, 404, 500])
def test_a_refusal_is_an_error_without_the_jwt(github: GitHub, key: rsa.RSAPrivateKey, status: int) -> None:
    """A redirect would take the JWT elsewhere: it is a refusal too."""
    github.status, github.headers = status, {"Location": "http://127.0.0.1:1/"}
    with pytest.raises(GitHubApiError, match=str(status)) as refusal:
        _run(github, key)
    assert "eyJ" not in str(refusal.value)


def test_another_page_is_followed_on_the_same_api_only(github: GitHub, key: rsa.RSAPrivateKey) -> None:
    """What a server calls its next page does not get the JWT."""
    github.attempts = [Attempt(n, f"fine-{n}", 202, _at(60)) for n in range(150)]
    github.url = "http://127.0.0.1:1"  # what it says of itself in its links
    app = App("42", pem(key), f"http://127.0.0.1:{github.port}")
    assert asyncio.run(redeliver(app, clock=lambda: NOW)) == Redelivered(0, 0)


def test_maintenance_asks_by_itself(
    github: GitHub, key: rsa.RSAPrivateKey, start_worker: Callable[..., WorkerProcess], db: psycopg.Connection[Any]
) -> None:
    """A real worker with the App's credentials; its log says so, without a secret."""
    github.attempts = [Attempt(1, "a", 503, _at(600, now=time.time()))]
    db.execute("update maintenance_tasks set next_run_at = now() where name = 'redeliver'")
    worker = start_worker(
        WORKER_GITHUB_APP_ID="42",
        WORKER_GITHUB_APP_KEY=pem(key),
        WORKER_GITHUB_APP_SECRET="planted-app-secret-01",
        WORKER_GITHUB_API_URL=github.url,
    )
    assert eventually(lambda: github.redelivered == [1], seconds=60, what="the delivery is asked for")
    assert "planted" not in str(worker.lines)
    assert db.execute("select last_error from maintenance_tasks where name = 'redeliver'").fetchone() == {
        "last_error": None
    }

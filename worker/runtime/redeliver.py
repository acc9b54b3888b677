"""Ask GitHub again for what an App's webhook did not take: GitHub keeps failed deliveries for three days, and waits.

GitHub's own list says which deliveries failed, so nothing is remembered here: a delivery counts by its guid, one
attempt that was taken settles it, and one that keeps failing is asked for a few times only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from worker.credentials.github_app import App, private_key
from worker.errors import GitHubApiError

MOST_ATTEMPTS = 5
MOST_PAGES = 20
MOST_REQUESTS = 100
"""A run asks for no more deliveries than this; GitHub gives an App 5,000 requests an hour."""

REACH = timedelta(days=3)
YOUNGEST = timedelta(minutes=1)
"""An attempt so young may still be under way, or its successor asked for."""

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Redelivered:
    """How many deliveries had failed, and how many of them were asked for again."""

    failed: int
    asked: int


async def redeliver(app: App, *, clock: Callable[[], float] = time.time) -> Redelivered:
    """Ask for each delivery of the App's webhook that no attempt of these days brought here. Raises GitHubApiError."""
    headers = app.headers(private_key(app.private_key), clock())
    now = datetime.fromtimestamp(clock(), UTC)
    try:
        # No proxy or netrc of the environment gets in between, and no redirect takes the JWT elsewhere.
        async with httpx.AsyncClient(headers=headers, timeout=15, trust_env=False, follow_redirects=False) as client:
            failed = _failed(await _attempts(client, app, now), now)
            for attempt in failed[:MOST_REQUESTS]:
                await _ask(client, "POST", f"{app.api_url}/app/hook/deliveries/{attempt['id']}/attempts")
    except httpx.HTTPError as failure:
        raise GitHubApiError(f"GitHub's API does not answer: {type(failure).__name__}.") from None
    except (KeyError, TypeError, ValueError):  # a proxy's page, say
        raise GitHubApiError("GitHub's API answered with something that is no list of deliveries.") from None
    return Redelivered(len(failed), min(len(failed), MOST_REQUESTS))


async def _attempts(client: httpx.AsyncClient, app: App, now: datetime) -> list[dict[str, Any]]:
    """Every attempt of the last days, newest first, as far as the pages go."""
    found: list[dict[str, Any]] = []
    page: str | None = f"{app.api_url}/app/hook/deliveries?per_page={_PAGE}"
    for _ in range(MOST_PAGES):
        answer = await _ask(client, "GET", page)
        rows = [row for row in answer.json() if now - _time(row) <= REACH]
        found += rows
        following = answer.links.get("next", {}).get("url")
        # Only pages of the same API get the JWT.
        page = following if following and following.startswith(f"{app.api_url}/") else None
        if page is None or len(rows) < _PAGE:
            break
    return found


def _failed(attempts: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The newest attempt of each delivery that nobody took, the oldest delivery first."""
    by_guid: dict[str, list[dict[str, Any]]] = {}
    for attempt in attempts:
        by_guid.setdefault(str(attempt["guid"]), []).append(attempt)
    failed = [
        tried[0]
        for tried in by_guid.values()
        if not any(_was_taken(attempt) for attempt in tried)
        and len(tried) < MOST_ATTEMPTS
        and now - _time(tried[0]) >= YOUNGEST
    ]
    return failed[::-1]


def _was_taken(attempt: dict[str, Any]) -> bool:
    return 200 <= int(attempt["status_code"]) < 300


def _time(attempt: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(attempt["delivered_at"])


async def _ask(client: httpx.AsyncClient, method: str, url: str) -> httpx.Response:
    answer = await client.request(method, url)
    if not answer.is_success:
        raise GitHubApiError(f"GitHub's API answers {answer.status_code} about this App's deliveries.")
    return answer

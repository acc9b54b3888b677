"""GitHub App installation tokens: an hour long, for one repository's contents, kept until shortly before their end.

The app proves itself with a JWT signed by its private key; GitHub then gives out a token of one of its installations.
"""

import asyncio
import base64
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from worker.errors import AccessDenied, GitNetworkError, SettingsError
from worker.settings import Settings

REFRESH_SECONDS = 300.0
"""A token is replaced so long before its end: a fetch that starts with it may take its time."""

_JWT_SECONDS = 540  # GitHub takes at most 600, and clocks differ
_MOST_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App: its id, its private key (PEM) and where its API is."""

    id: str
    private_key: str = field(repr=False)
    api_url: str = "https://api.github.com"

    def headers(self, key: RSAPrivateKey, now: float) -> dict[str, str]:
        """What proves to GitHub's API that it is the app that asks."""
        return {"Authorization": f"Bearer {self._jwt(key, int(now))}", "Accept": "application/vnd.github+json"}

    def _jwt(self, key: RSAPrivateKey, now: int) -> str:
        """RS256 (RFC 7518): header and claims, signed."""
        claims = {"iat": now - 60, "exp": now + _JWT_SECONDS, "iss": self.id}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        return (signed + b"." + _encoded(key.sign(signed, PKCS1v15(), SHA256()))).decode()


def app_of(settings: Settings) -> App | None:
    """The GitHub App of these settings, if one is set up."""
    if not settings.worker_github_app_id or not settings.worker_github_app_key:
        return None
    key = settings.worker_github_app_key.get_secret_value()
    return App(settings.worker_github_app_id, key, settings.worker_github_api_url)


class InstallationTokens:
    """Gives out tokens by installation and repository; one that is still good is given out again."""

    def __init__(self, app: App, *, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._key = private_key(app.private_key)
        self._clock = clock
        self._kept: OrderedDict[tuple[int, str], tuple[str, float]] = OrderedDict()
        self._asking: dict[tuple[int, str], asyncio.Lock] = {}

    async def token(self, installation: int, repository: str) -> str:
        """A token that reads this repository (its name without its owner) for five minutes at least.

        Raises AccessDenied when GitHub refuses, GitNetworkError when it does not answer or asks to wait.
        """
        which = (installation, repository)
        async with self._asking.setdefault(which, asyncio.Lock()):
            kept = self._kept.get(which)
            if kept is None or kept[1] - self._clock() <= REFRESH_SECONDS:
                kept = self._kept[which] = await self._ask(installation, repository)
            self._kept.move_to_end(which)
        while len(self._kept) > _MOST_KEPT:
            self._asking.pop(self._kept.popitem(last=False)[0], None)
        return kept[0]

    async def _ask(self, installation: int, repository: str) -> tuple[str, float]:
        address = f"{self._app.api_url}/app/installations/{installation}/access_tokens"
        wanted = {"repositories": [repository], "permissions": {"contents": "read"}}
        headers = self._app.headers(self._key, self._clock())
        try:
            # No proxy or netrc of the environment gets in between, and no redirect takes the JWT elsewhere.
            async with httpx.AsyncClient(timeout=15, trust_env=False, follow_redirects=False) as client:
                answer = await client.post(address, json=wanted, headers=headers)
        except httpx.HTTPError as failure:
            raise GitNetworkError(f"GitHub's API gave no installation token: {type(failure).__name__}.") from None
        if answer.status_code != httpx.codes.CREATED:
            raise _refusal(answer, installation)
        return _read(answer)


def private_key(pem: str) -> RSAPrivateKey:
    """An app's key; raises SettingsError."""
    try:
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(
            "WORKER_GITHUB_APP_KEY is no RSA private key in PEM form.",
            hint="Use the file that GitHub's app settings give out; line ends may be written as \\n.",
        )
    return key


def _refusal(answer: httpx.Response, installation: int) -> AccessDenied | GitNetworkError:
    status = answer.status_code
    # GitHub answers 403 as well where a limit is spent, and then does not always say Retry-After.
    is_spent = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500 or is_spent:
        return GitNetworkError(f"GitHub's API gives no installation token for now (status {status}).")
    return AccessDenied(
        f"GitHub gives this app no token for installation {installation} (status {status}).",
        hint="Check the app's id and key, that it is installed there, and that it may read this repository's contents.",
    )


def _read(answer: httpx.Response) -> tuple[str, float]:
    try:
        told: dict[str, Any] = answer.json()
        return str(told["token"]), datetime.fromisoformat(told["expires_at"]).timestamp()
    except (ValueError, KeyError, TypeError):  # a proxy's page, say; it may hold the token, so it is not shown
        raise GitNetworkError("GitHub's API answered with something that is no installation token.") from None


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")

"""Installation tokens, against a local server that speaks GitHub's API and checks the app's signature."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from worker.credentials.github_app import App, InstallationTokens
from worker.errors import AccessDenied, GitNetworkError, SettingsError

NOW = 1_800_000_000.0


class Api(ThreadingHTTPServer):
    """POST /app/installations/7/access_tokens, as GitHub answers it."""

    daemon_threads = True

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.key = key
        self.now = NOW
        self.given = 0
        self.status = 201
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        self.asked: list[dict[str, object]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def claims(self, authorization: str) -> dict[str, int | str]:
        """The claims of a JWT whose signature holds; raises otherwise."""
        signed, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        self.key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        assert header == {"alg": "RS256", "typ": "JWT"}
        return claims


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        api = self.server
        assert isinstance(api, Api)
        status, body = api.status, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            claims = api.claims(self.headers["Authorization"])
            good = claims["iss"] == "42" and int(claims["iat"]) < api.now < int(claims["exp"]) < api.now + 600
        except InvalidSignature:
            good = False
        if not good or self.path != "/app/installations/7/access_tokens":
            status = 401 if not good else 404
        api.given += 1
        api.asked.append(body)
        end = datetime.fromtimestamp(api.now + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.send_response(status)
        for name, value in api.headers.items():
            self.send_header(name, value)
        self.end_headers()
        token = json.dumps({"token": f"ghs_planted_token_{api.given}", "expires_at": end}).encode()
        self.wfile.write(token if api.body is None else api.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """The app's key; making one takes its time."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@pytest.fixture
def api(key: rsa.RSAPrivateKey) -> Iterator[Api]:
    """GitHub, for a test."""
    server = Api(key.public_key())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def pem(key: rsa.RSAPrivateKey) -> str:
    """As GitHub gives it out."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def tokens_of(api: Api, key: rsa.RSAPrivateKey) -> InstallationTokens:
    """The app's tokens, by the server's clock."""
    return InstallationTokens(App("42", pem(key), api.url), clock=lambda: api.now)


def test_a_token_is_asked_for_once_until_five_minutes_before_its_end(api: Api, key: rsa.RSAPrivateKey) -> None:
    """For one repository, to read its contents and nothing else; jobs that come together ask once."""
    tokens = tokens_of(api, key)

    async def two() -> list[str]:
        return list(await asyncio.gather(tokens.token(7, "a"), tokens.token(7, "a")))

    assert asyncio.run(two()) == ["ghs_planted_token_1"] * 2
    assert api.asked == [{"repositories": ["a"], "permissions": {"contents": "read"}}]
    api.now = NOW + 3299
    assert asyncio.run(tokens.token(7, "a")) == "ghs_planted_token_1"
    api.now = NOW + 3301
    assert asyncio.run(tokens.token(7, "a")) == "ghs_planted_token_2"
    assert asyncio.run(tokens.token(7, "b")) == "ghs_planted_token_3"


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, AccessDenied),
        (403, {}, AccessDenied),
        (404, {}, AccessDenied),
        (422, {}, AccessDenied),
        (301, {"Location": "http://127.0.0.1:1/"}, AccessDenied),
        (403, {"Retry-After": "60"}, GitNetworkError),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000900"}, GitNetworkError),
        (429, {}, GitNetworkError),
        (500, {}, GitNetworkError),
    ],
)
def test_a_refusal_says_whether_it_may_pass(
    api: Api, key: rsa.RSAPrivateKey, status: int, headers: dict[str, str], kind: type[Exception]
) -> None:
    """Nothing that was refused is kept, and no sentence repeats what was sent."""
    api.status, api.headers = status, headers
    tokens = tokens_of(api, key)
    with pytest.raises(kind) as refusal:
        asyncio.run(tokens.token(7, "a"))
    assert "eyJ" not in str(refusal.value)
    api.status, api.headers = 201, {}
    assert asyncio.run(tokens.token(7, "a")).startswith("ghs_")


def test_a_wrong_key_is_refused_by_the_server_and_no_key_by_us(api: Api, key: rsa.RSAPrivateKey) -> None:
    """A server that is down, another app's key, and what is no key at all are told apart."""
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    with pytest.raises(AccessDenied):
        asyncio.run(tokens_of(api, other).token(7, "a"))
    down = InstallationTokens(App("42", pem(key), "http://127.0.0.1:1"))
    with pytest.raises(GitNetworkError):
        asyncio.run(down.token(7, "a"))
    with pytest.raises(SettingsError, match="WORKER_GITHUB_APP_KEY"):
        InstallationTokens(App("42", "-----BEGIN RSA PRIVATE KEY-----\\nplanted\\n-----END RSA PRIVATE KEY-----"))
    InstallationTokens(App("42", pem(key).replace("\n", "\\n")))  # as one line of an environment


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"token": "ghs_planted", "expires_at": "soon"}'])
def test_an_answer_that_is_no_token_may_pass_and_is_not_shown(api: Api, key: rsa.RSAPrivateKey, body: bytes) -> None:
    """A proxy's page or half an answer costs the job a retry, not the worker its attempt."""
    api.body = body
    with pytest.raises(GitNetworkError) as failure:
        asyncio.run(tokens_of(api, key).token(7, "repo"))
    assert "planted" not in str(failure.value)

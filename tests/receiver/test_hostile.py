"""Whatever is sent, the receiver answers in the project's own words: never a 500, never a traceback, never half."""

import gzip
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fixtures.receivers import ReceiverProcess
from tests.receiver import samples
from tests.receiver.github_sender import GitHubSender, Reply
from worker.credentials.master_keys import MasterKeys
from worker.receiver.provision import provision_secret

Database = psycopg.Connection[dict[str, Any]]
_APP_SECRET = "app-secret-0123456789"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def process(start_receiver: Callable[..., ReceiverProcess]) -> Iterator[ReceiverProcess]:
    """A receiver as operators run it; in the end it has told of no error."""
    receiver = start_receiver(WORKER_GITHUB_APP_SECRET=_APP_SECRET, WORKER_USER_ID=str(uuid.uuid4()))
    receiver.port  # noqa: B018  (waits for it)
    yield receiver
    assert receiver.process.poll() is None
    assert [line for line in receiver.lines if line.get("level") in ("error", "critical") or "exception" in line] == []
    assert "Traceback" not in json.dumps(receiver.lines)


@pytest.fixture
def github(
    process: ReceiverProcess, make_repository: Callable[..., uuid.UUID], db: Database, keys: MasterKeys
) -> GitHubSender:
    """GitHub's side of one repository's webhook."""
    return _webhook(process, make_repository(), db, keys)


def _webhook(process: ReceiverProcess, repository: uuid.UUID, db: Database, keys: MasterKeys) -> GitHubSender:
    return GitHubSender(process.port, f"/webhooks/github/{repository}", provision_secret(db, keys, repository))


def _push(**changes: Any) -> bytes:
    return json.dumps(samples.push(**changes)).encode()


def _is_ours(reply: Reply) -> Reply:
    """An answer in our words, that shows nothing of the inside."""
    assert 200 <= reply.status < 500, reply
    assert b"Traceback" not in reply.body
    return reply


def _rows(db: Database) -> int:
    return db.execute("select count(*) as n from webhook_deliveries").fetchall()[0]["n"]


def test_githubs_own_request_is_taken(github: GitHubSender, db: Database) -> None:
    """The whole header set, a real shape: 202; the same again is a duplicate of the same job."""
    first = github.post(_push(), delivery="d")
    again = github.post(_push(), delivery="d")
    assert (first.status, again.status) == (202, 202)
    assert first.facts["job_id"] == again.facts["job_id"]
    assert again.facts["duplicate"] is True
    assert _rows(db) == 1


def test_promise_1_reordered_repeated_and_timed_out(github: GitHubSender, db: Database) -> None:
    """Deliveries come twice, late, out of order, and from a sender that gave up waiting: each is there once."""
    deliveries = [f"d{number}" for number in range(30)]

    def send(delivery: str) -> int:
        return github.post(_push(after=f"{int(delivery[1:]) + 1:040x}"), delivery=delivery).status

    def give_up(delivery: str) -> None:
        body = _push()
        head = "".join(f"{name}: {value}\r\n" for name, value in github.headers(body, "push", delivery).items())
        with socket.create_connection(("127.0.0.1", github.port)) as connection:
            connection.sendall(f"POST {github.path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(give_up, deliveries[::3]))
        statuses = set(threads.map(send, deliveries[::-1] + deliveries))
    assert statuses == {202}
    assert _rows(db) == 30
    assert db.execute("select count(*) as n from indexing_jobs").fetchall()[0]["n"] == 1


def test_bodies_that_are_not_what_they_say(github: GitHubSender, db: Database) -> None:
    """Truncated, chunked, of the wrong length: taken when whole and signed, refused or left when not."""
    body = _push()
    assert github.post(body, chunks=[body[:10], body[10:500], body[500:]]).status == 202
    assert github.post(body, chunks=[bytes([byte]) for byte in body]).status == 202
    assert github.post(body, chunks=[body, b"more"]).status == 401
    taken = _rows(db)
    assert github.post(body, sent=body[:-10], end=True).status in (0, 400, 408)
    assert github.post(body, headers={"Content-Length": str(len(body) - 10)}).status in (400, 401)
    assert github.post(body, headers={"Content-Length": "-1"}).status in (0, 400)
    assert github.post(body, headers={"Content-Length": "nonsense"}).status in (0, 400)
    assert github.post(body, headers={"Content-Length": "9" * 30}).status in (0, 400, 413)
    assert github.post(body, headers={"Transfer-Encoding": "chunked"}).status in (0, 400)
    assert github.post(body, headers={"Transfer-Encoding": "chunked"}, sent=b"zzz\r\n").status in (0, 400)
    assert github.post(b"").status == 400
    assert _rows(db) == taken
    assert github.post(body).status == 202


def test_25_megabytes_are_taken_and_one_more_byte_than_allowed_is_not(
    github: GitHubSender, process: ReceiverProcess, db: Database
) -> None:
    """GitHub's largest body is taken and stored trimmed; more is refused before it is read, however it is sent."""
    filler = "x" * 24_900_000
    assert github.post(_push(filler=filler)).status == 202
    stored = db.execute("select payload, pg_column_size(payload) as n from webhook_deliveries").fetchall()[0]
    assert stored["n"] < 5_000
    assert stored["payload"]["body_bytes"] > 24_900_000
    memory = psutil.Process(process.process.pid).memory_info().rss
    large = b" " * 26_214_401
    assert github.post(large).status == 413
    assert github.post(large, headers={"Content-Length": "99999999999"}, sent=b"").status == 413
    chunk = b" " * 1_000_000
    assert github.post(b"", chunks=[chunk] * 40).status in (0, 413)
    assert psutil.Process(process.process.pid).memory_info().rss < memory + 100_000_000
    assert github.post(_push()).status == 202


def test_compressed_bodies_are_never_opened(github: GitHubSender, db: Database) -> None:
    """A bomb of a gigabyte, signed, under the header that asks to open it: not JSON, and no memory was spent."""
    bomb = gzip.compress(b"[" * 200_000_000, 1)
    for encoding in ("gzip", "deflate", "br"):
        assert github.post(bomb, headers={"Content-Encoding": encoding}).status == 400
    assert github.post(gzip.compress(_push()), headers={"Content-Encoding": "gzip"}).status == 400
    assert _rows(db) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"ref":' + b"[" * 100_000,
        b'{"number": ' + b"9" * 5_000 + b"}",
        b'{"number": 1e999999}',
        b'{"ref": "a", "ref": NaN}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"\x00" * 1000,
        b'"just text"',
        b"null",
        b"{",
        b"payload=%7B%7D",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_odd_json_is_malformed(github: GitHubSender, body: bytes) -> None:
    """Deep, endless, not JSON at all: 400, in words."""
    reply = _is_ours(github.post(body))
    assert reply.status == 400
    assert reply.facts["status"] == "malformed"


def test_text_that_postgres_cannot_hold(github: GitHubSender, db: Database) -> None:
    """NULs and half surrogates wherever text goes: answered, and what is stored is clean."""
    odd = "a\\u0000b\\ud800c\\udfff\\n"
    fields = ["head_commit", "pusher", "sender", "compare", "commits", "repository", "ref", "before"]
    for field in fields:
        body = _push(**{field: "MARK"}).replace(b'"MARK"', f'"{odd}"'.encode())
        _is_ours(github.post(body))
        body = _push(**{field: {"name": "MARK", "login": "MARK", "added": ["MARK"]}})
        _is_ours(github.post(body.replace(b'"MARK"', f'"{odd}"'.encode())))
    commit = {"added": ["MARK"], "modified": [], "removed": []}
    body = _push(commits=[commit]).replace(b'"MARK"', f'"{odd}"'.encode())
    assert github.post(body).status == 202
    body = _push(repository=samples.repository(full_name="MARK/x")).replace(b"MARK", odd.encode())
    assert github.post(body).status in (200, 202)
    assert db.execute("select count(*) as n from webhook_deliveries where payload::text ~ 'u0000'").fetchall() == [
        {"n": 0}
    ]


@pytest.mark.parametrize("text", ["ключ", "sha256=" + "é" * 64, "\u00ff" * 71, "sha256=" + "٣" * 64, " ", "sha256="])
def test_signatures_that_are_no_ascii_are_refused(github: GitHubSender, text: str) -> None:
    """Constant-time comparison of text raises for these; of bytes it does not."""
    assert github.post(_push(), headers={"X-Hub-Signature-256": text.encode()}).status == 401
    controls = text.encode("utf-16").replace(b"\n", b"").replace(b"\r", b"").replace(b"\0", b"")
    assert github.post(_push(), headers={"X-Hub-Signature-256": controls}).status in (400, 401)


def test_odd_headers(github: GitHubSender, db: Database) -> None:
    """No event, no id, too long, not ASCII, control characters: refused in words, and nothing stored."""
    for name in ("X-GitHub-Event", "X-GitHub-Delivery"):
        for value in (None, "", "x" * 101, "é", b"\xff\xfe", b"a\tb", "a" * 20_000):
            assert github.post(_push(), headers={name: value}).status in (0, 400)
    assert github.post(_push(), headers={"X-Long": "x" * 40_000}).status in (0, 400)
    assert github.post(_push(), headers={f"X-{number}": "x" * 100 for number in range(500)}).status in (0, 400)
    assert _rows(db) == 0
    for value in ("text/plain", "", "application/json; charset=utf-16", "multipart/form-data", "é", None):
        assert _is_ours(github.post(_push(), headers={"Content-Type": value})).status in (202, 400)


def test_forms_with_odd_encodings(github: GitHubSender) -> None:
    """GitHub's form encoding is read; what only looks like it is malformed."""
    payload = _push()
    good = urlencode({"payload": payload.decode()}).encode()
    assert github.post(good, headers={**_FORM}).status == 202
    assert github.post(b"payload=" + quote_from_bytes(payload, safe="").encode(), headers={**_FORM}).status == 202
    assert github.post(b"a=1&" + good + b"&b=2", headers={**_FORM}).status == 202
    with_type = {"Content-Type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"}
    assert github.post(good, headers={**with_type}).status == 202
    for body in (
        b"",
        b"payload",
        b"payload=",
        b"payload=%7B%22",
        b"payload=%zz%ff%00",
        b"pay%6Coad=[]",
        b"\xff\xfe=\x00",
        b"&" * 10_000,
        b"a=1&" * 10_000 + good,
        payload,
    ):
        assert _is_ours(github.post(body, headers={**_FORM})).status == 400


# Halves of surrogate pairs too, and NUL: JSON can say them, Postgres can hold neither.
_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\x00", "a\ud800", "Acme/\udfff"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_EVENTS = ["push", "ping", "create", "delete", "repository", "public", "installation", "installation_repositories", "x"]


@settings(
    max_examples=120,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    event=st.sampled_from(_EVENTS),
    field=st.sampled_from(
        ["ref", "before", "after", "commits", "repository", "repositories", "installation", "action", "changes",
         "deleted", "forced", "pusher", "sender", "hook_id", "head_commit", "organization"]
    ),
    inner=st.sampled_from(["", "id", "full_name", "default_branch", "name", "added", "owner", "clone_url", "from"]),
    value=_JSON,
)  # fmt: skip
def test_signed_nonsense_is_answered(github: GitHubSender, event: str, field: str, inner: str, value: Any) -> None:
    """GitHub's shapes with anything at all in one place, signed: an answer in our words, of every event."""
    payload = samples.push(action="renamed", changes={"repository": {"name": {"from": "x"}}})
    payload |= {"installation": {"id": 957387}, "hook_id": 7}
    if inner and isinstance(payload.get(field), dict):
        payload[field] = {**payload[field], inner: value}
    else:
        payload[field] = {inner: value} if inner else value
    body = json.dumps(payload).encode()
    _is_ours(github.post(body, event=event))
    _is_ours(GitHubSender(github.port, "/webhooks/github", _APP_SECRET).post(body, event=event))


@pytest.mark.parametrize("examples", [15, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_fuzzer_finds_no_500(process: ReceiverProcess, db: Database, tmp_path: Path, examples: int) -> None:
    """Schemathesis over our OpenAPI page: what answers is what the page says, and nothing breaks."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{process.url}/openapi.json", "--no-color",
        "--phases", "examples,coverage,fuzzing" if examples > 50 else "examples,fuzzing",
        "--max-examples", str(examples), "--request-timeout", "20", "--generation-database", "none",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=800)
    assert "not_a_server_error" in done.stdout or "passed" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert _rows(db) == 0

"""No secret survives redaction, in whatever company it comes."""

import base64
import json
import threading
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.redact import MASK, Redactor, is_secret_name

KNOWN = "hunter2/horse+Battery \"staple'\\"
PLANTED = {
    "known": KNOWN,
    "classic": "ghp_" + "a1B2" * 9,
    "oauth": "gho_" + "a1B2" * 9,
    "user": "ghu_" + "a1B2" * 9,
    "server": "ghs_123456_eyJhbGciOi.eyJpc3MiOi.c2lnbmF0dXJl-_x",
    "refresh": "ghr_" + "a1B2" * 9,
    "fine grained": "github_pat_11ABCDEFG0123456789_abcdefghijklmnopqrstuvwxyz",
    "supabase": "sb_secret_abcdefghijklmnop_qrst-uv",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "aws session": "ASIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----",
}
SURROUNDED = {
    "url": ("postgresql://app:", "p4ss:w@rd!", "@db.example.com:5432/postgres"),
    "url token": ("https://", "abcdef0123456789", "@github.com/a/b.git"),
    "bearer": ("Authorization: Bearer ", "opaque-value", "\r\nAccept: */*"),
    "basic": ("authorization: basic ", "dXNlcjpwYXNz", ""),
    "token": ('{"Authorization": "token ', "0123456789abcdef", '"}'),
    "git": ("https://x-access-token:", "v1.0123456789", "@github.com"),
    "git bare": ("x-access-token:", "v1.0123456789", " end"),
    "conninfo": ("host=db password=", "tops3cret", " user=app"),
    "quoted conninfo": ("host=db password='", "two words \\' more", "' user=app"),
    "environment": ("PGPASSWORD=", "tops3cret", " psql"),
    "query": ("GET /x?api_key=", "tops3cret", "&page=2"),
    "open pem": ("-----BEGIN PRIVATE KEY-----\n", "MIIEpAIBAAKCAQEA", ""),
}

neighbours = st.text(max_size=40)


@st.composite
def nested(draw: st.DrawFn, text: str) -> Any:
    """The text somewhere inside a value of lists, dicts, keys and bytes."""
    value: Any = draw(st.sampled_from([text, text.encode("utf-8", "surrogatepass"), ValueError(text), {text: 1}]))
    for layer in draw(st.lists(st.sampled_from(["list", "tuple", "dict", "set"]), max_size=5)):
        if layer == "dict":
            value = {draw(st.text(max_size=8)): value, "other": 1}
        elif layer == "set" and isinstance(value, str):
            value = {value}
        else:
            value = [value, None] if layer == "list" else (1, value)
    return value


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(sorted(PLANTED)), neighbours, neighbours)
def test_promise_10_a_planted_secret_never_survives(data: st.DataObject, kind: str, before: str, after: str) -> None:
    """Whatever text stands beside a secret and however deep it lies, the output does not contain it."""
    secret = PLANTED[kind]
    value = data.draw(nested(f"{before}{secret}{after}"))
    shown = Redactor([KNOWN]).value(value)
    assert secret not in str(shown)
    assert json.dumps(secret)[1:-1] not in json.dumps(shown, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=6, max_size=60), neighbours, neighbours)
def test_promise_10_any_known_secret_goes(secret: str, before: str, after: str) -> None:
    """A secret that was made known goes, whatever characters it has."""
    if secret in MASK:
        return
    shown = Redactor([secret]).text(before + secret + after)
    assert secret not in shown.replace(MASK, "\0")


@pytest.mark.parametrize("kind", SURROUNDED)
def test_a_secret_is_known_by_its_surroundings(kind: str) -> None:
    """A value that only its place marks as secret goes; what stands around it stays."""
    before, secret, after = SURROUNDED[kind]
    shown = Redactor().text(f"start {before}{secret}{after}")
    assert secret not in shown
    assert shown.startswith("start ")
    assert shown.endswith(after)
    assert Redactor().text(shown) == shown


@pytest.mark.parametrize("name", ["password", "PGPASSWORD", "apiKey", "x-api-key", "webhook_secret", "Authorization"])
def test_a_value_under_a_secret_name_is_masked_whole(name: str) -> None:
    """Whatever lies under such a name is masked, numbers and objects too."""
    for value in ("x", 123456, {"inner": "x"}, ["x"]):
        assert Redactor().value({name: value}) == {name: MASK}


@pytest.mark.parametrize("name", ["lease_token", "tokens", "tokenizer", "secret_version", "author", "key", "monkey"])
def test_ordinary_names_are_no_secrets(name: str) -> None:
    """Counts, versions and lease tokens stay readable."""
    assert not is_secret_name(name)
    assert Redactor().value({name: 42}) == {name: 42}


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@github.com/a/b.git",
        "postgresql://postgres@127.0.0.1:5432/postgres",
        "https://github.com/a/b.git at 0123456789abcdef0123456789abcdef01234567",
        "https://registry:8080/npm/@scope/package",
        "1,204 tokens, basic understanding, secretary: Jane",
        "src/password_reset.py: 12 symbols",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What is no secret is not touched."""
    assert Redactor(["hunter2horse"]).text(text) == text


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
def test_encoded_spellings_go(before: str) -> None:
    """The percent-encoded and base64 spellings of a known secret go as well, at any place in a longer text."""
    secret = "p@ss/w0rd+%long"
    redactor = Redactor([secret])
    assert quote(secret, safe="") not in redactor.text(f"x{quote(secret, safe='')}y")
    encoded = base64.b64encode((before + secret).encode()).decode()
    shown = redactor.text(encoded)
    assert MASK in shown
    assert len(shown.replace(MASK, "")) <= len(before) * 2 + 6


@pytest.mark.parametrize(
    "secret",
    ["both'\"quotes-secret", 'quo"ted-secret', "back\\slash-secret", "sécret-with-accent", "two\nlines-secret"],
)
def test_escaped_spellings_go(secret: str) -> None:
    """A known secret goes from texts that quote it: JSON within JSON, and the repr of whatever held it."""
    redactor = Redactor([secret])
    for text in (json.dumps([secret]), json.dumps([secret], ensure_ascii=False), repr({"x": secret})):
        assert redactor.text(text).count(MASK) == 1
        assert "secret" not in redactor.text(text)
        assert "slash" not in redactor.text(text)


def test_a_number_that_is_a_secret_goes() -> None:
    """A secret of digits goes where it appears as a number."""
    assert Redactor(["12345678"]).value({"n": 12345678, "m": 5}) == {"n": MASK, "m": 5}


def test_value_is_always_json() -> None:
    """Anything becomes strict JSON: dates, NaN, surrogates, bytes, cycles, broken objects."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    odd = [float("nan"), float("inf"), "\ud800", b"\xff\x00", cycle, Broken(), {1: uuid.uuid4(), None: 1}, 10**5000]
    text = json.dumps(Redactor().value([*odd, datetime.now(UTC), {"a"}]), allow_nan=False)
    assert json.loads(text)[0] == "nan"
    text.encode("ascii")
    assert "\\ud800" not in text.replace("\\\\ud800", "")


def test_secrets_may_be_added_while_other_threads_redact() -> None:
    """A secret is gone from the first text after add(), whatever the other threads do."""
    redactor = Redactor()
    failures: list[str] = []

    def work(worker: int) -> None:
        for number in range(50):
            secret = f"secret-{worker}-{number}-value"
            redactor.value({secret: secret})  # the name is remembered before it is known as a secret
            redactor.add(secret)
            if secret in str(redactor.value({secret: f"a {secret} b"})):
                failures.append(secret)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []

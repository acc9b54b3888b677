"""A store in bad weather: what callers learn of it, and that the same call works when it is over."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests.fixtures.log_stores import Tls, s3_store, supabase_store
from tests.fixtures.s3_servers import S3Server
from tests.fixtures.supabase_storage import FakeSupabase
from tests.fixtures.weather import Weather
from worker.errors import LogStoreError
from worker.joblog.store import LogStore
from worker.joblog.stores import s3, supabase

S3_ERROR = "<Error><Code>{}</Code><Message>as the test wants it</Message></Error>"
PASSING = [408, 409, 429, 500, 502, 503, 504]
LASTING = {
    401: "AWS_ACCESS_KEY_ID|SUPABASE_SERVICE_KEY",
    402: "quota",
    403: "s3:PutObject|SUPABASE_SERVICE_KEY",
    404: "WORKER_LOG_BUCKET",
    411: "Content-Length",
    413: "size limit",
}


@dataclass(frozen=True, slots=True)
class Exposed:
    """A store behind a proxy, and how its server words an error."""

    store: LogStore
    weather: Weather
    error: Callable[[int, str], str]


@pytest.fixture(params=["swift", "supabase"])
def exposed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exposed]:
    """A real S3 server, or one that speaks Supabase's protocol, whose weather the test makes; its bucket is there."""
    if request.param == "swift":
        server: S3Server = request.getfixturevalue("swift")
        with Weather(server.port) as weather:
            store = s3_store(server, url=weather.url)
            store.ensure_bucket()
            yield Exposed(store, weather, lambda _, code: S3_ERROR.format(code))
        return
    project: FakeSupabase = request.getfixturevalue("supabase")
    with Weather(int(project.url.rpartition(":")[2])) as weather:
        store = supabase_store(weather.url)
        store.ensure_bucket()
        said = '{{"statusCode": "{}", "error": "{}", "message": "as the test wants it"}}'
        yield Exposed(store, weather, said.format)


def refusal(call: Callable[[], Any]) -> LogStoreError:
    """What it raises."""
    with pytest.raises(LogStoreError) as caught:
        call()
    return caught.value


def test_what_passes_may_be_tried_again(exposed: Exposed) -> None:
    """After an overload or an outage the same bytes go to the same key."""
    exposed.store.put("before", b"x")
    calls = [
        lambda: exposed.store.put("k", b"x"),
        lambda: exposed.store.get("before"),
        lambda: list(exposed.store.list("")),
        lambda: exposed.store.delete(["before"]),
    ]
    for status in PASSING:
        exposed.weather.answer = (status, exposed.error(status, "SlowDown" if status == 503 else "Trouble"))
        # All of them for one status: the SDK pauses before the second try of each.
        some = calls if status == 503 else calls[:1]
        assert [refusal(call).retryable for call in some] == [True] * len(some), status
    exposed.weather.clear()
    exposed.store.put("k", b"x")
    assert b"".join(exposed.store.get("k")) == b"x"


def test_what_lasts_says_what_to_change(exposed: Exposed) -> None:
    """No retry helps before a person has done something; the hint says what."""
    for status, words in LASTING.items():
        exposed.weather.answer = (status, exposed.error(status, ""))  # Supabase's S3 endpoint leaves codes empty
        failure = refusal(lambda: exposed.store.put("k", b"x"))
        assert not failure.retryable, status
        assert any(word in (failure.hint or "") for word in words.split("|"))
        assert str(status) in str(failure)


def test_a_wrong_secret_is_no_missing_permission(swift: S3Server) -> None:
    """Both are 403; nobody shall look for a policy when he has mistyped."""
    store = s3_store(swift, aws_secret_access_key="mistyped")
    assert "secret does not fit the key" in (refusal(lambda: store.put("k", b"x")).hint or "")


def test_an_error_in_anothers_words_is_told_by_its_status(exposed: Exposed) -> None:
    """A gateway before the store answers with a page of its own."""
    exposed.weather.answer = (502, "<html>Bad gateway")
    assert refusal(lambda: exposed.store.put("k", b"x")).retryable
    assert refusal(lambda: exposed.store.get("k")).retryable
    exposed.weather.answer = (200, "<html>Please log in")
    assert refusal(lambda: list(exposed.store.list(""))).retryable


def test_a_missing_log_is_not_a_missing_bucket(exposed: Exposed) -> None:
    """Readers go on to the next place for the one, and complain of the other."""
    exposed.weather.answer = (404, exposed.error(404, "NoSuchBucket"))
    assert "WORKER_LOG_BUCKET" in (refusal(lambda: exposed.store.get("k")).hint or "")


def test_a_slow_store_is_waited_for(exposed: Exposed) -> None:
    """Slowness alone is no failure."""
    exposed.weather.delay = 1.0
    exposed.store.put("k", b"x")
    assert b"".join(exposed.store.get("k")) == b"x"


def test_a_store_that_never_answers_is_given_up(exposed: Exposed, monkeypatch, swift: S3Server) -> None:
    """The thread that uploads comes back, with an error that says to try again."""
    monkeypatch.setattr(supabase, "_TIMEOUT", httpx.Timeout(0.3))
    original = s3._config
    monkeypatch.setattr(s3, "_config", lambda kind: original(kind).merge(_impatient()))
    over_s3 = isinstance(exposed.store, s3.S3Store)
    store = s3_store(swift, url=exposed.weather.url) if over_s3 else supabase_store(exposed.weather.url)
    exposed.weather.delay = 3.0
    started = time.monotonic()
    assert refusal(lambda: store.put("k", b"x")).retryable
    assert time.monotonic() - started < 30  # not the SDK's minutes


def _impatient() -> Any:
    from botocore.config import Config

    return Config(read_timeout=0.3)


def test_a_cut_upload_leaves_nothing_half(exposed: Exposed, tmp_path: Path) -> None:
    """The line breaks in mid-upload: what was there stays, and the next try replaces it whole."""
    (tmp_path / "file").write_bytes(new := os.urandom(2_000_000))
    exposed.store.put("k", b"old")
    exposed.weather.cut_after = 700_000
    assert refusal(lambda: exposed.store.put_file("k", tmp_path / "file")).retryable
    assert refusal(lambda: exposed.store.put("k", new)).retryable
    exposed.weather.clear()
    assert b"".join(exposed.store.get("k")) == b"old"
    exposed.store.put_file("k", tmp_path / "file")
    assert b"".join(exposed.store.get("k")) == new


def test_a_cut_download_is_no_short_log(exposed: Exposed) -> None:
    """A reader that gets half of it is told, and can go on from there."""
    exposed.store.put("k", data := os.urandom(2_000_000))
    exposed.weather.cut_answer_after = 700_000
    got = bytearray()

    def read() -> None:
        for chunk in exposed.store.get("k"):
            got.extend(chunk)

    assert refusal(read).retryable
    exposed.weather.clear()
    assert bytes(got) + b"".join(exposed.store.get("k", len(got))) == data


def test_a_store_that_is_down_is_retried(exposed: Exposed) -> None:
    """Nobody listens: known at once, and no reason to give up."""
    exposed.weather.__exit__()
    started = time.monotonic()
    assert refusal(lambda: exposed.store.put("k", b"x")).retryable
    assert time.monotonic() - started < 20


def test_a_large_upload_that_fails_takes_its_parts_back(swift: S3Server, tmp_path: Path, monkeypatch) -> None:
    """Parts of an unfinished upload are billed and shown nowhere."""
    monkeypatch.setattr(s3, "WHOLE_BYTES", 1_000_000)
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    (tmp_path / "large").write_bytes(os.urandom(11 * 2**20))
    with Weather(swift.port) as weather:
        store = s3_store(swift, url=weather.url, worker_log_bucket="large-uploads")
        store.ensure_bucket()
        weather.only, weather.answer = "PUT .*partNumber=2", (500, S3_ERROR.format("InternalError"))
        assert refusal(lambda: store.put_file("logs/large", tmp_path / "large")).retryable
        assert [head.split(" ")[0] for head in weather.heads][-1] == "DELETE"
        assert len([head for head in weather.heads if "partNumber=2" in head]) == 2  # the SDK's own single retry
    client = boto3.client(
        "s3",
        endpoint_url=swift.url,
        region_name="us-east-1",
        aws_access_key_id=swift.key,
        aws_secret_access_key=swift.secret,
    )
    assert client.list_multipart_uploads(Bucket="large-uploads").get("Uploads", []) == []


def test_uploads_over_tls_have_a_length_and_no_trailer(over_tls: Any, swift: S3Server, tmp_path: Path) -> None:
    """The SDK's default checksum is a chunked trailer, over https alone: Ceph answers every such upload with 411."""
    store = over_tls(swift)
    store.ensure_bucket()
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    store.put("k", b"x")
    store.put_file("k", tmp_path / "file")
    uploads = [head.lower() for head in over_tls.weather.heads if head.startswith("PUT ") and "/k " in head]
    assert len(uploads) == 2
    for head in uploads:
        assert "content-length:" in head
        assert "trailer" not in head
        assert "aws-chunked" not in head


def test_a_certificate_nobody_vouches_for_is_no_outage(tls: Tls, swift: S3Server) -> None:
    """Waiting does not help: the address is wrong, or an authority is not trusted yet."""
    with Weather(swift.port, tls.context) as weather:
        failure = refusal(lambda: s3_store(swift, url=weather.url).put("k", b"x"))
    assert not failure.retryable
    assert "AWS_CA_BUNDLE" in (failure.hint or "")


def test_a_deletion_that_fails_for_one_object_is_a_failure(swift: S3Server) -> None:
    """Its answer is 200 all the same."""
    with Weather(swift.port) as weather:
        store = s3_store(swift, url=weather.url)
        store.ensure_bucket()
        weather.only = "POST .*delete"
        denied = "<DeleteResult><Error><Key>a</Key><Code>{}</Code><Message>no</Message></Error></DeleteResult>"
        weather.answer = (200, denied.format("AccessDenied"))
        failure = refusal(lambda: store.delete(["a", "b"]))
        assert not failure.retryable
        assert "s3:DeleteObject" in (failure.hint or "")
        weather.answer = (200, denied.format("InternalError"))
        assert refusal(lambda: store.delete(["a", "b"])).retryable
        weather.answer = (200, denied.format("NoSuchKey"))
        store.delete(["a", "b"])
        assert all("content-type: application/xml" in head.lower() for head in weather.heads if "?delete" in head)
        assert all("content-md5: " in head.lower() for head in weather.heads if "?delete" in head)

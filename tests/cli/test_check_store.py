"""`worker check` on stores: it proves write, read, list and delete, and names the permission that is missing."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.s3_servers import S3Server
from tests.fixtures.supabase_storage import ANON_KEY, SERVICE_KEY, FakeSupabase
from tests.fixtures.weather import Weather
from worker.cli.checks import log_store
from worker.errors import LogStoreError
from worker.settings import Settings, load_settings

DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
# What a key lacks → the requests that are refused then.
STEPS = {
    "s3:PutObject": "^PUT /[^/]+/check",
    "s3:GetObject": "^GET /[^/]+/check",
    "s3:ListBucket": r"^GET /[^/]+\?",
    "s3:DeleteObject": "^POST .*delete",
}


@pytest.fixture
def guarded(swift: S3Server) -> Iterator[tuple[Settings, Weather]]:
    """Settings of an S3 store, and the proxy before it that may refuse."""
    with Weather(swift.port) as weather:
        given: dict[str, Any] = {
            "worker_log_backend": "s3",
            "worker_log_bucket": "checked",
            "aws_endpoint_url": weather.url,
            "aws_access_key_id": swift.key,
            "aws_secret_access_key": swift.secret,
        }
        yield load_settings(**given), weather


def test_a_store_that_works_is_said_to_work(guarded: tuple[Settings, Weather], supabase: FakeSupabase) -> None:
    """All four steps are asked of it, and nothing of the check stays there."""
    settings, weather = guarded
    assert "write, read, list and delete work" in log_store(settings)
    asked = [head.partition("\r\n")[0] for head in weather.heads]
    assert [step for step, pattern in STEPS.items() if not any(re.search(pattern, line) for line in asked)] == []
    given = {"supabase_url": supabase.url, "supabase_service_key": SERVICE_KEY}
    assert "'worker-logs': write, read" in log_store(load_settings(worker_log_backend="supabase", **given))
    assert supabase.buckets == {"worker-logs": {}}


@pytest.mark.parametrize("permission", STEPS)
def test_a_missing_permission_is_named(guarded: tuple[Settings, Weather], permission: str) -> None:
    """The step that failed, and what to allow."""
    settings, weather = guarded
    log_store(settings)
    weather.only, weather.answer = STEPS[permission], (403, DENIED)
    with pytest.raises(LogStoreError) as caught:
        log_store(settings)
    assert not caught.value.retryable
    assert permission in (caught.value.hint or "")
    assert "403 AccessDenied" in str(caught.value)


def test_a_bucket_that_may_not_be_made_is_to_be_made_by_hand(guarded: tuple[Settings, Weather]) -> None:
    """Keys for one bucket cannot create it."""
    settings, weather = guarded
    missing = settings.model_copy(update={"worker_log_bucket": "not-there-yet"})
    weather.only, weather.answer = "^PUT ", (403, DENIED)
    with pytest.raises(LogStoreError) as caught:
        log_store(missing)
    assert "create the bucket by hand" in (caught.value.hint or "")


def test_the_wrong_key_of_supabase_is_named(supabase: FakeSupabase) -> None:
    """It may not even look at the bucket's row."""
    given = {"supabase_url": supabase.url, "supabase_service_key": ANON_KEY}
    with pytest.raises(LogStoreError) as caught:
        log_store(load_settings(worker_log_backend="supabase", **given))
    assert "SUPABASE_SERVICE_KEY" in (caught.value.hint or "")

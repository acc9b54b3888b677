"""The store's own expiry: rules of a bucket, beside those of others, that count only when they are read back."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.fixtures.log_stores import s3_store
from tests.fixtures.s3_servers import S3Server
from tests.fixtures.weather import Weather
from tests.fixtures.workers import eventually
from worker.errors import LogStoreError
from worker.joblog.retention import net_days, sweep
from worker.joblog.stores.local import LocalStore

THEIRS = {
    "ID": "of-somebody-else",
    "Filter": {"Prefix": "backups/"},
    "Status": "Enabled",
    "Expiration": {"Days": 400},
}


def client_of(server: S3Server | None) -> Any:
    """A client of the tests' own."""
    if server is None:
        return boto3.client("s3", region_name="us-east-1")
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )


def rules_of(client: Any, bucket: str) -> dict[str, dict[str, Any]]:
    """The bucket's rules by their names."""
    return {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}


@pytest.fixture(params=["moto", pytest.param("radosgw", marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def server(request: pytest.FixtureRequest) -> S3Server | None:
    """Servers that keep rules: a simulation, and Ceph."""
    return request.getfixturevalue(request.param)


def test_logs_expire_two_days_after_the_sweep_and_pieces_later(server: S3Server | None) -> None:
    """The net hangs behind the sweep, which knows the running jobs; and behind it stands the only copy of a line."""
    store, client = s3_store(server, worker_log_bucket="expiry-days"), client_of(server)
    store.ensure_bucket()
    assert store.ensure_retention(6.5) is True
    rules = rules_of(client, "expiry-days")
    assert rules["indexing-worker-logs"]["Expiration"]["Days"] == 9
    assert rules["indexing-worker-live"]["Expiration"]["Days"] == 11
    assert rules["indexing-worker-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 2
    assert [rule["Status"] for rule in rules.values()] == ["Enabled"] * 3


def test_rules_of_others_stay(server: S3Server | None) -> None:
    """Setting a bucket's lifecycle replaces it whole, so theirs are set again; ours are replaced, not added to."""
    store, client = s3_store(server, worker_log_bucket="expiry-others"), client_of(server)
    store.ensure_bucket()
    client.put_bucket_lifecycle_configuration(Bucket="expiry-others", LifecycleConfiguration={"Rules": [THEIRS]})
    assert store.ensure_retention(7) is True
    assert store.ensure_retention(30) is True
    rules = rules_of(client, "expiry-others")
    assert len(rules) == 4
    assert rules["of-somebody-else"]["Expiration"]["Days"] == 400
    assert rules["indexing-worker-logs"]["Expiration"]["Days"] == 32


def test_rules_that_are_there_are_not_set_again(moto: None, monkeypatch) -> None:
    """Every sweep looks; only a change writes."""
    store = s3_store(None)
    store.ensure_bucket()
    assert store.ensure_retention(7) is True
    client = store._client  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(client, "put_bucket_lifecycle_configuration", lambda **_: pytest.fail("set again"))
    assert store.ensure_retention(7) is True


def test_an_answer_of_200_proves_nothing(moto: None, monkeypatch) -> None:
    """A store that takes rules and forgets them has none."""
    store = s3_store(None)
    store.ensure_bucket()
    client = store._client  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(client, "put_bucket_lifecycle_configuration", lambda **_: {})
    assert store.ensure_retention(7) is False


def test_a_store_that_refuses_rules_for_uploads_gets_the_others(moto: None) -> None:
    """MinIO answers 501 to all of them when one aborts uploads."""
    store = s3_store(None, worker_log_bucket="like-minio")
    store.ensure_bucket()
    client = store._client  # pyright: ignore[reportAttributeAccessIssue]

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if b"AbortIncomplete" in params["body"]:
            client_error = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
            raise client.exceptions.ClientError(client_error, "PutBucketLifecycleConfiguration")

    client.meta.events.register("before-call.s3.PutBucketLifecycleConfiguration", refuse)
    assert store.ensure_retention(7) is True
    assert set(rules_of(client_of(None), "like-minio")) == {"indexing-worker-logs", "indexing-worker-live"}


def test_rules_that_may_not_be_read_are_not_replaced(swift: S3Server) -> None:
    """Without those of others there is nothing to merge with: whatever they are, they stay."""
    with Weather(swift.port) as weather:
        store = s3_store(swift, url=weather.url)
        store.ensure_bucket()
        weather.only, weather.answer = r"\?lifecycle", (403, "<Error><Code>AccessDenied</Code></Error>")
        with pytest.raises(LogStoreError) as caught:
            store.ensure_retention(7)
        assert "LifecycleConfiguration" in (caught.value.hint or "")
        assert [head for head in weather.heads if head.startswith("PUT ") and "lifecycle" in head] == []


def test_rules_are_never_offered_for_a_missing_bucket(swift: S3Server) -> None:
    """Some stores would answer 200, and create it."""
    with Weather(swift.port) as weather:
        weather.only, weather.answer = r"\?lifecycle", (200, "")
        with pytest.raises(LogStoreError, match="404"):
            s3_store(swift, url=weather.url).ensure_retention(7)
        assert [head for head in weather.heads if "lifecycle" in head] == []


def test_a_store_without_rules_says_so(swift: S3Server) -> None:
    """OpenStack Swift has none."""
    store = s3_store(swift)
    store.ensure_bucket()
    assert store.ensure_retention(7) is False


def test_the_sweep_spreads_the_net_and_goes_on_without_it(tmp_path, monkeypatch) -> None:
    """Maintenance asks for the expiry with each sweep; a store that refuses is swept all the same."""
    asked: list[float] = []

    def refuse(days: float) -> bool:
        asked.append(days)
        raise LogStoreError("not allowed", retryable=False)

    store = LocalStore(tmp_path, "worker-logs")
    monkeypatch.setattr(store, "ensure_retention", refuse)
    store.put("logs/2020-01-01/job-00000000-0000-4000-8000-000000000001.7.log", b"x")
    assert sweep(store, 7, running=lambda _: (), now=datetime(2026, 3, 20, tzinfo=UTC)) == 1
    assert asked == [7]


def test_the_net_never_hangs_before_the_sweep() -> None:
    """Whatever the setting: whole days, at least two more, and two more again for pieces."""
    for days in (0.01, 1, 6.5, 7, 3650):
        net = net_days(days)
        assert net["logs/"] >= days + 2
        assert net["live/"] >= days + 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_logs_really_expire_by_the_rules(radosgw: S3Server) -> None:
    """Ceph deletes by them, a day taking 10 s there: first the log, then the piece, and nothing else."""
    store = s3_store(radosgw)
    store.ensure_bucket()
    store.put("logs/2026-03-04/x", b"x")
    store.put("live/2026-03-04/x", b"x")
    store.put("other/x", b"x")
    assert store.ensure_retention(1) is True  # 3 and 5 days
    seen: list[list[str]] = []

    def all_expired() -> bool:
        there = [key for key, _ in store.list("")]
        if not seen or seen[-1] != there:
            seen.append(there)
        return there == ["other/x"]

    eventually(all_expired, seconds=300)
    assert seen[0] == ["live/2026-03-04/x", "logs/2026-03-04/x", "other/x"]
    assert ["logs/2026-03-04/x", "other/x"] not in seen  # pieces outlive logs

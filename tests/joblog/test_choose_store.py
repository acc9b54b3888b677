"""Which store the settings choose, and what they are told when they are incomplete."""

import base64
import json
import subprocess
import sys
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.joblog.stores import open_store
from worker.joblog.stores.local import LocalStore
from worker.joblog.stores.s3 import S3Store, open_s3
from worker.joblog.stores.s3_kinds import kind_of
from worker.joblog.stores.supabase import SupabaseStore
from worker.settings import Settings, load_settings

S3 = {
    "worker_log_backend": "s3",
    "aws_access_key_id": "AKIAEXAMPLE",
    "aws_secret_access_key": "example-secret",
    "aws_region": "eu-central-1",
}
SUPABASE = {
    "worker_log_backend": "supabase",
    "supabase_url": "https://example.supabase.co",
    "supabase_service_key": "sb_secret_example",
}


def jwt(**claims: Any) -> str:
    """A token as Supabase's older keys are."""
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, 1)
    )


def test_the_backend_chooses_the_store() -> None:
    """Local files by default; opening asks nobody."""
    assert isinstance(open_store(load_settings()), LocalStore)
    assert isinstance(open_store(load_settings(**S3)), S3Store)
    assert isinstance(open_store(load_settings(**SUPABASE)), SupabaseStore)
    assert isinstance(
        open_store(load_settings(**SUPABASE | {"supabase_service_key": jwt(role="service_role")})), SupabaseStore
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"worker_log_backend": "s3"}, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]),
        (S3 | {"aws_region": None}, ["AWS_REGION"]),
        (S3 | {"aws_region": "auto"}, ["AWS_ENDPOINT_URL"]),  # Fly's bucket without its address
        (S3 | {"worker_log_bucket": "My_Logs"}, ["WORKER_LOG_BUCKET"]),
        (S3 | {"aws_endpoint_url": "minio:9000"}, ["AWS_ENDPOINT_URL"]),
        ({"worker_log_backend": "supabase"}, ["SUPABASE_URL", "SUPABASE_SERVICE_KEY"]),
        (SUPABASE | {"supabase_service_key": "sb_publishable_x"}, ["SUPABASE_SERVICE_KEY"]),
        (SUPABASE | {"supabase_service_key": jwt(role="anon")}, ["SUPABASE_SERVICE_KEY"]),
        ({"worker_log_backend": "gcs"}, ["WORKER_LOG_BACKEND"]),
    ],
)
def test_incomplete_settings_name_what_to_set(settings: dict[str, Any], named: list[str]) -> None:
    """All of it at once, and before anything runs."""
    with pytest.raises(SettingsError) as caught:
        load_settings(**settings)
    assert [name for name in named if name not in str(caught.value)] == []


@pytest.mark.parametrize(("backend", "package"), [("s3", "boto3"), ("supabase", "supabase")])
def test_without_its_extra_a_store_says_what_to_install(monkeypatch, backend: str, package: str) -> None:
    """The clients are large, and extras."""
    for name in [
        name for name in sys.modules if name.partition(".")[0] == package or name.endswith(f"stores.{backend}")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError) as caught:
        open_store(load_settings(**(S3 if backend == "s3" else SUPABASE)))
    assert f"indexing-worker[{backend}]" in (caught.value.hint or "")


def test_nobody_pays_for_a_client_he_does_not_use() -> None:
    """With local files neither client is imported: half a second, and tens of megabytes a process."""
    program = (
        "import sys; from worker.cli.app import app; from worker.joblog.stores import open_store;"
        "from worker.settings import load_settings; open_store(load_settings());"
        "print([name for name in ('boto3', 'botocore', 'supabase', 'storage3') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_children_get_no_key_of_the_store() -> None:
    """Only the parent uploads; a child parses foreign bytes."""
    for_children = load_settings(**S3, supabase_service_key="sb_secret_example").for_children()
    assert not {"example-secret", "AKIAEXAMPLE", "sb_secret_example"} & set(for_children.secrets())


@pytest.mark.parametrize(
    ("endpoint", "name", "address"),
    [
        (None, "AWS", "https://my-logs.s3.eu-central-1.amazonaws.com/k"),
        ("https://abc.r2.cloudflarestorage.com", "R2", "https://abc.r2.cloudflarestorage.com/my-logs/k"),
        ("https://fly.storage.tigris.dev", "Tigris", "https://my-logs.fly.storage.tigris.dev/k"),
        ("https://t3.storage.dev", "Tigris", "https://my-logs.t3.storage.dev/k"),
        ("https://gateway.storjshare.io", "Storj", "https://gateway.storjshare.io/my-logs/k"),
        (
            "https://ref.storage.supabase.co/storage/v1/s3",
            "Supabase",
            "https://ref.storage.supabase.co/storage/v1/s3/my-logs/k",
        ),
        ("http://minio:9000", "S3", "http://minio:9000/my-logs/k"),
        ("https://amazonaws.com.example", "S3", "https://amazonaws.com.example/my-logs/k"),
    ],
)
def test_each_kind_is_addressed_its_way(endpoint: str | None, name: str, address: str) -> None:
    """In the host's name where a provider insists, in the path everywhere else."""
    assert kind_of(endpoint).name == name
    settings = load_settings(**S3, worker_log_bucket="my-logs", aws_endpoint_url=endpoint)
    assert (open_s3(settings).url("k", 60) or "").partition("?")[0] == address


def test_storj_objects_carry_their_own_end() -> None:
    """It has no rules for buckets: each object says how long it lives, as long as the longest rule elsewhere."""
    settings = load_settings(**S3, aws_endpoint_url="https://gateway.storjshare.io", worker_log_retention_days=2.5)
    store = open_s3(settings)
    assert store._object["Metadata"] == {"object-expires": "+168h"}
    assert store.ensure_retention(2.5) is True  # without asking anybody


def test_secrets_of_stores_are_redacted(monkeypatch) -> None:
    """They are secrets of the settings like any other."""
    settings: Settings = load_settings(**S3)
    assert "example-secret" in settings.secrets()

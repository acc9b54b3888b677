"""Job logs in an S3-compatible bucket: AWS, R2, Tigris, Storj, MinIO, Ceph, Swift, Supabase's S3 endpoint."""

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from worker.joblog.retention import net_days
from worker.joblog.store import CHUNK, check_key, check_prefix, download_name
from worker.joblog.stores.s3_errors import failures, status_of
from worker.joblog.stores.s3_expiry import ensure_rules
from worker.joblog.stores.s3_kinds import S3Kind, kind_of
from worker.settings import Settings

WHOLE_BYTES = 64 * 1024 * 1024  # up to this size one PUT
PART_BYTES = 16 * 1024 * 1024  # R2 wants all parts but the last of one size
LIST_AT_ONCE = 1000
DELETE_AT_ONCE = 1000

_CONTENT_TYPE = "application/x-ndjson"


def open_s3(settings: Settings) -> "S3Store":
    """The S3 store of complete settings; nothing is asked yet."""
    assert settings.aws_access_key_id is not None
    assert settings.aws_secret_access_key is not None
    kind = kind_of(settings.aws_endpoint_url)
    session = Session(
        aws_access_key_id=settings.aws_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        region_name=settings.aws_region or "us-east-1",
    )
    client = session.client("s3", endpoint_url=settings.aws_endpoint_url, config=_config(kind))
    return S3Store(client, settings.worker_log_bucket, kind, keep_days=settings.worker_log_retention_days)


def _config(kind: S3Kind) -> Config:
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": kind.addressing},
        # The default adds a checksum as a chunked trailer, over https only: Ceph and R2 refuse it with 411.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Whoever uploads logs waits and tries again; more retries here would only hold its thread.
        retries={"mode": "standard", "total_max_attempts": 2},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        ignore_configured_endpoint_urls=True,  # the settings alone say where logs go
        tcp_keepalive=True,
    )


class S3Store:
    """A LogStore in one bucket; safe to use from many threads."""

    def __init__(self, client: Any, bucket: str, kind: S3Kind, *, keep_days: float) -> None:
        self._client = client
        self._bucket = bucket
        self._kind = kind
        self._object: dict[str, Any] = {"ContentType": _CONTENT_TYPE, **_own_expiry(kind, keep_days)}
        for call in ("DeleteObjects", "PutBucketLifecycleConfiguration"):
            client.meta.events.register(f"before-call.s3.{call}", _complete_headers)

    @property
    def largest_object(self) -> int | None:
        """No limit that a log reaches."""
        return None

    def put(self, key: str, data: bytes) -> None:
        """Store these bytes."""
        self._put_whole(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Store a file: in one request, or in equal parts if it is large."""
        with failures(f"writing {key}", "s3:PutObject"), path.open("rb") as file:
            if path.stat().st_size <= WHOLE_BYTES:
                self._put_whole(key, file)
            else:
                self._put_in_parts(check_key(key), file)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from `start`, at most `length` of them."""
        where = {"Bucket": self._bucket, "Key": check_key(key)}
        with failures(f"reading {key}", "s3:GetObject", missing=f"There is no log {key} in bucket {self._bucket}."):
            if length == 0:
                self._client.head_object(**where)
                return iter(())
            try:
                body = self._client.get_object(**where, **_range(start, length))["Body"]
            except boto.ClientError as failure:
                if status_of(failure) != 416:  # the range begins behind the end
                    raise
                return iter(())
        return _chunks(key, body)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Keys and sizes, in the order of the keys."""
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": check_prefix(prefix)}
        asked["PaginationConfig"] = {"PageSize": LIST_AT_ONCE}
        if start_after is not None:
            asked["StartAfter"] = start_after
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(**asked))
        while True:
            with failures(f"listing {prefix!r}", "s3:ListBucket"):
                page = next(pages, None)
            if page is None:
                return
            yield from ((entry["Key"], entry["Size"]) for entry in page.get("Contents", ()))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, a thousand a request."""
        remaining = iter(keys)
        while batch := list(islice(remaining, DELETE_AT_ONCE)):
            named = {"Objects": [{"Key": check_key(key)} for key in batch], "Quiet": True}
            with failures(f"deleting {len(batch)} objects", "s3:DeleteObject"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=named)
                _raise_first(answer.get("Errors", ()))

    def ensure_bucket(self) -> None:
        """Create the bucket unless it is there, or this key may not know."""
        with failures(f"looking for bucket {self._bucket}", "s3:ListBucket"):
            if self._bucket_is_there():
                return
        with failures(f"creating bucket {self._bucket}", "s3:CreateBucket, or create the bucket by hand"):
            try:
                self._client.create_bucket(Bucket=self._bucket, **self._location())
            except boto.ClientError as failure:
                if failure.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
                    raise  # BucketAlreadyExists: it is somebody else's

    def ensure_retention(self, days: float) -> bool:
        """Set lifecycle rules beside those that are there, and read them back; False where the store has none."""
        if self._kind.expiry != "rules":
            return self._kind.expiry == "objects"
        with failures(f"setting the expiry of bucket {self._bucket}", "s3:Get- and s3:PutLifecycleConfiguration"):
            # First: some stores create a missing bucket when they are given its rules.
            self._client.head_bucket(Bucket=self._bucket)
            return ensure_rules(self._client, self._bucket, days)

    def url(self, key: str, seconds: int) -> str | None:
        """A signed address of the object; signing asks nobody, so the object may be missing."""
        disposition = f'attachment; filename="{download_name(key)}"'
        asked = {"Bucket": self._bucket, "Key": check_key(key), "ResponseContentDisposition": disposition}
        with failures(f"signing an address of {key}", "s3:GetObject"):
            return self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def _put_whole(self, key: str, data: bytes | BinaryIO) -> None:
        with failures(f"writing {key}", "s3:PutObject"):
            self._client.put_object(Bucket=self._bucket, Key=check_key(key), Body=data, **self._object)

    def _put_in_parts(self, key: str, file: BinaryIO) -> None:
        where = {"Bucket": self._bucket, "Key": key}
        where["UploadId"] = self._client.create_multipart_upload(**where, **self._object)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while part := file.read(PART_BYTES):
                number = len(parts) + 1
                answer = self._client.upload_part(**where, PartNumber=number, Body=part)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        except BaseException:
            # Parts of an unfinished upload are stored, and billed, but not listed.
            with contextlib.suppress(boto.ClientError, boto.BotoCoreError):
                self._client.abort_multipart_upload(**where)
            raise

    def _bucket_is_there(self) -> bool:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except boto.ClientError as failure:
            if status_of(failure) not in (403, 404):
                raise
            return status_of(failure) == 403  # a key for objects alone: the first write will tell
        return True

    def _location(self) -> dict[str, Any]:
        region = self._client.meta.region_name
        if self._kind.name != "AWS" or region == "us-east-1":
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _own_expiry(kind: S3Kind, keep_days: float) -> dict[str, Any]:
    """What an object says of its own end, where the store has no rules; counted from the upload, as rules do."""
    if kind.expiry != "objects":
        return {}
    return {"Metadata": {"object-expires": f"+{max(net_days(keep_days).values()) * 24}h"}}


def _range(start: int, length: int | None) -> dict[str, str]:
    if length is None:
        return {"Range": f"bytes={start}-"} if start else {}
    return {"Range": f"bytes={start}-{start + length - 1}"}


def _chunks(key: str, body: Any) -> Iterator[bytes]:
    with contextlib.closing(body), failures(f"reading {key}", "s3:GetObject"):
        while chunk := body.read(CHUNK):
            yield chunk


def _raise_first(errors: Iterable[dict[str, str]]) -> None:
    """A deletion answers 200 whatever became of each object."""
    for error in errors:
        if error.get("Code") not in ("NoSuchKey", "NoSuchVersion"):
            raise boto.ClientError({"Error": error}, "DeleteObjects")


def _complete_headers(params: dict[str, Any], **_: Any) -> None:
    """Supabase refuses these without a Content-Type, older servers without the MD5 that newer SDKs leave out."""
    body = params["body"]
    data = body if isinstance(body, bytes) else body.encode()
    params["headers"]["Content-Type"] = "application/xml"
    params["headers"]["Content-MD5"] = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

"""Job logs in Supabase Storage, through its own API and a project's service key."""

import contextlib
import heapq
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from storage3.exceptions import StorageApiError
from supabase.lib.client_options import SyncClientOptions

from supabase import Client, create_client
from worker.errors import LogStoreError, NotFound, SpoolError
from worker.joblog.store import CHUNK, check_key, check_prefix, download_name
from worker.joblog.stores.refusals import refused, unreachable
from worker.settings import Settings

PAGE = 1000  # names a listing, objects a deletion
_TIMEOUT = httpx.Timeout(60, connect=5)
# upsert is a header: True would be refused. A repetition puts the same bytes under the same key, so it may overwrite;
# nobody may keep a copy of private logs on the way.
_AS = {"upsert": "true", "content-type": "application/x-ndjson", "cache-control": "no-store"}
_ALREADY_THERE = 409
_LARGEST_OBJECT = 48 * 1024 * 1024  # 50 MB is the limit of a free project, and the default of others


def open_supabase(settings: Settings) -> "SupabaseStore":
    """The Supabase store of complete settings; nothing is asked yet."""
    assert settings.supabase_url is not None
    assert settings.supabase_service_key is not None
    http = httpx.Client(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=32))
    options = SyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
    client = create_client(settings.supabase_url, settings.supabase_service_key.get_secret_value(), options)
    return SupabaseStore(client, http, settings.worker_log_bucket)


class SupabaseStore:
    """A LogStore in one private bucket of a Supabase project; safe to use from many threads."""

    def __init__(self, client: Client, http: httpx.Client, bucket: str) -> None:
        self._http = http
        self._headers = {name: client.options.headers[name] for name in ("apiKey", "Authorization")}
        self._objects = f"{client.storage_url}object/authenticated/{bucket}/"
        self._storage = client.storage
        self._files = client.storage.from_(bucket)
        self._bucket = bucket

    @property
    def largest_object(self) -> int | None:
        """Projects limit it, and tell the limit by refusing."""
        return _LARGEST_OBJECT

    def put(self, key: str, data: bytes) -> None:
        """Store these bytes."""
        with _failures(f"writing {key}"):
            self._upload(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Store a file, read as it is sent."""
        with _failures(f"writing {key}"), path.open("rb") as file:
            self._upload(key, file)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from `start`, at most `length` of them; the client's own download loads all of it."""
        headers = self._headers | _range(start, length)
        request = self._http.build_request("GET", self._objects + check_key(key), headers=headers)
        with _failures(f"reading {key}", missing=f"There is no log {key} in bucket {self._bucket}."):
            response = self._http.send(request, stream=True)
            if response.status_code == 416:  # the range begins behind the end
                response.close()
                return iter(())
            if response.is_error:
                raise _api_error(response)
        if length == 0:
            response.close()
            return iter(())
        chunks = _chunks(key, response)
        return chunks if response.status_code == 206 else _cut(chunks, start, length)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[tuple[str, int]]:
        """Keys and sizes, in the order of the keys."""
        folder, _, start = check_prefix(prefix).rpartition("/")
        for key, size in self._walk(folder, start, start_after or ""):
            if key.startswith(prefix) and (start_after is None or key > start_after):
                yield key, size

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, a thousand a request."""
        remaining = iter(keys)
        while batch := [check_key(key) for key in islice(remaining, PAGE)]:
            with _failures(f"deleting {len(batch)} objects"):
                self._files.remove(batch)

    def ensure_bucket(self) -> None:
        """Create the private bucket unless it is there; a public one is refused."""
        with _failures(f"looking for bucket {self._bucket}"):
            try:
                public = self._storage.get_bucket(self._bucket).public
            except StorageApiError as failure:
                if _status(failure) != 404:
                    raise
                self._create_bucket()
                return
        if public:
            raise LogStoreError(
                f"Bucket {self._bucket} is public: everybody could read the logs.",
                retryable=False,
                hint="Make it private in Supabase's dashboard, or set WORKER_LOG_BUCKET to another name.",
            )

    def ensure_retention(self, days: float) -> bool:
        """Supabase Storage has no expiry of its own: only the sweep deletes."""
        return False

    def url(self, key: str, seconds: int) -> str | None:
        """A signed address of the object; raises NotFound if there is none."""
        with _failures(f"signing an address of {key}", missing=f"There is no log {key} in bucket {self._bucket}."):
            return self._files.create_signed_url(check_key(key), seconds, {"download": download_name(key)})["signedURL"]

    def _upload(self, key: str, content: bytes | BufferedReader) -> None:
        self._files.upload(check_key(key), content, _AS)  # pyright: ignore[reportArgumentType]

    def _create_bucket(self) -> None:
        try:
            self._storage.create_bucket(self._bucket, options={"public": False})
        except StorageApiError as failure:
            if _status(failure) != _ALREADY_THERE and failure.code != "Duplicate":
                raise

    def _walk(self, folder: str, start: str, start_after: str) -> Iterator[tuple[str, int]]:
        """All objects below a folder whose next name begins with `start`, but for folders wholly before start_after."""
        for name, size in _in_key_order(self._level(folder, start)):
            path = f"{folder}/{name}" if folder else name
            if size is not None:
                yield path, size
            elif path >= start_after[: len(path)]:
                yield from self._walk(path.rstrip("/"), "", start_after)

    def _level(self, folder: str, start: str) -> Iterator[tuple[str, int | None]]:
        """Names in one folder, page by page; other folders in it end with a slash and have no size."""
        offset = 0
        while True:
            with _failures(f"listing {folder!r}"):
                options = {"limit": PAGE, "offset": offset, "sortBy": {"column": "name", "order": "asc"}}
                page = self._files.list(folder, options | ({"search": start} if start else {}))  # pyright: ignore[reportArgumentType]
            for entry in page:
                yield (entry["name"], entry["metadata"]["size"]) if entry.get("id") else (f"{entry['name']}/", None)
            if len(page) < PAGE:
                return
            offset += len(page)


def _in_key_order(level: Iterable[tuple[str, int | None]]) -> Iterator[tuple[str, int | None]]:
    """The server sorts bare names; in a bucket's order a folder stands where its slash puts it: "a.b" before "a/b"."""
    held: list[tuple[str, int]] = []
    for name, size in level:
        while held and held[0][0] < name.rstrip("/"):
            yield _released(held)
        heapq.heappush(held, (name, -1 if size is None else size))
    while held:
        yield _released(held)


def _released(held: list[tuple[str, int]]) -> tuple[str, int | None]:
    name, size = heapq.heappop(held)
    return name, None if name.endswith("/") else size


def _range(start: int, length: int | None) -> dict[str, str]:
    if not start and length is None:
        return {}
    return {"Range": f"bytes={start}-" if length is None else f"bytes={start}-{start + max(length, 1) - 1}"}


def _chunks(key: str, response: httpx.Response) -> Iterator[bytes]:
    with contextlib.closing(response), _failures(f"reading {key}"):
        yield from response.iter_bytes(CHUNK)


def _cut(chunks: Iterator[bytes], start: int, length: int | None) -> Iterator[bytes]:
    """The range of a whole object: what a server, or a cache before it, answers that knows no ranges."""
    end = None if length is None else start + length
    position = 0
    for chunk in chunks:
        piece = chunk[max(start - position, 0) : None if end is None else max(end - position, 0)]
        position += len(chunk)
        if piece:
            yield piece
        if end is not None and position >= end:
            return


@contextlib.contextmanager
def _failures(doing: str, *, missing: str | None = None) -> Iterator[None]:
    """Raise what the client raises as a LogStoreError; where `missing` is given, a missing object as NotFound."""
    try:
        yield
    except StorageApiError as failure:
        if missing is not None and _status(failure) == 404 and "ucket" not in failure.code:
            raise NotFound(missing) from None
        raise _refused(doing, failure) from failure
    except httpx.HTTPError as failure:
        reason = str(failure) or type(failure).__name__
        raise unreachable(doing, reason.rstrip("."), address="SUPABASE_URL") from failure
    except OSError as failure:
        raise SpoolError(f"The spool's disk failed at {doing}: {failure.strerror or failure}.") from failure
    except (ValueError, KeyError, TypeError) as failure:
        raise unreachable(doing, "its answer is not Supabase Storage's", address="SUPABASE_URL") from failure


def _api_error(response: httpx.Response) -> StorageApiError:
    """The error of a streamed answer, as the client makes it of all others."""
    response.read()
    try:
        said: dict[str, Any] = response.json()
        return StorageApiError(said["message"], said["error"], said["statusCode"])
    except (ValueError, KeyError, TypeError):
        return StorageApiError(response.text[:200], "", response.status_code)


def _status(failure: StorageApiError) -> int:
    """The status that counts: many errors come as HTTP 400 with the real one, as text, in the body."""
    try:
        return int(failure.status)
    except ValueError:
        return 400


def _refused(doing: str, failure: StorageApiError) -> LogStoreError:
    return refused(
        doing,
        status=_status(failure),
        reason=f"{failure.code}: {failure.message}" if failure.code else failure.message,
        keys="SUPABASE_SERVICE_KEY",
        address="SUPABASE_URL",
        permission="by taking the service (secret) key: the anon key may not touch private buckets",
    )

"""How long a git server asks to wait: git does not show the headers of an answer, so the question is put once more."""

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from worker.errors import JobError, RateLimited, UnsafeUrl
from worker.git.lookup import judged_addresses
from worker.git.url import RepositoryUrl

_SECONDS = 10.0
_LONGEST_WAIT = 3_600.0
_SHORTEST_WAIT = 1.0


def asked_to_wait(url: RepositoryUrl, failure: JobError) -> JobError:
    """The failure of a git that was turned away, or RateLimited where the server says when to come back.

    The same URL is asked under the same rules as git: at the addresses that were judged, without redirects, without
    a proxy of the environment.
    """
    if url.host is None:
        return failure
    try:
        headers = _ask(url)
    except (httpx.HTTPError, httpx.InvalidURL, JobError, UnsafeUrl):  # then git's own words count
        return failure
    seconds = _wait(headers)
    if seconds is None:
        return failure
    return RateLimited(f"{url.url} asks to come back in {seconds:.0f} seconds.", seconds=seconds)


def _ask(url: RepositoryUrl) -> Mapping[str, str]:
    """The headers of a refusal; none of an answer that is no refusal any more."""
    assert url.host is not None
    address = judged_addresses(url)[0]
    target = httpx.URL(
        url.url, host=str(address), path=httpx.URL(url.url).path + "/info/refs", query=b"service=git-upload-pack"
    )
    headers = {"Host": url.origin.partition("://")[2], "User-Agent": "git/indexing-worker"}
    if url.authorization is not None:
        name, _, value = url.authorization.partition(": ")
        headers[name] = value
    client = httpx.Client(timeout=_SECONDS, trust_env=False, follow_redirects=False)
    with client, client.stream("GET", target, headers=headers, extensions={"sni_hostname": url.host}) as answer:
        refused = answer.status_code in (403, 429, 503)
        return dict(answer.headers) if refused else {}


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds: Retry-After is a number or a date; GitHub also says when a spent limit starts anew."""
    found: float | None = None
    after = headers.get("retry-after", "").strip()
    if after.isdecimal():
        found = float(after)
    elif after:
        found = _until(after)
    elif headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdecimal():
        found = float(headers["x-ratelimit-reset"]) - time.time()
    return None if found is None else min(max(found, _SHORTEST_WAIT), _LONGEST_WAIT)


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()

"""What of a webhook post is kept in webhook_deliveries: enough to understand it, bounded, and no secret."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What Postgres does not take in jsonb: NUL, and halves of surrogate pairs."""

_LONGEST = 300
_FIELDS = ("ref", "ref_type", "before", "after", "created", "deleted", "forced", "action", "hook_id")
_REPOSITORY_FIELDS = ("id", "full_name", "default_branch", "private")
# A list of what may be kept, not of what may not: a header nobody thought of may hold a secret.
KEPT_HEADERS = (
    "user-agent",
    "content-type",
    "content-length",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
)


def stored_payload(payload: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """The payload cut to what says which push it was, with the size and SHA-256 of the whole body."""
    kept = _some(payload, _FIELDS)
    for name, fields in (
        ("repository", _REPOSITORY_FIELDS),
        ("sender", ("login",)),
        ("pusher", ("name",)),
        ("installation", ("id",)),
    ):
        part = payload.get(name)
        if isinstance(part, dict):
            kept[name] = _some(part, fields)
    if isinstance(payload.get("commits"), list):
        kept["commits"] = len(payload["commits"])
    return kept | {"body_bytes": len(body), "body_sha256": hashlib.sha256(body).hexdigest()}


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping, by name in lower case."""
    return {name: clean(headers[name]) for name in KEPT_HEADERS if name in headers}


def clean(text: str) -> str:
    """Text that Postgres can store, cut to a bounded length."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_LONGEST])


def _some(part: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: _plain(part[name]) for name in fields if isinstance(part.get(name), str | int | bool)}


def _plain(value: str | int | bool) -> str | int | bool:
    if isinstance(value, str):
        return clean(value)
    return value if abs(value) < 2**63 else 0

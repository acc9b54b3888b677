"""In what S3-compatible stores differ that cannot be found out by asking them."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class S3Kind:
    """One provider's way. `addressing`: where the bucket stands in the address. `expiry`: what can delete by age."""

    name: str
    addressing: Literal["path", "virtual"]
    expiry: Literal["rules", "objects", "none"] = "rules"


AWS = S3Kind(
    "AWS", "virtual"
)  # "auto" signs addresses of the global host, which new buckets elsewhere do not answer at
OTHER = S3Kind("S3", "path")  # MinIO, Ceph, Swift and most others: a bucket needs no name in the DNS
_BY_HOST = {
    "amazonaws.com": AWS,
    "amazonaws.com.cn": AWS,
    "r2.cloudflarestorage.com": S3Kind("R2", "path"),
    "tigris.dev": S3Kind("Tigris", "virtual"),  # new buckets answer at bucket.host only
    "storage.dev": S3Kind("Tigris", "virtual"),
    "storjshare.io": S3Kind("Storj", "path", expiry="objects"),
    # Its lifecycle call answers 200, does nothing, and creates a bucket that was missing.
    "supabase.co": S3Kind("Supabase", "path", expiry="none"),
}


def kind_of(endpoint: str | None) -> S3Kind:
    """The kind of store behind an endpoint URL; without one: AWS."""
    if endpoint is None:
        return AWS
    host = urlsplit(endpoint).hostname or ""
    for suffix, kind in _BY_HOST.items():
        if host == suffix or host.endswith(f".{suffix}"):
            return kind
    return OTHER

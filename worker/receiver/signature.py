"""Webhook secrets and signatures: secrets are derived from a master key, so the database never holds one."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from uuid import UUID

from worker.credentials.master_keys import MasterKey

MOST_ACCEPTED = 2
"""Secrets that are accepted at once: the current one and, during a rotation, the one before."""

_SIGNATURE = re.compile(rb"sha256=([0-9a-f]{64})")


def webhook_secret(master: MasterKey, repository_id: UUID, version: int) -> str:
    """The secret of a repository's webhook: HMAC-SHA256(master key, "<repository id>|<version>"), in hex."""
    return hmac.new(master.secret.encode(), f"{repository_id}|{version}".encode(), hashlib.sha256).hexdigest()


def fingerprint(secret: str) -> str:
    """A short name of a secret, safe to store and to show: it tells a wrong master key from the right one."""
    return "sha256:" + hashlib.sha256(b"webhook-secret|" + secret.encode()).hexdigest()[:16]


def sign(body: bytes, secret: str) -> str:
    """The X-Hub-Signature-256 header that GitHub sends with this body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(body: bytes, header: str | None, accepted: Sequence[str]) -> bool:
    """Whether the header is the body's signature under one of the accepted secrets; never raises.

    Takes constant time. A refusal costs the same work whether there are no accepted secrets, one, or two during a
    rotation, so that a stranger cannot time which repositories exist.
    """
    given = (header or "").strip().encode("utf-8", "replace")
    well_formed = _SIGNATURE.fullmatch(given) is not None
    matches = False
    for secret in accepted:
        matches |= hmac.compare_digest(sign(body, secret).encode(), given)
    for _ in range(0 if matches else MOST_ACCEPTED - len(accepted)):
        hmac.compare_digest(sign(body, _NOBODYS).encode(), given)
    return matches and well_formed


_NOBODYS = secrets.token_hex(32)

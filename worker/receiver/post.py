"""A webhook post as it came, and what its sender gets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard
from uuid import UUID

from worker.receiver.github import Decision, parse_body

_LONGEST_HEADER = 100


@dataclass(frozen=True, slots=True)
class Post:
    """A webhook post as it came; header names in lower case, `repository_id` None when the address holds none."""

    repository_id: UUID | None
    headers: Mapping[str, str]
    body: bytes

    @property
    def signature(self) -> str | None:
        """GitHub's signature of the body."""
        return self.headers.get("x-hub-signature-256")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender gets, and the word under which it is counted."""

    status: int
    content: Mapping[str, Any]
    outcome: str
    retry_after: int | None = None
    """Seconds, for the header of that name."""


# One answer for every stranger: it does not say which repositories exist.
REFUSED = Answer(
    401, {"status": "refused", "reason": "The repository is unknown or the signature is wrong."}, "refused"
)


def read_payload(post: Post) -> dict[str, Any] | Answer:
    """The payload of a signed post, or what its sender gets when it cannot be read."""
    if not is_word(post.headers.get("x-github-event")) or not is_word(post.headers.get("x-github-delivery")):
        return malformed("The headers X-GitHub-Event and X-GitHub-Delivery are both needed.")
    payload = parse_body(post.body, post.headers.get("content-type"))
    return malformed(payload.reason or "") if isinstance(payload, Decision) else payload


def is_word(header: str | None) -> TypeGuard[str]:
    """Whether a header holds what GitHub's identifiers hold."""
    return header is not None and 0 < len(header) <= _LONGEST_HEADER and header.isascii() and header.isprintable()


def malformed(reason: str) -> Answer:
    """What the sender of a post that cannot be read gets."""
    return Answer(400, {"status": "malformed", "reason": reason}, "malformed")


def limited(seconds: float) -> Answer:
    """What the sender of a repository's posts gets when they come faster than it may; `seconds` until the next one."""
    reason = "Deliveries of this repository come faster than it may send; deliver again later."
    return Answer(429, {"status": "limited", "reason": reason}, "limited", retry_after=math.ceil(seconds))

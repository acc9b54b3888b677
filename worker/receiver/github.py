"""What a GitHub event means for a repository: pure decisions on parsed payloads, none raises for content."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import parse_qs

from worker.catalog.tracking import tracks
from worker.receiver.stored import UNSTORABLE

MOST_HINTS = 3000
"""Git decides what changed; longer file lists of a push are not worth carrying."""

_MOST_COMMITS = 2048  # GitHub lists no more, so a list this long may be cut
_LONGEST = 4096
_LONGEST_REF = 255
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_COMMIT = "0" * 40


class Kind(StrEnum):
    """What to do with a delivery."""

    INDEX = "index"
    PING = "ping"
    IGNORE = "ignore"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the repository's row says: its owner's choice of branch, its default branch, GitHub's numeric id, and its
    further branches, as patterns.
    """

    branch: str | None = None
    default_branch: str | None = None
    provider_id: int | None = None
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why (a sentence for a person), and for INDEX the payload of the job."""

    kind: Kind
    reason: str | None = None
    job_payload: Mapping[str, Any] | None = None
    turned_private: bool = False


def parse_body(body: bytes, content_type: str | None) -> dict[str, Any] | Decision:
    """The payload in a JSON or form-encoded body, or a MALFORMED decision."""
    text = body
    if (content_type or "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            fields = parse_qs(body.decode("ascii"), max_num_fields=10)
        except ValueError:
            return _malformed("The form-encoded body cannot be read.")
        if "payload" not in fields:
            return _malformed("The form-encoded body has no field named payload.")
        text = fields["payload"][0].encode("utf-8", "replace")
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return _malformed("The body is not JSON.")
    if not isinstance(payload, dict):
        return _malformed("The body is JSON, but not an object.")
    return payload


def decide(event: str, payload: Mapping[str, Any], tracked: Tracked) -> Decision:
    """What this event means for the repository it was posted to."""
    sender = _mapping(payload, "repository").get("id")
    if tracked.provider_id is not None and sender is not None and sender != tracked.provider_id:
        return _ignore(
            "This webhook belongs to another GitHub repository than the one registered here; "
            "each repository needs its own webhook secret and address."
        )
    if event == "ping":
        return Decision(Kind.PING)
    if event == "push":
        return _decide_push(payload, tracked)
    if event == "repository" and payload.get("action") in ("privatized", "publicized"):
        return _decide_visibility(payload, tracked)
    return _ignore(f"Events of type {event} need no indexing.")


def _decide_visibility(payload: Mapping[str, Any], tracked: Tracked) -> Decision:
    """The job asks the server who may read the repository, and keeps its contents accordingly."""
    branch = tracked.branch or _mapping(payload, "repository").get("default_branch") or tracked.default_branch
    if not _is_text(branch, _LONGEST_REF):
        return _malformed("The event does not name its repository's default branch, and none is known here.")
    job_payload = {"ref": f"refs/heads/{branch}", "rebuild": False}
    return Decision(Kind.INDEX, job_payload=job_payload, turned_private=payload["action"] == "privatized")


def _decide_push(push: Mapping[str, Any], tracked: Tracked) -> Decision:
    ref, after, before = push.get("ref"), push.get("after"), push.get("before")
    if not _is_text(ref, _LONGEST_REF) or not ref.startswith("refs/"):
        return _malformed("The push names no ref, as in refs/heads/main.")
    if not _is_commit(after) or not _is_commit(before):
        return _malformed("The push needs before and after, each a commit of 40 hexadecimal digits.")
    if ref.startswith("refs/tags/"):
        return _ignore(f"{ref.removeprefix('refs/tags/')} is a tag; branches are indexed.")
    if not ref.startswith("refs/heads/"):
        return _ignore(f"{ref} is no branch.")
    return _decide_branch(push, ref.removeprefix("refs/heads/"), tracked)


def _decide_branch(push: Mapping[str, Any], branch: str, tracked: Tracked) -> Decision:
    """A default branch that was renamed is known by its old name here and by its new one there: both are main."""
    theirs = _mapping(push, "repository").get("default_branch")
    names = [tracked.branch] if tracked.branch else [tracked.default_branch, theirs]
    main = [name for name in names if _is_text(name, _LONGEST_REF)]
    if not main:
        return _malformed("The push does not name its repository's default branch, and none is known here.")
    if not tracks(branch, main=main, patterns=tracked.patterns):
        wanted = ", ".join(dict.fromkeys([main[0], *tracked.patterns]))
        return _ignore(f"The push is to branch {branch}; this repository tracks {wanted}.")
    if push.get("deleted") is True or push["after"] == _NO_COMMIT:
        if branch in main:
            return _ignore(f"Branch {branch} was deleted; the index keeps its last state.")
        return Decision(Kind.INDEX, job_payload=_deleted_payload(push))
    return Decision(Kind.INDEX, job_payload=_index_payload(push))


def _deleted_payload(push: Mapping[str, Any]) -> dict[str, Any]:
    return {**_index_payload(push), "after": None, "deleted": True}


def _index_payload(push: Mapping[str, Any]) -> dict[str, Any]:
    forced = push.get("forced") is True
    return {
        "ref": push["ref"],
        "after": push["after"],
        "before": None if push["before"] == _NO_COMMIT else push["before"],
        "forced": forced,
        "deleted": False,
        # A forced push lists the commits that came, not those that went.
        "hints": "unknown" if forced else _hints(push.get("commits")),
        "rebuild": False,
    }


def _hints(commits: Any) -> dict[str, list[str]] | str:
    """The paths that a push's commits name, each once; "unknown" when the lists are odd, cut or too long."""
    if not isinstance(commits, list) or len(commits) >= _MOST_COMMITS:
        return "unknown"
    hints: dict[str, dict[str, None]] = {"added": {}, "modified": {}, "removed": {}}
    for commit in commits:
        for how, paths in hints.items():
            named = commit.get(how, []) if isinstance(commit, dict) else None
            if not isinstance(named, list) or not all(_is_text(path, _LONGEST) for path in named):
                return "unknown"
            paths.update(dict.fromkeys(named))
        if sum(map(len, hints.values())) > MOST_HINTS:
            return "unknown"
    return {how: list(paths) for how, paths in hints.items()}


def _mapping(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, dict) else {}


def _is_text(value: Any, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= longest and not UNSTORABLE.search(value)


def _is_commit(value: Any) -> bool:
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None


def _ignore(reason: str) -> Decision:
    return Decision(Kind.IGNORE, reason)


def _malformed(reason: str) -> Decision:
    return Decision(Kind.MALFORMED, reason)

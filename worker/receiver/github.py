"""What a GitHub event means for a repository: pure decisions on parsed payloads, none raises for content."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import parse_qs

from worker.catalog.tracking import tracks
from worker.receiver.stored import UNSTORABLE, clean

MOST_HINTS = 3000
"""Git decides what changed; longer file lists of a push are not worth carrying."""

_MOST_COMMITS = 2048  # GitHub lists no more, so a list this long may be cut
_LONGEST = 4096
_LONGEST_REF = 255
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_COMMIT = "0" * 40
_ADDRESS = re.compile(r"(?P<host>https?://[^/]+)/[^/]+/[^/]+?(?P<suffix>\.git)?")
_FULL_NAME = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,100}")
_NO_INSTALLATION = "The GitHub App that reads this repository is not installed for it now."


class Kind(StrEnum):
    """What to do with a delivery."""

    INDEX = "index"
    UPDATE = "update"
    PING = "ping"
    IGNORE = "ignore"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the repository's row says: its owner's choice of branch, its default branch, GitHub's numeric id, its
    further branches as patterns, its URL, why nothing is indexed of it for now, and whether a GitHub App reads it.
    """

    branch: str | None = None
    default_branch: str | None = None
    provider_id: int | None = None
    patterns: tuple[str, ...] = ()
    address: str | None = None
    paused: tuple[str, ...] = ()
    is_read_by_app: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What an event changes in the repository's row; None: nothing. `pause` and `resume` name a reason, see Pause."""

    address: str | None = None
    provider_id: int | None = None
    default_branch: str | None = None
    turned_private: bool = False
    pause: str | None = None
    resume: tuple[str, ...] = ()


class Pause(StrEnum):
    """Why no event of a repository makes work for now."""

    ARCHIVED = "archived"
    DELETED = "deleted"
    INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why (a sentence for a person), for INDEX the payload of the job, and what changes in the row."""

    kind: Kind
    reason: str | None = None
    job_payload: Mapping[str, Any] | None = None
    change: Change | None = None


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


def decide(event: str, payload: Mapping[str, Any], tracked: Tracked, *, by_app: bool = False) -> Decision:
    """What this event means for the repository it was posted to. `by_app`: it came to the address of the GitHub App."""
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
    if event == "public":
        return _decide_repository({**payload, "action": "publicized"}, tracked, by_app=by_app)
    if event == "repository":
        return _decide_repository(payload, tracked, by_app=by_app)
    if event in ("create", "delete"):
        return _ignore("The push that GitHub sends with it says what to do.")
    if event in ("installation", "installation_repositories"):
        return _ignore("Installations are told to the GitHub App's own address, /webhooks/github.")
    return _ignore(f"Events of type {event} need no indexing.")


def _decide_repository(event: Mapping[str, Any], tracked: Tracked, *, by_app: bool) -> Decision:
    match event.get("action"):
        case "renamed" | "transferred":
            return _decide_move(event, tracked, by_app=by_app)
        case "privatized":
            return _index_main(event, tracked, Change(turned_private=True))
        case "publicized":
            return _index_main(event, tracked)  # the job asks the server before anything is shown
        case "archived":
            return Decision(Kind.UPDATE, "Archived: nothing is indexed until it changes.", None, _pause(Pause.ARCHIVED))
        case "unarchived":
            return _index_main(event, tracked, Change(resume=(Pause.ARCHIVED,)))
        case "deleted":
            return Decision(Kind.UPDATE, "Deleted: the index keeps its last state.", None, _pause(Pause.DELETED))
        case "edited":
            return _decide_edit(event, tracked)
        case action:
            return _ignore(f"A repository that was {_word(action)} needs no indexing.")


def _decide_move(event: Mapping[str, Any], tracked: Tracked, *, by_app: bool) -> Decision:
    """A new name or owner: only the path of the registered URL changes, never its host."""
    if tracked.is_read_by_app and not by_app:
        # Whoever holds this webhook's secret could otherwise read the installation's other repositories.
        return _ignore("A GitHub App reads this repository; its new address is taken from the App's own webhook alone.")
    provider_id, name = _mapping(event, "repository").get("id"), _mapping(event, "repository").get("full_name")
    if not isinstance(name, str) or not _FULL_NAME.fullmatch(name) or not is_number(provider_id):
        return _malformed("The event does not name the repository's number and its new owner/name.")
    address = _moved(tracked.address, name)
    if address is None:
        return _ignore("The URL registered here is not of the form https://host/owner/name.")
    before = _moved(tracked.address, _name_before(event))
    if tracked.provider_id is None and before != tracked.address:
        return _ignore("GitHub's number of this repository is not known yet, and its name before is not the one here.")
    return _index_main(event, tracked, Change(address=address, provider_id=provider_id))


def _name_before(event: Mapping[str, Any]) -> str:
    """owner/name before a rename or a transfer, as far as the event tells."""
    repository, changes = _mapping(event, "repository"), _mapping(event, "changes")
    owner, name = _mapping(repository, "owner").get("login"), repository.get("name")
    name = _mapping(_mapping(changes, "repository"), "name").get("from", name)
    giver = _mapping(_mapping(changes, "owner"), "from")
    giver = _mapping(giver, "user") or _mapping(giver, "organization")
    return f"{giver.get('login', owner)}/{name}"


def _moved(address: str | None, name: str) -> str | None:
    """The URL with another owner/name behind its host; None where that is no such URL or name."""
    parts = _ADDRESS.fullmatch(address or "")
    if parts is None or _FULL_NAME.fullmatch(name) is None:
        return None
    if parts["host"] == "https://github.com":
        return f"{parts['host']}/{name.lower()}"
    return f"{parts['host']}/{name}{parts['suffix'] or ''}"


def _decide_edit(event: Mapping[str, Any], tracked: Tracked) -> Decision:
    if "default_branch" not in _mapping(event, "changes"):
        return _ignore("Nothing that is indexed was edited.")
    if tracked.branch:
        return _ignore(f"The default branch is another now; this repository tracks {tracked.branch}.")
    default_branch = _mapping(event, "repository").get("default_branch")
    if not _is_text(default_branch, _LONGEST_REF):
        return _malformed("The event does not name its repository's default branch.")
    return _index_main(event, tracked, Change(default_branch=default_branch))


def _index_main(event: Mapping[str, Any], tracked: Tracked, change: Change | None = None) -> Decision:
    """The job asks the server where the main branch stands and who may read it, and acts accordingly."""
    branch = tracked.branch or _mapping(event, "repository").get("default_branch") or tracked.default_branch
    if not _is_text(branch, _LONGEST_REF):
        return _malformed("The event does not name its repository's default branch, and none is known here.")
    if Pause.INSTALLATION in tracked.paused:
        return Decision(Kind.UPDATE, _NO_INSTALLATION, None, change) if change else _ignore(_NO_INSTALLATION)
    return Decision(Kind.INDEX, None, {"ref": f"refs/heads/{branch}", "rebuild": False}, change)


def _pause(reason: Pause) -> Change:
    return Change(pause=reason)


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
    if Pause.INSTALLATION in tracked.paused:
        return _ignore(_NO_INSTALLATION)
    if push["before"] == push["after"]:
        return _ignore(f"The push left branch {branch} where it was.")
    # Nobody pushes to what is archived or gone: the event that told the end of that did not come.
    resumed = tuple(reason for reason in tracked.paused if reason != Pause.INSTALLATION)
    change = Change(resume=resumed) if resumed else None
    if push.get("deleted") is True or push["after"] == _NO_COMMIT:
        if branch in main:
            return _ignore(f"Branch {branch} was deleted; the index keeps its last state.")
        return Decision(Kind.INDEX, None, _deleted_payload(push), change)
    return Decision(Kind.INDEX, None, _index_payload(push), change)


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
        "commits": len(push["commits"]) if isinstance(push.get("commits"), list) else None,
        "pusher": clean(pusher) if isinstance(pusher := _mapping(push, "pusher").get("name"), str) else None,
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


def is_number(value: Any) -> TypeGuard[int]:
    """Whether this may be one of GitHub's numeric ids."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _word(value: Any) -> str:
    return clean(value) if isinstance(value, str) else "changed"


def _is_commit(value: Any) -> bool:
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None


def _ignore(reason: str) -> Decision:
    return Decision(Kind.IGNORE, reason)


def _malformed(reason: str) -> Decision:
    return Decision(Kind.MALFORMED, reason)

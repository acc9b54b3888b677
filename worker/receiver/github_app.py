"""What the GitHub App's own events mean: which repositories an installation reads from now on. Pure decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.receiver.github import is_number

_MOST_REPOSITORIES = 10_000
_NAME_LENGTH = 201


@dataclass(frozen=True, slots=True)
class Named:
    """A repository as GitHub lists it: its number and owner/name."""

    number: int
    full_name: str


@dataclass(frozen=True, slots=True)
class Installed:
    """What changed about an installation. `read`: it reads these from now on; `unread`: these no longer.

    `all_paused`: none of its repositories can be read for now (True), or all can again (False); None: as before.
    """

    installation: int
    read: tuple[Named, ...] = ()
    unread: tuple[int, ...] = ()
    all_paused: bool | None = None


def installation_of(payload: Mapping[str, Any]) -> int | None:
    """The number of the installation that a delivery to the App's address is about."""
    part = payload.get("installation")
    number = part.get("id") if isinstance(part, dict) else None
    return number if is_number(number) else None


def decide_installation(event: str, payload: Mapping[str, Any]) -> Installed | None:
    """What an `installation` or `installation_repositories` event changes; None: nothing, or it cannot be read."""
    installation = installation_of(payload)
    if installation is None:
        return None
    match event, payload.get("action"):
        case "installation", "created" | "new_permissions_accepted":
            return Installed(installation, _named(payload.get("repositories")))
        case "installation", "deleted" | "suspend":
            return Installed(installation, all_paused=True)
        case "installation", "unsuspend":
            return Installed(installation, all_paused=False)
        case "installation_repositories", "added" | "removed":
            gone = _named(payload.get("repositories_removed"))
            return Installed(installation, _named(payload.get("repositories_added")), tuple(one.number for one in gone))
        case _:
            return None


def _named(listed: Any) -> tuple[Named, ...]:
    listed = listed[:_MOST_REPOSITORIES] if isinstance(listed, list) else []
    return tuple(
        Named(one["id"], one["full_name"])
        for one in listed
        if isinstance(one, dict) and is_number(one.get("id")) and _is_name(one.get("full_name"))
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _NAME_LENGTH

"""The host part of a URL: a public DNS name or address, spelled in the one way everybody reads alike."""

import ipaddress
import re
from dataclasses import dataclass

from worker.errors import UnsafeUrl
from worker.git.ranges import is_public

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_ZONES = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "home.arpa",
)
_HINT = "Set WORKER_ALLOW_PRIVATE_HOSTS=true if this is your own git server."


@dataclass(frozen=True, slots=True)
class Host:
    """A host name or address in lower case, without brackets."""

    name: str
    is_loopback: bool


def parse_host(text: str, *, allow_private_hosts: bool) -> Host:
    """The host that `text` names; raises UnsafeUrl for private ones unless they are allowed."""
    if text.startswith("["):
        return _address(text[1:-1], allow_private_hosts)
    name = text.lower()
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UnsafeUrl("The URL's host is not a DNS name of ASCII letters, digits and dashes.")
    if _LOOKS_LIKE_A_NUMBER.fullmatch(labels[-1]):  # 127.1, 0x7f.1 and 2130706433 are all 127.0.0.1 to a resolver
        return _address(name, allow_private_hosts)
    if not allow_private_hosts and (len(labels) == 1 or name.endswith(tuple(f".{zone}" for zone in _PRIVATE_ZONES))):
        raise UnsafeUrl(f"{name} is a name of a private network.", hint=_HINT)
    return Host(name, is_loopback=name == "localhost")


def _address(text: str, allow_private_hosts: bool) -> Host:
    if "%" in text:
        raise UnsafeUrl("The URL's host is an address with a network interface in it.")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UnsafeUrl("The URL's host looks like an address but is none.") from None
    if not allow_private_hosts and not is_public(address):
        raise UnsafeUrl(f"{address} is not a public address.", hint=_HINT)
    return Host(str(address), address.is_loopback)

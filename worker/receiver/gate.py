"""Who may post at all, by address: GitHub's ranges, where an operator has given them."""

import ipaddress
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.requests import HTTPConnection

from worker.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Gate:
    """Admits senders from the allowed ranges; without ranges, everybody."""

    def __init__(self, allowed: Sequence[Network], proxies: Sequence[Network], *, header: str) -> None:
        """`header`: where a proxy tells the sender's address; believed of those in `proxies`, of nobody else."""
        self._allowed, self._proxies, self._header = allowed, proxies, header

    def admits(self, request: HTTPConnection) -> bool:
        """Whether this sender may post."""
        if not self._allowed:
            return True
        sender = self._sender(request)
        return sender is not None and _is_in(sender, self._allowed)

    def _sender(self, request: HTTPConnection) -> Address | None:
        """Walking back from us, the first address that is not a proxy of ours."""
        peer = _address(request.client.host if request.client else "")
        if peer is None or not _is_in(peer, self._proxies):
            return peer
        told = [part.strip() for value in request.headers.getlist(self._header) for part in value.split(",")]
        for text in reversed(told):
            sender = _address(text)
            if sender is None or not _is_in(sender, self._proxies):
                return sender
        return peer


def read_ranges(given: str, *, name: str) -> list[Network]:
    """Ranges separated by commas, or those under `hooks` in a file with the JSON of GitHub's `meta` API.

    Raises SettingsError, which names the setting.
    """
    try:
        return [ipaddress.ip_network(text, strict=False) for text in _texts(given.strip())]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SettingsError(
            f"{name} cannot be used: {problem}",
            hint="Give ranges such as 192.30.252.0/22,2a0a:a440::/29, or the path of a file with the JSON of "
            "https://api.github.com/meta.",
        ) from problem


def _texts(given: str) -> Iterable[str]:
    if given and Path(given).is_file():
        hooks = json.loads(Path(given).read_text(encoding="utf-8"))["hooks"]
        if not isinstance(hooks, list) or not hooks or not all(isinstance(each, str) for each in hooks):
            raise ValueError("the file names no ranges under `hooks`")
        return hooks
    return [text.strip() for text in given.split(",") if text.strip()]


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)

"""The one look-up of a host name that git is then held to."""

import ipaddress
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from worker.errors import GitNetworkError, UnsafeUrl
from worker.git.ranges import is_public
from worker.git.url import RepositoryUrl


def pin(url: RepositoryUrl) -> str | None:
    """Look the host up once; curl's `host:port:addresses`, or None where there is no name to look up.

    Raises UnsafeUrl when an answer is not public, GitNetworkError when there is none. Whoever owns the name
    can answer otherwise a moment later, so git gets exactly the addresses that were judged here.
    """
    if url.host is None or url.port is None or _is_address(url.host):
        return None
    addresses = judged_addresses(url)
    return f"{url.host}:{url.port}:{','.join(str(address) for address in addresses)}"


def judged_addresses(url: RepositoryUrl) -> list[IPv4Address | IPv6Address]:
    """The addresses of a URL's host, at least one; raises what `pin` raises."""
    assert url.host is not None
    addresses = [ipaddress.ip_address(url.host)] if _is_address(url.host) else _look_up(url.host, url.port or 0)
    if not url.private_hosts:
        _refuse_private(url.host, addresses)
    return addresses


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as problem:
        raise GitNetworkError(f"The host {host} cannot be looked up: {problem.strerror or problem}.") from problem
    found = dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
    if not found:
        raise GitNetworkError(f"The host {host} has no address.")
    return [ipaddress.ip_address(address) for address in found]


def _refuse_private(host: str, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
    for address in addresses:
        if not is_public(address):
            raise UnsafeUrl(
                f"The host {host} points to {address}, which is not a public address.",
                hint="Set WORKER_ALLOW_PRIVATE_HOSTS=true if this is your own git server.",
            )

"""Which network addresses belong to the public internet."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # leaves out mapped, NAT64, ULA, link-local and site-local ones
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's host services, in public space
        "192.0.0.0/24",  # Oracle's metadata, among others; Pythons differ in what they call global here
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4: carries any IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether strangers on the internet could reach this address as well."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return not any(address.version == network.version and address in network for network in _NOT_PUBLIC)

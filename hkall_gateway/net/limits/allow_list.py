"""Allow lists: the addresses that may connect."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

SITE_BITS: Final = 64
"""Prefix length of an IPv6 network that usually belongs to one customer, so that its addresses are counted together."""


@lru_cache(maxsize=4_096)
def network_of(address: str) -> str:
    """Return the key under which limits count an address: an IPv4 address itself, or the /64 network of an IPv6 address.

    An IPv4 address that a dual-stack socket reports as "::ffff:10.0.0.7" counts as that IPv4 address. Any other text, such as
    the name of a UNIX socket, is returned unchanged.
    """
    try:
        peer = _parse_peer(address)
    except ValueError:
        return address
    return str(IPv6Network((peer, SITE_BITS), strict=False) if isinstance(peer, IPv6Address) else peer)


_MAPPED = IPv6Network("::ffff:0:0/96")


class AllowList:
    """The networks from which a peer may connect; an empty list admits no address.

    Each entry of `cidrs` is an IPv4 or IPv6 network ("10.0.0.0/8") or a single address; an invalid entry raises ValueError. An
    IPv4 address that a dual-stack socket reports as "::ffff:10.0.0.7" counts as that IPv4 address.
    """

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._networks = tuple(network(cidr) for cidr in cidrs)

    def __bool__(self) -> bool:
        """Return whether the list contains any network."""
        return bool(self._networks)

    def admits(self, address: str) -> bool:
        """Check whether `address` is in one of the networks; return False if it is not an IP address."""
        try:
            peer = _parse_peer(address)
        except ValueError:
            return False
        return any(peer in allowed for allowed in self._networks)


NO_ADDRESS: Final = AllowList(())


def network(cidr: str) -> IPv4Network | IPv6Network:
    """Parse a network or address in CIDR notation. Raise ValueError with the reason if it is invalid."""
    named = ip_network(cidr)
    if isinstance(named, IPv6Network) and named.subnet_of(_MAPPED):
        mapped = named.network_address.ipv4_mapped
        return ip_network(f"{mapped}/{named.prefixlen - _MAPPED.prefixlen}")
    return named


@lru_cache(maxsize=1_024)
def _parse_peer(text: str) -> IPv4Address | IPv6Address:
    """Parse a peer's address. The result is cached, since a reconnecting peer is checked against several lists each time."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

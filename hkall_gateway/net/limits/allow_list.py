"""Allow lists: the addresses that may connect."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

SITE_BITS: Final = 64
"""A network of IPv6 that one customer has: its addresses count as one."""


@lru_cache(maxsize=4_096)
def network_of(address: str) -> str:
    """Return the name under which every limit counts an address: an IPv4 address itself, its /64 for IPv6.

    An IPv4 address that a dual-stack socket shows as "::ffff:10.0.0.7" counts as that IPv4 address. Text that is no address,
    such as that of a UNIX socket, counts as itself.
    """
    try:
        peer = _parse_peer(address)
    except ValueError:
        return address
    return str(IPv6Network((peer, SITE_BITS), strict=False) if isinstance(peer, IPv6Address) else peer)


_MAPPED = IPv6Network("::ffff:0:0/96")


class AllowList:
    """The networks from which a peer may connect; an empty list admits no address.

    `cidrs` are IPv4 or IPv6 networks ("10.0.0.0/8") or single addresses; ValueError names the entry that is neither. An IPv4
    address that a dual-stack socket shows as "::ffff:10.0.0.7" counts as that IPv4 address.
    """

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._networks = tuple(network(cidr) for cidr in cidrs)

    def __bool__(self) -> bool:
        """Return whether there is a network in the list."""
        return bool(self._networks)

    def admits(self, address: str) -> bool:
        """Return whether `address`, as a transport writes it, is in one of the networks; False for any other text."""
        try:
            peer = _parse_peer(address)
        except ValueError:
            return False
        return any(peer in allowed for allowed in self._networks)


NO_ADDRESS: Final = AllowList(())


def network(cidr: str) -> IPv4Network | IPv6Network:
    """Return the network that `cidr` names. Raises ValueError with the reason."""
    named = ip_network(cidr)
    if isinstance(named, IPv6Network) and named.subnet_of(_MAPPED):
        mapped = named.network_address.ipv4_mapped
        return ip_network(f"{mapped}/{named.prefixlen - _MAPPED.prefixlen}")
    return named


@lru_cache(maxsize=1_024)
def _parse_peer(text: str) -> IPv4Address | IPv6Address:
    """Parse the address of a caller, cached: callers connect again, and several lists are searched each time."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

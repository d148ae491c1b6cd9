"""Allow lists: the addresses that may connect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Final, NamedTuple

NAT64: Final = IPv6Network("64:ff9b::/96")
"""The networks in which a translator shows IPv4 clients to an IPv6 server. Source: RFC 6052, 2.1."""


class CountedCaller(NamedTuple):
    """A name under which limits count a caller.

    Attributes:
        name: A network, or a credential such as "patron 21234".
        factor: Multiple of the limit for a single network or credential.
    """

    name: str
    factor: int = 1


IPV6_PREFIXES: Final[Mapping[int, int]] = MappingProxyType({64: 1, 56: 2, 48: 4})
"""Prefix lengths of the IPv6 networks that one customer may have, and the factor of the limits for each.

A provider gives a home a /64 or a /56, and an organisation a /48, so that a limit for each /64 alone would not stop anybody.
"""


@lru_cache(maxsize=4_096)
def networks_of(address: str) -> tuple[CountedCaller, ...]:
    """Return the networks under which limits count an address, the narrowest first.

    An IPv4 address counts as itself, also if a dual-stack socket reports it as "::ffff:10.0.0.7" or a NAT64 translator as
    "64:ff9b::a00:7". An IPv6 address counts as a member of each of its networks in IPV6_PREFIXES. Any other text, such as the
    name of a UNIX socket, is returned unchanged.
    """
    try:
        peer = _parse_peer(address)
    except ValueError:
        return (CountedCaller(address),)
    if peer in NAT64:
        peer = IPv4Address(int(peer) & 0xFFFF_FFFF)
    if isinstance(peer, IPv4Address):
        return (CountedCaller(str(peer)),)
    networks = {bits: IPv6Network((peer, bits), strict=False) for bits in IPV6_PREFIXES}
    return tuple(CountedCaller(str(networks[bits]), factor) for bits, factor in IPV6_PREFIXES.items())


def network_of(address: str) -> str:
    """Return the narrowest network under which limits count an address: the IPv4 address itself, or the /64 network."""
    return networks_of(address)[0].name


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

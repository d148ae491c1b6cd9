"""The network under which an address is counted, by every limit of pages, logins, terminals and partners."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

SITE_BITS: Final = 64
"""A network of IPv6 that one customer has: its addresses count as one."""


@lru_cache(maxsize=4_096)
def network_of(address: str) -> str:
    """Return the name under which an address is counted: an IPv4 address itself, its /64 for IPv6.

    An IPv4 address that a dual-stack socket shows as "::ffff:10.0.0.7" counts as that IPv4 address. Text that is no address,
    such as that of a UNIX socket, counts as itself.
    """
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or IPv6Network((known, SITE_BITS), strict=False))

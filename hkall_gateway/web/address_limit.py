"""Limits the pages that one address may ask for: a bucket of tokens for each address, filled again at a steady rate."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

ROOM: Final = 20_000
"""Addresses that are remembered; beyond that, the one that was silent for longest is forgotten."""
BURST_S: Final = 30.0
"""The bucket holds what these seconds fill: a reader who opens many titles at once is not held up."""
SITE_BITS: Final = 64
"""A network of IPv6 that one customer has: its addresses count as one."""


class AddressLimit:
    """Counts pages by address. Safe from any thread; `seconds` is a monotonic clock."""

    def __init__(self, seconds: Callable[[], float], room: int = ROOM) -> None:
        self._seconds, self._room, self._lock = seconds, room, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str, most: int) -> float:
        """Count one page of this address; return 0, or the seconds after which it may have one, which is then not counted.

        `most` a minute; 0 = no limit.
        """
        if not most:
            return 0.0
        rate = most / 60
        full = max(1.0, rate * BURST_S)
        name, now = network(address), self._seconds()
        with self._lock:
            left, then = self._left.pop(name, (full, now))
            left = min(full, left + (now - then) * rate)
            admitted = left >= 1
            self._left[name] = (left - 1 if admitted else left), now
            while len(self._left) > self._room:
                self._left.popitem(last=False)
        return 0.0 if admitted else (1 - left) / rate


def network(address: str) -> str:
    """Return the name under which an address is counted: itself, or its /64 for IPv6."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or IPv6Network((known, SITE_BITS), strict=False))

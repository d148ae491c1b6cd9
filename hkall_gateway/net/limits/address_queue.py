"""Queues expensive work for unauthenticated clients: one piece at a time for each network, so that none delays another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import DeferredLock

from hkall_gateway.net.limits.networks import network_of

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Work items of one network that may wait. A campus needs fewer even when all of its terminals reconnect at once."""


class AddressQueue:
    """Runs one piece of work of each network at a time; a network with much work delays only its own replies."""

    __slots__ = ("_locks", "_most", "_wanted")

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._locks: dict[str, Any] = {}  # Twisted's locks have no types
        self._wanted: Counter[str] = Counter()

    async def run(self, address: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of `work`, run after all earlier work of the network of `address`; None if too much is queued."""
        network = network_of(address)
        if self._wanted[network] >= self._most:
            return None
        self._wanted[network] += 1
        lock = self._locks.setdefault(network, DeferredLock())
        try:
            await lock.acquire()
            try:
                return await work()
            finally:
                lock.release()
        finally:
            self._leave(network)

    def _leave(self, network: str) -> None:
        self._wanted[network] -= 1
        if not self._wanted[network]:
            del self._wanted[network], self._locks[network]

"""Queues expensive work for unauthenticated clients: one piece at a time for each address, so that none delays another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import DeferredLock

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Work items of one address that may wait. A campus needs fewer even when all of its terminals reconnect at once."""


class AddressQueue:
    """Runs one piece of work of each address at a time; an address with much work delays only its own replies."""

    __slots__ = ("_locks", "_most", "_wanted")

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._locks: dict[str, Any] = {}  # Twisted's locks have no types
        self._wanted: Counter[str] = Counter()

    async def run(self, address: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Returns the result of `work`, run after all earlier work of `address`; None when too much of it is already queued."""
        if self._wanted[address] >= self._most:
            return None
        self._wanted[address] += 1
        lock = self._locks.setdefault(address, DeferredLock())
        try:
            await lock.acquire()
            try:
                return await work()
            finally:
                lock.release()
        finally:
            self._leave(address)

    def _leave(self, address: str) -> None:
        self._wanted[address] -= 1
        if not self._wanted[address]:
            del self._wanted[address], self._locks[address]

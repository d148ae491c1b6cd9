"""Slow work for strangers: of each address one piece at a time is done, so that none holds up another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import DeferredLock

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Pieces of one address that may wait; a campus whose terminals all come back at once has fewer."""


class AddressQueue:
    """Runs one piece of work of each address at a time; an address that asks for much delays its own answers alone."""

    __slots__ = ("_locks", "_most", "_wanted")

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._locks: dict[str, Any] = {}  # Twisted's locks have no types
        self._wanted: Counter[str] = Counter()

    async def run(self, address: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result of `work`, once nothing else of `address` is under way; None where too much of it waits already."""
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

"""Slow work for strangers: each address has one piece of it under way, and what else it wants done waits behind that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import DeferredLock

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Pieces of one address that may wait; a campus whose terminals all come back at once has fewer."""


class Fair:
    """Lets the addresses take turns, so that one that asks for much delays its own answers alone."""

    __slots__ = ("_locks", "_most", "_wanted")

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._locks: dict[str, Any] = {}  # Twisted's locks have no types
        self._wanted: Counter[str] = Counter()

    async def done(self, address: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` answers, once it is the turn of `address`; None where too much of that address waits already."""
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

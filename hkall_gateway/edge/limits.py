"""How many connections may be open: from one address, and in all."""

from __future__ import annotations

from collections import Counter


class Gate:
    """Counts the connections of one door and says when it is full.

    `per_address` and `in_all` are the numbers of connections that may be open at the same time.
    """

    __slots__ = ("_in_all", "_inside", "_per_address")

    def __init__(self, per_address: int, in_all: int) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._inside: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """How many are open now."""
        return self._inside.total()

    def enter(self, address: str) -> bool:
        """Whether one more may come in from `address`; it is counted if so. Who was let in must `leave`."""
        if self.inside >= self._in_all or self._inside[address] >= self._per_address:
            return False
        self._inside[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One connection from `address` has ended. ValueError if none had entered: a bug of the caller."""
        if not self._inside[address]:
            raise ValueError(f"nobody from {address} is inside")
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]

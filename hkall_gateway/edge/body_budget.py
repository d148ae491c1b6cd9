"""Memory for request bodies that have not ended yet, in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FREE: Final = 65_536
"""Bytes of a body that count for nothing: an ordinary document is always taken."""


class BodyBudget:
    """Counts what unfinished bodies hold beyond their first FREE bytes. When it is used up, the oldest one is given up."""

    __slots__ = ("_held", "_most", "_used")

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._held: dict[object, tuple[int, Callable[[], object]]] = {}

    @property
    def used(self) -> int:
        """Bytes that count now."""
        return self._used

    def hold(self, body: object, size: int, give_up: Callable[[], object]) -> None:
        """`body` has `size` bytes now. `give_up` is called when it is the oldest, and there is no room for another."""
        counted = size - FREE
        if counted <= 0:
            return
        before, _ = self._held.get(body, (0, None))
        self._held[body] = (counted, give_up)
        self._used += counted - before
        while self._used > self._most:
            oldest = next(iter(self._held))
            _, end = self._held[oldest]
            self.release(oldest)
            end()

    def release(self, body: object) -> None:
        """`body` is complete, or gone. Harmless for one that holds nothing."""
        counted, _ = self._held.pop(body, (0, None))
        self._used -= counted

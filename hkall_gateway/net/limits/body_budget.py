"""A memory limit for all unfinished request bodies together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FREE: Final = 65_536
"""Bytes of each body that are not counted, so that an ordinary document is always accepted."""


class BodyBudget:
    """Counts the bytes of unfinished bodies beyond their first FREE bytes. Over the limit, the oldest body is given up."""

    __slots__ = ("_held", "_most", "_used")

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._held: dict[object, tuple[int, Callable[[], object]]] = {}

    @property
    def used(self) -> int:
        """Bytes counted now."""
        return self._used

    def reserve(self, body: object, size: int, give_up: Callable[[], object]) -> None:
        """Records that `body` has `size` bytes now.

        Over the limit, the oldest bodies are released and their `give_up` is called.
        """
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
        """Frees the bytes of `body`, which is complete or gone. Safe to call for a body without counted bytes."""
        counted, _ = self._held.pop(body, (0, None))
        self._used -= counted

"""A share of each reactor iteration for connections that have not proven who they are, and for those that cost too much."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from hkall_gateway.desk.ports import Clock

SHARE_S: Final = 0.001
"""CPU time of one reactor iteration after which no further stranger is read."""
HEAVY_S: Final = 0.005
"""A read that took longer, with all that was answered in it, is heavy."""
DEBT: Final = 20.0
"""For so many times as long as a heavy read took, its row is read like a stranger."""
MOST_ROWS: Final = 1000


class FairReads:
    """Says which connection may read now.

    Proven connections always may. The others take turns, in the order in which they came to wait, and together get SHARE_S of
    each iteration and what the last one needs beyond. The reactor asks again by itself: what is not read stays readable.
    `clock` has Twisted's `seconds` and `callLater`; `spent` answers the CPU seconds of this thread so far, since the time by
    the clock depends on what else the machine does.
    """

    def __init__(self, clock: Clock, spent: Callable[[], float]) -> None:
        self._clock, self.spent = clock, spent
        self._waiting: OrderedDict[Hashable, None] = OrderedDict()
        self._debts: dict[str, float] = {}
        self._used_s, self._counting = 0.0, False

    def trusts(self, row: str) -> bool:
        """Whether connections of this row are read without waiting; "" is a stranger."""
        return bool(row) and (row not in self._debts or self._debts[row] <= self._clock.seconds())

    def admits(self, connection: Hashable) -> bool:
        """Whether this connection may read now; otherwise it is queued."""
        first = next(iter(self._waiting), connection)
        if first is connection and self._used_s < SHARE_S:
            self._waiting.pop(connection, None)
            return True
        self._waiting.setdefault(connection)
        return False

    def forget(self, connection: Hashable) -> None:
        """This connection reads no more, or not for now."""
        self._waiting.pop(connection, None)

    def used(self, row: str, took_s: float, *, trusted: bool) -> None:
        """A read took so long."""
        if took_s > HEAVY_S and row:
            self._owe(row, took_s)
        if trusted:
            return
        self._used_s += took_s
        if not self._counting:
            self._counting = True
            self._clock.callLater(0, self._next_iteration)

    def _owe(self, row: str, took_s: float) -> None:
        now_s = self._clock.seconds()
        if len(self._debts) >= MOST_ROWS:
            self._debts = {one: until for one, until in self._debts.items() if until > now_s}
        self._debts[row] = max(self._debts.get(row, 0.0), now_s) + DEBT * took_s

    def _next_iteration(self) -> None:
        self._used_s, self._counting = 0.0, False

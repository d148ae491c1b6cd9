"""Counts recent wrong secrets per source: terminal, address or partner. An attacker tries many cards, not one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=15)
"""How long a wrong secret counts, and how long a locked source must wait."""
ROOM: Final = 10_000
"""Sources that are remembered; beyond that, the source with the oldest last wrong secret is forgotten."""

OF_A_TERMINAL: Final = 30
"""Wrong PINs within WINDOW at one terminal, unless configured; a busy counter has a few."""
OF_AN_ADDRESS: Final = 100
"""The same for all terminals of one network together."""
OF_A_CALLER: Final = 300
"""The same for one NCIP caller: a discovery system has all readers behind it."""

Ways = Mapping[str, int]
"""The sources of a secret, and how many wrong secrets each may send within WINDOW."""


class Guesses:
    """The instants of wrong secrets within the last quarter of an hour, by their source."""

    __slots__ = ("_room", "_wrong")

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._wrong: OrderedDict[str, deque[datetime]] = OrderedDict()

    def shut(self, ways: Ways, now: datetime) -> bool:
        """Whether one of these sources has sent so many that no further secret is checked, not even a right one."""
        return bool(self._wrong) and any(len(self._lately(way, now)) >= most for way, most in ways.items())

    def count(self, ways: Ways, now: datetime) -> None:
        """Counts one more wrong secret for each of these sources."""
        for way, most in ways.items():
            times = self._lately(way, now)
            times.append(now)
            self._wrong[way] = deque(times, maxlen=most)
            self._wrong.move_to_end(way)
        while len(self._wrong) > self._room:
            self._wrong.popitem(last=False)

    def _lately(self, way: str, now: datetime) -> deque[datetime]:
        times = self._wrong.get(way, deque())
        while times and times[0] <= now - WINDOW:
            times.popleft()
        return times

"""How many wrong secrets came lately by one way: a terminal, an address, a partner. Who guesses tries many cards, not one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=15)
"""So long a wrong secret counts, and so long is the wait of a way that is shut."""
ROOM: Final = 10_000
"""Ways that are remembered; beyond it the one whose last wrong secret lies furthest back is forgotten."""

Ways = Mapping[str, int]
"""The ways by which a secret comes, and how many wrong ones each may bring within WINDOW."""


class Guesses:
    """The instants of wrong secrets within the last quarter of an hour, by the way that they came."""

    __slots__ = ("_room", "_wrong")

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._wrong: OrderedDict[str, deque[datetime]] = OrderedDict()

    def shut(self, ways: Ways, now: datetime) -> bool:
        """Whether one of these ways has brought so many that no further secret is looked at, not even a right one."""
        return bool(self._wrong) and any(len(self._lately(way, now)) >= most for way, most in ways.items())

    def count(self, ways: Ways, now: datetime) -> None:
        """One more wrong secret by each of these ways."""
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

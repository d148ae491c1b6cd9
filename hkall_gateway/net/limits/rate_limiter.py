"""Limits events per minute, and wrong secrets per quarter of an hour.

Events are a partner's requests, or log lines that strangers can cause. Wrong secrets are counted by their source (terminal,
address, partner), since an attacker tries many cards and not one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

GUESSES_COUNT_FOR: Final = timedelta(minutes=15)
"""How long a wrong secret counts, and how long a locked source must wait."""
ROOM: Final = 10_000
"""Sources that are remembered; beyond that, the source with the oldest last wrong secret is forgotten."""

OF_A_TERMINAL: Final = 30
"""Wrong PINs within GUESSES_COUNT_FOR at one terminal, unless configured; a busy counter has a few."""
OF_AN_ADDRESS: Final = 100
"""The same for all terminals of one network together."""
OF_A_CALLER: Final = 300
"""The same for one NCIP caller: a discovery system has all readers behind it."""

Ways = Mapping[str, int]
"""The sources of a secret, and how many wrong secrets each may send within GUESSES_COUNT_FOR."""


class Guesses:
    """The instants of wrong secrets within the last quarter of an hour, by their source."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._wrong: OrderedDict[str, deque[datetime]] = OrderedDict()

    def shut(self, ways: Ways, now: datetime) -> bool:
        """Return whether one of these sources has sent too many, so that no further secret is checked."""
        return bool(self._wrong) and any(len(self._recent_guesses(way, now)) >= most for way, most in ways.items())

    def count(self, ways: Ways, now: datetime) -> None:
        """Count one more wrong secret for each of these sources."""
        for way, most in ways.items():
            times = self._recent_guesses(way, now)
            times.append(now)
            self._wrong[way] = deque(times, maxlen=most)
            self._wrong.move_to_end(way)
        while len(self._wrong) > self._room:
            self._wrong.popitem(last=False)

    def _recent_guesses(self, way: str, now: datetime) -> deque[datetime]:
        times = self._wrong.get(way, deque())
        while times and times[0] <= now - GUESSES_COUNT_FOR:
            times.popleft()
        return times


WINDOW: Final = timedelta(minutes=1)


class RateLimiter:
    """Keeps the instants of each name's accepted events of the last minute.

    Names come from the configuration, so they are few.
    """

    def __init__(self) -> None:
        self._asked: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def admits(self, name: str, most: int, now: datetime) -> bool:
        """Return whether `name` may have one more event now, and count it. `most` a minute; 0 is no limit."""
        if not most:
            return True
        instants = self._asked[name]
        while instants and instants[0] <= now - WINDOW:
            instants.popleft()
        if len(instants) >= most:
            return False
        instants.append(now)
        return True


class LineLimit:
    """Limits the log lines a minute of one kind, and reports with each line how many were left out before it."""

    def __init__(self, most: int) -> None:
        self._most, self._rate, self._left_out = most, RateLimiter(), Counter[str]()

    def left_out(self, kind: str, now: datetime) -> int | None:
        """Return how many lines of this kind were left out since the last one; None to leave out this one too."""
        if not self._rate.admits(kind, self._most, now):
            self._left_out[kind] += 1
            return None
        return self._left_out.pop(kind, 0)

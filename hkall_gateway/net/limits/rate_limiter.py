"""Limits on events per minute, and on wrong secrets per quarter of an hour.

Events are partners' requests, or log lines that unauthenticated clients can cause. Wrong secrets are counted by source (such as
terminal, network or partner), since an attacker tries many cards.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

GUESSES_COUNT_FOR: Final = timedelta(minutes=15)
"""How long a wrong secret counts, and therefore how long a locked source must wait."""
ROOM: Final = 10_000
"""Maximum number of sources. Beyond it, the source whose last wrong secret is oldest is forgotten."""

OF_A_TERMINAL: Final = 30
"""Default limit on wrong PINs within GUESSES_COUNT_FOR from one terminal. Even a busy counter sends only a few."""
OF_AN_ADDRESS: Final = 100
"""Default limit on wrong PINs within GUESSES_COUNT_FOR from all terminals in one network together."""
OF_A_CALLER: Final = 300
"""Default limit on wrong PINs within GUESSES_COUNT_FOR from one NCIP caller: a discovery system serves all patrons."""

Ways = Mapping[str, int]
"""The sources of a secret, and for each the number of wrong secrets within GUESSES_COUNT_FOR that locks it."""


class Guesses:
    """Keeps the times of wrong secrets within the last quarter of an hour for each source."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._wrong: OrderedDict[str, deque[datetime]] = OrderedDict()

    def shut(self, ways: Ways, now: datetime) -> bool:
        """Return whether any of these sources is locked because it has sent too many wrong secrets."""
        return bool(self._wrong) and any(len(self._recent_guesses(way, now)) >= most for way, most in ways.items())

    def count(self, ways: Ways, now: datetime) -> None:
        """Count a wrong secret for each of these sources."""
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
    """Limits the events per minute for each name. Names are never forgotten, so there must be few names."""

    def __init__(self) -> None:
        self._asked: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def admits(self, name: str, most: int, now: datetime) -> bool:
        """Count an event for `name` and return True, or return False if `most` events per minute are reached (0: no limit)."""
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
    """Limits the log lines of each kind per minute, and counts the suppressed lines."""

    def __init__(self, most: int) -> None:
        self._most, self._rate, self._left_out = most, RateLimiter(), Counter[str]()

    def left_out(self, kind: str, now: datetime) -> int | None:
        """Return the number of lines of this kind suppressed since the last line, or None to suppress this line too."""
        if not self._rate.admits(kind, self._most, now):
            self._left_out[kind] += 1
            return None
        return self._left_out.pop(kind, 0)

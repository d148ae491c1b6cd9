"""Limits events per minute: a partner's requests, or a log line that strangers can cause."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=1)


class RateLimiter:
    """Keeps the instants of each name's accepted events of the last minute. Names come from the configuration, so they are
    few.
    """

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def admits(self, name: str, most: int, now: datetime) -> bool:
        """Whether `name` may have one more event now; if so, counts it. `most` a minute; 0 = no limit."""
        if not most:
            return True
        asked = self._asked[name]
        while asked and asked[0] <= now - WINDOW:
            asked.popleft()
        if len(asked) >= most:
            return False
        asked.append(now)
        return True


class LineLimit:
    """Limits the log lines a minute of one kind, and reports with each line how many were left out before it."""

    __slots__ = ("_left_out", "_most", "_rate")

    def __init__(self, most: int) -> None:
        self._most, self._rate, self._left_out = most, RateLimiter(), Counter[str]()

    def left_out(self, kind: str, now: datetime) -> int | None:
        """Returns how many lines of this kind were left out since the last one; None if this one must be left out too."""
        if not self._rate.admits(kind, self._most, now):
            self._left_out[kind] += 1
            return None
        return self._left_out.pop(kind, 0)

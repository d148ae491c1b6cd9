"""How often somebody may ask: so many times in any minute, counted for each by name."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=1)


class Rate:
    """The instants of what each asker was let do within the last minute; a name is as many as the configuration has."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def admits(self, name: str, most: int, now: datetime) -> bool:
        """Whether `name` may ask once more, which counts then. `most` a minute; 0 = as often as it likes."""
        if not most:
            return True
        asked = self._asked[name]
        while asked and asked[0] <= now - WINDOW:
            asked.popleft()
        if len(asked) >= most:
            return False
        asked.append(now)
        return True

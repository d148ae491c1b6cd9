"""A growing pause after wrong passwords, by (address, name), and a limit for one address over all names.

It is the web's own: guesses here lock no card at a terminal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

FREE: Final = 3
"""Wrong tries before the first pause."""
FIRST_S: Final = 2.0
LONGEST_S: Final = 900.0
"""The first pause, and the longest: each is twice the one before it."""
OF_AN_ADDRESS: Final = 30
"""Tries for any names from one address, after which each further one waits too."""
FORGOTTEN_S: Final = 3600.0
ROOM: Final = 10_000


class LoginThrottle:
    """Counts wrong tries. Safe from any thread; `seconds` is a monotonic clock.

    `of_a_name`: tries for one name from all addresses together, after which each further one waits; None = no such limit.
    """

    def __init__(self, seconds: Callable[[], float], room: int = ROOM, of_a_name: int | None = None) -> None:
        self._seconds, self._room, self._lock, self._of_a_name = seconds, room, threading.Lock(), of_a_name
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str, name: str) -> float:
        """Return the seconds until the next try of this name from this address is allowed; 0 = now."""
        now = self._seconds()
        with self._lock:
            ends = [self._end(key, free) for key, free in self._keys(address, name)]
        return max(0.0, *(end - now for end in ends))

    def wrong(self, address: str, name: str) -> None:
        """Count one more wrong try."""
        now = self._seconds()
        with self._lock:
            for key, _free in self._keys(address, name):
                count, last = self._wrong.pop(key, (0, now))
                self._wrong[key] = (1 if now - last > FORGOTTEN_S else count + 1, now)
            while len(self._wrong) > self._room:
                self._wrong.popitem(last=False)

    def right(self, address: str, name: str) -> None:
        """Forget the wrong tries of this name from this address, and those of the name."""
        with self._lock:
            for key in ((address, name.casefold()), ("", name.casefold())):
                self._wrong.pop(key, None)

    def _keys(self, address: str, name: str) -> tuple[tuple[tuple[str, str], int], ...]:
        of_both = ((address, name.casefold()), FREE), ((address, ""), OF_AN_ADDRESS)
        return of_both if self._of_a_name is None else (*of_both, (("", name.casefold()), self._of_a_name))

    def _end(self, key: tuple[str, str], free: int) -> float:
        count, last = self._wrong.get(key, (0, 0.0))
        if count < free:
            return 0.0
        return last + min(LONGEST_S, FIRST_S * 2.0 ** min(count - free, 16))

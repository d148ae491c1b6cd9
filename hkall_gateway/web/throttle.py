"""A growing pause after wrong passwords: by network and name, by network over all names, and by name over all networks.

It is the web's own: guesses here lock no card at a terminal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from hkall_gateway.net.limits.allow_list import network_of

FREE: Final = 3
"""Wrong tries before the first pause."""
FIRST_S: Final = 2.0
LONGEST_S: Final = 900.0
"""The first pause, and the longest: each is twice the one before it."""
OF_A_NETWORK: Final = 30
"""Tries for any names from one network, after which each further one waits too."""
OF_A_NAME: Final = 10
"""Tries for one name from all networks together, after which each further one waits too."""
FORGOTTEN_S: Final = 3600.0
ROOM: Final = 10_000


class LoginThrottle:
    """Counts wrong tries. Safe from any thread; `seconds` is a monotonic clock.

    `browser` names a browser by which the owner of this name has logged in before, "" for another: its tries are counted for
    themselves, so that nobody else's keep the owner out.
    """

    def __init__(self, seconds: Callable[[], float], room: int = ROOM) -> None:
        self._seconds, self._room, self._lock = seconds, room, threading.Lock()
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str, name: str, browser: str = "") -> float:
        """Return the seconds until the next try of this name from this address is allowed; 0 = now."""
        now = self._seconds()
        with self._lock:
            ends = [self._end(key, free) for key, free in _keys(address, name, browser)]
        return max(0.0, *(end - now for end in ends))

    def wrong(self, address: str, name: str, browser: str = "") -> None:
        """Count one more wrong try."""
        now = self._seconds()
        with self._lock:
            for key, _free in _keys(address, name, browser):
                count, last = self._wrong.pop(key, (0, now))
                self._wrong[key] = (1 if now - last > FORGOTTEN_S else count + 1, now)
            while len(self._wrong) > self._room:
                self._wrong.popitem(last=False)

    def right(self, address: str, name: str, browser: str = "") -> None:
        """Forget the wrong tries of this name from this address or browser, and those of the name."""
        with self._lock:
            for source in (network_of(address), browser, ""):
                self._wrong.pop((source, name.casefold()), None)

    def _end(self, key: tuple[str, str], free: int) -> float:
        count, last = self._wrong.get(key, (0, 0.0))
        if count < free:
            return 0.0
        return last + min(LONGEST_S, FIRST_S * 2.0 ** min(count - free, 16))


def _keys(address: str, name: str, browser: str) -> tuple[tuple[tuple[str, str], int], ...]:
    """Return what a try counts for, each with the number of wrong tries before its first pause."""
    name, network = name.casefold(), network_of(address)
    if browser:
        return (((browser, name), FREE),)
    return ((network, name), FREE), ((network, ""), OF_A_NETWORK), (("", name), OF_A_NAME)

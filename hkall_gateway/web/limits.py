"""Limits each caller: pauses after wrong passwords, which never lock a card at a terminal, and pages per minute."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from flask import current_app, request

from hkall_gateway.db.web_sessions import PATRON, STAFF
from hkall_gateway.net.limits.allow_list import network_of
from hkall_gateway.web.i18n import ngettext
from hkall_gateway.web.services import WebServices, services

FREE: Final = 3
"""Number of wrong tries before the first pause."""
FIRST_S: Final = 2.0
LONGEST_S: Final = 900.0
"""Duration of the first and of the longest pause in seconds. Each pause is twice as long as the previous pause."""
OF_A_NETWORK: Final = 30
"""Number of wrong tries from one network, for any names, after which every further try has to wait."""
OF_A_NAME: Final = 10
"""Number of wrong tries for one name, from all networks together, after which every further try has to wait."""
FORGOTTEN_S: Final = 3600.0
NAMES_KEPT: Final = 10_000


class LoginThrottle:
    """Counts wrong login attempts per network and name, per network, and per name.

    Safe to call from any thread. `seconds` is a monotonic clock.

    In all methods, `browser` identifies a browser in which the owner of `name` has logged in before, or is "". Attempts from
    such a browser are counted separately, so that wrong attempts elsewhere do not lock the owner out.
    """

    def __init__(self, seconds: Callable[[], float], room: int = NAMES_KEPT) -> None:
        self._seconds, self._room, self._lock = seconds, room, threading.Lock()
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str, name: str, browser: str = "") -> float:
        """Return the seconds until `name` may log in from `address`, or 0 if an attempt is allowed now."""
        now, longest_s = self._seconds(), 0.0
        with self._lock:
            for key, free in _counted_keys(address, name, browser):
                count, last = self._wrong.get(key, (0, 0.0))
                if count >= free:
                    longest_s = max(longest_s, last + min(LONGEST_S, FIRST_S * 2.0 ** min(count - free, 16)) - now)
        return longest_s

    def wrong(self, address: str, name: str, browser: str = "") -> None:
        """Count a wrong attempt."""
        now = self._seconds()
        with self._lock:
            for key, _free in _counted_keys(address, name, browser):
                count, last = self._wrong.pop(key, (0, now))
                self._wrong[key] = (1 if now - last > FORGOTTEN_S else count + 1, now)
            while len(self._wrong) > self._room:
                self._wrong.popitem(last=False)

    def right(self, address: str, name: str, browser: str = "") -> None:
        """Reset the counts for `name` from this network, from this browser, and from all networks."""
        with self._lock:
            for source in (network_of(address), browser, ""):
                self._wrong.pop((source, name.casefold()), None)


def _counted_keys(address: str, name: str, browser: str) -> tuple[tuple[tuple[str, str], int], ...]:
    """Return the keys under which an attempt counts, each with the number of wrong attempts before the first pause."""
    name, network = name.casefold(), network_of(address)
    if browser:
        return (((browser, name), FREE),)
    return ((network, name), FREE), ((network, ""), OF_A_NETWORK), (("", name), OF_A_NAME)


LIMIT, THROTTLES = "hkall_page_limit", "hkall_login_throttles"
CALLERS_KEPT: Final = 20_000
"""Maximum number of callers to remember. Beyond that, the least recently seen caller is forgotten."""
BURST_S: Final = 30.0
"""Seconds of refill that a full token bucket holds, so that a patron may open many titles at once."""


def too_many_tries(wait_s: int) -> str:
    """Return the message that the login page shows during a pause."""
    return ngettext("Too many tries. Wait %(num)d second.", "Too many tries. Wait %(num)d seconds.", wait_s) % {"num": wait_s}


class PageLimit:
    """Limits pages per minute, with a token bucket for each patron and for each network of strangers.

    Safe to call from any thread. `seconds` is a monotonic clock.
    """

    def __init__(self, seconds: Callable[[], float], room: int = CALLERS_KEPT) -> None:
        self._seconds, self._room, self._lock = seconds, room, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, most: int) -> float:
        """Take a page's token. Return 0, or the seconds until the next token. `most` is pages per minute, 0 for no limit."""
        if not most:
            return 0.0
        rate = most / 60
        full = max(1.0, rate * BURST_S)
        now = self._seconds()
        with self._lock:
            left, then = self._left.pop(caller, (full, now))
            left = min(full, left + (now - then) * rate)
            admitted = left >= 1
            self._left[caller] = (left - 1 if admitted else left), now
            while len(self._left) > self._room:
                self._left.popitem(last=False)
        return 0.0 if admitted else (1 - left) / rate


def shared(web: WebServices) -> dict[str, object]:
    """Create the limits as Flask extensions that the pages and the API share, so that requests to both are counted together."""
    return {LIMIT: PageLimit(web.seconds), THROTTLES: {kind: LoginThrottle(web.seconds) for kind in (STAFF, PATRON)}}


def login_throttle(kind: str) -> LoginThrottle:
    """Return the login throttle for one kind of session, STAFF or PATRON."""
    found: LoginThrottle = current_app.extensions[THROTTLES][kind]
    return found


def patron_caller(card: str) -> str:
    """Return the key under which a patron's pages are counted, regardless of the IP address."""
    return f"patron {card}"


def stranger_caller() -> str:
    """Return the network of a request without session or token, as the key under which the request is counted."""
    return network_of(request.remote_addr or "")


def wait_s(caller: str) -> int:
    """Count one page for this caller. Return 0, or the seconds to wait if the limit is reached."""
    limits: PageLimit = current_app.extensions[LIMIT]
    return math.ceil(limits.wait_s(caller, services().settings().pages_per_minute))

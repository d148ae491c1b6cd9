"""Limits each caller: pauses after wrong passwords, which never lock a card at a terminal, and pages per minute.

`PageLimits` checks a page before it takes a thread. The pages count wrong passwords.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import structlog
from flask import Flask, current_app
from werkzeug.exceptions import HTTPException

from hkall_gateway.db.web_sessions import PATRON, STAFF
from hkall_gateway.net.limits.allow_list import CountedCaller, network_of, networks_of
from hkall_gateway.net.limits.rate_limiter import LineLimit
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.web.callers import Share, WebCaller
from hkall_gateway.web.i18n import ngettext
from hkall_gateway.web.services import WebServices
from hkall_gateway.web.sessions import NO_SESSION

LOG = structlog.get_logger()

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
    """Return the keys under which an attempt counts, each with the number of wrong attempts before the first pause.

    An attempt without a name, such as a login at the identity provider, counts for the network alone.
    """
    name = name.casefold()
    if browser:
        return (((browser, name), FREE),)
    of_networks = [((network, ""), factor * OF_A_NETWORK) for network, factor in networks_of(address)]
    if not name:
        return tuple(of_networks)
    return ((network_of(address), name), FREE), *of_networks, (("", name), OF_A_NAME)


USE, LIMIT, THROTTLES = "hkall_page_use", "hkall_page_limit", "hkall_login_throttles"
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

    def wait_s(self, caller: Sequence[CountedCaller], most: int) -> float:
        """Take a page's token from the bucket of each of the caller's names, if each of them has one.

        Args:
            caller: The names under which the caller is counted.
            most: Pages per minute for a name with the factor 1, or 0 for no limit.

        Returns:
            0, or the seconds until each bucket has a token.
        """
        if not most:
            return 0.0
        now, longest_s = self._seconds(), 0.0
        with self._lock:
            filled = dict[str, float]()
            for name, factor in caller:
                rate = factor * most / 60
                full = max(1.0, rate * BURST_S)
                left, then = self._left.pop(name, (full, now))
                filled[name] = min(full, left + (now - then) * rate)
                longest_s = max(longest_s, (1 - filled[name]) / rate)
            cost = 0.0 if longest_s > 0 else 1.0
            for name, left in filled.items():
                self._left[name] = (left - cost, now)
            while len(self._left) > self._room:
                self._left.popitem(last=False)
        return longest_s


class CallerUse(NamedTuple):
    """What one caller has asked for: the caller's group and key, and the numbers of its pages and of all pages."""

    share: Share
    name: str
    pages: int
    refused: int
    of_all: int


WINDOW_MIN: Final = 5
"""Number of minutes, with the current one, whose pages count as recent."""
NOTICED: Final = 300
"""Minimum number of recent pages for one caller to be noticed: one a second."""


class PageUse:
    """Counts the recent pages of each caller, served or refused. Thread-safe. `seconds` is a monotonic clock."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self._minutes: deque[tuple[int, Counter[tuple[Share, str]], Counter[str]]] = deque(maxlen=WINDOW_MIN)

    def count(self, share: Share, name: str, *, refused: bool) -> None:
        """Count a page."""
        minute = int(self._seconds() // 60)
        with self._lock:
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, Counter(), Counter()))
            _, pages, refusals = self._minutes[-1]
            if len(pages) < CALLERS_KEPT or (share, name) in pages:
                pages[share, name] += 1
                refusals[name] += refused

    def busiest(self) -> CallerUse | None:
        """Return the caller that has asked for most of the recent pages, or None if there is no such caller."""
        oldest = int(self._seconds() // 60) - WINDOW_MIN
        pages, refusals = Counter[tuple[Share, str]](), Counter[str]()
        with self._lock:
            for minute, pages_of_minute, refusals_of_minute in self._minutes:
                if minute > oldest:
                    pages += pages_of_minute
                    refusals += refusals_of_minute
        of_all = pages.total()
        for (share, name), number in pages.most_common(1):
            if number >= NOTICED and 2 * number > of_all:
                return CallerUse(share, name, number, refusals[name], of_all)
        return None


CALLBACKS: Final[Mapping[str, str]] = MappingProxyType({"staff_oidc.back": STAFF, "patron_oidc.back": PATRON})
"""Endpoints to which the identity provider leads back, and the kind of login. Each takes as long as the provider's answer."""


class PageRefusal(NamedTuple):
    """Why a page is refused before it takes a thread: the label of the metric, and the seconds to wait."""

    why: str
    wait_s: int


REFUSALS_LOGGED: Final = 30
"""Maximum number of log lines per minute about pages refused for one reason. The metric counts every refusal."""


class PageLimits:
    """Checks and counts pages before they take a thread. Used in the reactor's thread.

    Args:
        app: Has the routes of the pages, and the limits that `shared` has created.
        pages_per_minute: Returns the limit from the current configuration.
    """

    def __init__(self, app: Flask, pages_per_minute: Callable[[], int], metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._routes, self._pages_per_minute = app.url_map.bind(""), pages_per_minute
        self._limit: PageLimit = app.extensions[LIMIT]
        self._throttles: Mapping[str, LoginThrottle] = app.extensions[THROTTLES]
        self._use: PageUse = app.extensions[USE]
        self._metrics, self._now, self._lines = metrics, now, LineLimit(REFUSALS_LOGGED)

    def page(self, path: bytes) -> str:
        """Return the endpoint of the page at this path, or "" for the API and for a path without a page."""
        try:
            endpoint, _ = self._routes.match(unquote_to_bytes(path).decode("utf-8", "replace"), "GET")
        except HTTPException:
            return ""
        return str(endpoint)

    def refusal(self, caller: WebCaller, address: str, page: str) -> PageRefusal | None:
        """Take the page from its caller's allowance. Return why the page is refused, or None."""
        if page in NO_SESSION:
            return None
        if caller.is_limited:
            wait_s = self._limit.wait_s(caller.names(address), self._pages_per_minute())
            if wait_s > 0:
                return PageRefusal("page_limit", math.ceil(wait_s))
        if page in CALLBACKS:
            wait_s = self._throttles[CALLBACKS[page]].wait_s(address, "", caller.row)
            if wait_s > 0:
                return PageRefusal("login_pause", math.ceil(wait_s))
        return None

    def count(self, caller: WebCaller, address: str, page: str, refused: str = "") -> None:
        """Count a page, and log a refused one. `refused` is the reason, or "" if the page was passed on."""
        if page not in NO_SESSION:
            self._use.count(caller.share, caller.names(address)[-1].name, refused=bool(refused))
        if not refused:
            return
        self._metrics.pages_refused.labels(caller.share, refused).inc()
        left_out = self._lines.left_out(refused, self._now())
        if left_out is not None:
            LOG.warning("web.page_refused", who=caller.share, why=refused, peer=address, left_out=left_out)


def shared(web: WebServices) -> dict[str, object]:
    """Create the limits as Flask extensions that the server, the pages and the API share."""
    throttles = {kind: LoginThrottle(web.seconds) for kind in (STAFF, PATRON)}
    return {USE: PageUse(web.seconds), LIMIT: PageLimit(web.seconds), THROTTLES: throttles}


def login_throttle(kind: str) -> LoginThrottle:
    """Return the login throttle for one kind of session, STAFF or PATRON."""
    found: LoginThrottle = current_app.extensions[THROTTLES][kind]
    return found


def page_use() -> PageUse:
    """Return the counts of the recent pages of each caller."""
    use: PageUse = current_app.extensions[USE]
    return use

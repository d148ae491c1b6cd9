"""Limits the pages that one caller may ask for: a bucket of tokens for each, filled again at a steady rate."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from flask import current_app, request

from hkall_gateway.net.limits.allow_list import network_of
from hkall_gateway.web.services import WebServices, services

LIMIT: Final = "hkall_page_limit"
ROOM: Final = 20_000
"""Callers that are remembered; beyond that, the one that was silent for longest is forgotten."""
BURST_S: Final = 30.0
"""The bucket holds what these seconds fill: a reader who opens many titles at once is not held up."""


class PageLimit:
    """Counts pages by caller: the network of a stranger, or a patron. Safe from any thread; `seconds` is a monotonic clock."""

    def __init__(self, seconds: Callable[[], float], room: int = ROOM) -> None:
        self._seconds, self._room, self._lock = seconds, room, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, most: int) -> float:
        """Count one page of this caller; return 0, or the seconds after which it may have one, which is then not counted.

        `most` a minute; 0 = no limit.
        """
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


def shared(own: WebServices) -> dict[str, Any]:
    """Return the limit, for the extensions of the pages and of the API: both count together."""
    return {LIMIT: PageLimit(own.seconds)}


def patron_caller(card: str) -> str:
    """Return the name under which a patron's pages are counted, from whatever address."""
    return f"patron {card}"


def stranger_caller() -> str:
    """Return the name under which this request is counted if it brings no proof: its network."""
    return network_of(request.remote_addr or "")


def wait_s(caller: str) -> int:
    """Count one page of this caller; return the seconds after which it may have it, 0 = now."""
    limits: PageLimit = current_app.extensions[LIMIT]
    return math.ceil(limits.wait_s(caller, services().settings().pages_per_minute))

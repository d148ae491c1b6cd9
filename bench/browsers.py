"""Browsers that load pages without pause: `python -m bench.browsers PORT BROWSERS SECONDS staff|readers TITLES`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from threading import Thread
from typing import Final
from urllib.parse import urlencode

from bench.catalogue import typed
from demo import demo_setup

LOGIN: Final = "/staff/login"
TIMEOUT_S: Final = 30.0
STAFF: Final = ("/staff/", "/staff/lists/pull", "/staff/lists/shelf", "/staff/lists/shelf?sort=call_number", "/help")
"""Pages that staff load in turn: counts, lists in two orders, and the longest page."""
QUERIES: Final = 400
"""Number of different queries of each patron."""
_TOKEN: Final = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class Browser:
    """One browser with its cookies, on a persistent connection."""

    def __init__(self, port: int, source: str = "") -> None:
        source_address = (source, 0) if source else None
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S, source_address=source_address)
        self._cookies: dict[str, str] = {}
        self.location = ""
        """Where the last response has redirected to, or ""."""

    def close(self) -> None:
        """Close the browser's connection."""
        self._connection.close()

    def log_in(self, login: str = demo_setup.STAFF[0]["login"]) -> None:
        """Log in with an account of the demo. Raises AssertionError if the login fails."""
        token = _TOKEN.search(self.fetch("GET", LOGIN)[1])
        assert token, "the login page has no token"
        account = {"login": login, "password": demo_setup.PASSWORD, "csrf_token": token[1]}
        code, _ = self.fetch("POST", LOGIN, urlencode(account))
        assert code == 303, f"the login answered {code}"

    def fetch(self, method: str, path: str, form: str = "") -> tuple[int, str]:
        """Return the status and the body of a page. Cookies are kept for later requests."""
        head = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if form:
            head["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, form or None, head)
        reply = self._connection.getresponse()
        for cookie in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        self.location = reply.headers.get("Location", "")
        return reply.status, reply.read().decode()


def paths(kind: str, mine: int, titles: int) -> Sequence[str]:
    """Return the paths that a browser loads in turn: STAFF, or a patron's searches in a catalogue of `titles` titles."""
    if kind == "staff":
        return STAFF
    numbers = range(mine * QUERIES, (mine + 1) * QUERIES)
    return [f"/search?{urlencode({'q': typed(titles, number)})}" for number in numbers]


def browse(port: int, browsers: int, go_on: Callable[[], bool], kind: str = "staff", titles: int = 0) -> list[float]:
    """Load pages in `browsers` browsers until `go_on` returns False, and return the seconds for each page.

    Staff log in first. Raises AssertionError for a page that failed.
    """
    waits, bad = list[float](), list[str]()

    def look(mine: int) -> None:
        with closing(Browser(port)) as browser:
            try:
                if kind == "staff":
                    browser.log_in()
                for path in cycle(paths(kind, mine, titles)):
                    if not go_on():
                        return
                    begun = time.perf_counter()
                    code, _ = browser.fetch("GET", path)
                    assert code == 200, f"{path} answered {code}"
                    waits.append(time.perf_counter() - begun)
            except (AssertionError, OSError, HTTPException) as failed:
                bad.append(f"{type(failed).__name__}: {failed}")

    looking = [Thread(target=look, args=(mine,)) for mine in range(browsers)]
    for thread in looking:
        thread.start()
    for thread in looking:
        thread.join()
    assert not bad, bad[0]
    return waits


def main(port: int, browsers: int, seconds: float, kind: str, titles: int) -> None:
    """Browse for `seconds` seconds, and print the seconds for each page."""
    end = time.monotonic() + seconds
    print(json.dumps(browse(port, browsers, lambda: time.monotonic() < end, kind, titles)))  # noqa: T201  # the output of the process


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))

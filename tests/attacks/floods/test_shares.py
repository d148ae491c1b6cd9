"""One caller who asks for as many pages as possible: nobody else is refused, or waits for long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from bench.browsers import Browser
from bench.figures import quantile
from demo import demo_setup
from tests.attacks.floods.arena import Arena
from tests.attacks.floods.readers import copies
from tests.attacks.floods.test_crowd import p99s
from tests.attacks.floods.test_strangers import Program, log_in_patron

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it was written for the Authlib before this one
    import oidc_provider_mock

pytestmark = [pytest.mark.attack, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROOT: Final = Path(__file__).parents[3]
TITLES: Final = 2_000
PROVIDER_S: Final = 0.5
"""Seconds until the identity provider answers."""
ATTACKER, PROXY = "127.0.0.2", "127.0.0.66"
QUIET_S, WARM_S, ATTACK_S = 4.0, 2.0, 30.0
SEARCH: Final = f"/search?q={quote('the of and')}"
"""A search with many hits."""
PAGES: Final = 200
"""Pages of all others together while one caller attacks."""
SLOWEST_S: Final = 2.0
"""Maximum p95 of the others' pages."""
WORST_P99, UNNOTICED_S = 3.0, 0.05
"""The limit of the terminals' p99: a multiple of the idle p99 of the same run, or these seconds."""


@contextmanager
def slow_provider() -> Iterator[str]:
    """An identity provider that answers after PROVIDER_S; yields its address."""
    with oidc_provider_mock.run_server_in_thread() as server:
        prompt: Any = server.app

        def slow(environ: Any, start: Any) -> Any:
            if environ["PATH_INFO"] == "/oauth2/token":
                time.sleep(PROVIDER_S)
            return prompt(environ, start)

        server.app = slow
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with slow_provider() as address:
        yield address


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Arena]:
    """A daemon with pages, behind a reverse proxy and with the provider."""
    oidc = {
        "issuer": issuer,
        "client_id": "hkall",
        "client_secret_env": demo_setup.secret_variable("CUHK"),
        "roles": {"lending": "clerk"},
    }
    web = {"oidc": oidc, "proxy_from": [f"{PROXY}/32"]}
    made = Arena(tmp_path_factory.mktemp("shares"), tuple(copies(TITLES)), web)
    yield made
    made.end()


def cookies(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser._cookies.items())


# ---- the attackers: each returns its request


def forged_callbacks(arena: Arena) -> dict[str, Any]:
    """Begin one login, and repeat its callback with an invented code."""
    with closing(Browser(arena.ports.web, ATTACKER)) as browser:
        location = begin_at_provider(browser)
        state = parse_qs(urlsplit(location).query)["state"][0]
        path = f"/staff/login/sso/back?state={state}&code=zz"
        return {"path": path, "headers": {"Cookie": cookies(browser)}}


def patrons_record(arena: Arena) -> dict[str, Any]:
    with closing(Browser(arena.ports.web)) as browser:
        log_in_patron(browser, "P0020")
        return {"path": "/record", "headers": {"Cookie": cookies(browser)}}


def busy_program(arena: Arena) -> dict[str, Any]:
    """A discovery system that looks up records."""
    token = arena.command("token", "make", "busy", "--role", "client").strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return {"method": "POST", "path": "/api/v1/patron/record", "headers": headers, "body": json.dumps({"card": "P0021"})}


def viewers_statistics(arena: Arena) -> dict[str, Any]:
    with closing(Browser(arena.ports.web)) as browser:
        browser.log_in("viewer")
        return {"path": "/staff/statistics", "headers": {"Cookie": cookies(browser)}}


def viewers_searches(arena: Arena) -> dict[str, Any]:
    return viewers_statistics(arena) | {"path": SEARCH}


def strangers_searches(_arena: Arena) -> dict[str, Any]:
    return {"path": SEARCH}


def searches_from_one_ipv6_site(_arena: Arena) -> dict[str, Any]:
    """Each request comes from another /64 of one /48."""
    headers = {"X-Forwarded-For": "2001:db8:1:{number}::1"}
    return {"path": SEARCH, "headers": headers, "source": PROXY}


ATTACKERS: Final[dict[str, tuple[Callable[[Arena], dict[str, Any]], int]]] = {
    "forged callbacks": (forged_callbacks, 36),
    "a patron's record": (patrons_record, 36),
    "a busy program": (busy_program, 90),
    "a viewer's statistics": (viewers_statistics, 36),
    "a viewer's searches": (viewers_searches, 36),
    "a stranger's searches": (strangers_searches, 36),
    "searches from one IPv6 site": (searches_from_one_ipv6_site, 36),
}
"""Each attacker, and the number of connections on which it waits for a page at any time."""


def begin_at_provider(browser: Browser) -> str:
    """Begin a login at the provider; return the provider's address."""
    code, _ = browser.fetch("GET", "/staff/login/sso")
    assert code == 303
    return browser.location


# ---- all others


class Others:
    """Whoever uses the pages beside the attacker, and how long each of their pages took."""

    def __init__(self, arena: Arena, issuer: str, stack: ExitStack) -> None:
        self._port = arena.ports.web
        self.codes, self.waits = Counter[str](), list[float]()
        self._clerk, self._patron, self._other_patron = (stack.enter_context(closing(Browser(self._port))) for _ in range(3))
        self._clerk.log_in()
        log_in_patron(self._patron, "P0030")
        log_in_patron(self._other_patron, "P0031")
        self._app = Program(self._port, "P0032")
        requests.put(f"{issuer}/users/amy", json={"groups": ["lending"]}, timeout=5).raise_for_status()

    def ask(self, pages: int) -> None:
        """Let everybody ask for their part of this many pages at the same time."""
        kinds = {
            "clerk": lambda: self._clerk.fetch("GET", "/staff/scan")[0],
            "patron": lambda: self._patron.fetch("GET", "/record")[0],
            "other patron": lambda: self._other_patron.fetch("GET", "/record")[0],
            "program": lambda: self._app.post("/patron/record", {})[0],
            "stranger": self._help,
        }
        asking = [Thread(target=self._ask_one, args=(name, page, pages // len(kinds))) for name, page in kinds.items()]
        asking.append(Thread(target=self._ask_one, args=("login", self._log_in_at_provider, 8)))
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()

    def _ask_one(self, name: str, page: Callable[[], int], times: int) -> None:
        for _ in range(times):
            began = time.perf_counter()
            self.codes[f"{name} {page()}"] += 1
            self.waits.append(time.perf_counter() - began)
            time.sleep(0.05)

    def _help(self) -> int:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=30, source_address=("127.0.0.9", 0))) as line:
            line.request("GET", "/help")
            return line.getresponse().status

    def _log_in_at_provider(self) -> int:
        """Log in as a member of staff who has never used this browser; return the status of the callback."""
        with closing(Browser(self._port, "127.0.0.10")) as browser:
            address = begin_at_provider(browser)
            answer = requests.post(address, data={"sub": "amy"}, allow_redirects=False, timeout=5)
            way = urlsplit(answer.headers["Location"])
            return browser.fetch("GET", f"{way.path}?{way.query}")[0]


@pytest.mark.parametrize("name", ATTACKERS)
def test_one_caller_does_not_hold_up_the_others(
    arena: Arena, issuer: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, connections = ATTACKERS[name]
    terminal = arena.terminal()
    with ExitStack() as stack, closing(terminal.line):
        others = Others(arena, issuer, stack)
        (quiet,) = p99s([terminal], QUIET_S)
        caller = json.dumps({"source": ATTACKER} | make(arena))
        module = "tests.attacks.floods.one_caller"
        words = [sys.executable, "-m", module, str(arena.ports.web), str(ATTACK_S), str(connections), caller]
        attack = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            time.sleep(WARM_S)
            (attacked,) = p99s([terminal], QUIET_S)
            others.ask(PAGES)
            lasted = attack.poll() is None
            answered = json.loads(attack.communicate(timeout=60)[0])
        finally:
            attack.kill()
    p95 = quantile(sorted(others.waits), 0.95)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name}: others {dict(others.codes)}, p95 s {p95:.2f}; the attacker {answered}; terminals' p99 ms idle "
            f"{quiet * 1000:.1f}, attacked {attacked * 1000:.1f}; the attack lasted: {lasted}"
        )
    each = PAGES // 5
    expected = {"clerk 200": each, "patron 200": each, "other patron 200": each, "program 200": each, "stranger 200": each}
    assert others.codes == expected | {"login 303": 8}
    assert p95 <= SLOWEST_S
    assert attacked <= max(WORST_P99 * quiet, UNNOTICED_S)


def test_cards_are_tried_from_many_networks_of_one_ipv6_site_until_the_site_has_to_wait(arena: Arena) -> None:
    tried, code = 0, 401
    while code == 401 and tried < 300:
        forwarded = {"X-Forwarded-For": f"2001:db8:2:{tried % 12:x}::1", "Content-Type": "application/json"}
        with closing(HTTPConnection("127.0.0.1", arena.ports.web, timeout=30, source_address=(PROXY, 0))) as line:
            line.request("POST", "/api/v1/patron-token", json.dumps({"barcode": f"X{tried}", "pin": "0"}), forwarded)
            code = line.getresponse().status
        tried += code == 401
    assert code == 429
    assert tried <= 120

"""Unknown clients from 110 addresses on any page: staff, patrons, API clients and terminals are still served."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bench.browsers import Browser
from bench.figures import quantile
from tests.attacks.floods.arena import Arena
from tests.attacks.floods.readers import copies
from tests.attacks.floods.test_crowd import p99s

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[3]
TITLES, ADDRESSES = 5_000, 110
QUIET_S, ATTACK_S, WARM_S = 5.0, 14.0, 3.0
ASKED = 50
"""Pages of staff, of a patron and of the API that are requested during the flood."""
WORST_P99, UNNOTICED_S = 6.0, 0.05
"""The limit of the terminals' p99 during the flood: a multiple of the idle p99 of the same run, or these seconds."""
CROWDS = {
    "the longest page": ("/help",),
    "any page": ("/help", "/", "/staff/login", "/login", "/record", "/nowhere", "/api/v1/openapi.json", "/static/style.css"),
    "a query by another spelling": ("//search?q=the+of+and", "/%73earch?q=%E7%9A%84", "//search?q=the&page=25"),
    "forged proofs": ("/help", "/search?q=the", "/staff/", "/api/v1/lists"),
}
PIN = "1234"


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A daemon with pages."""
    made = Arena(tmp_path_factory.mktemp("strangers"), tuple(copies(TITLES)))
    yield made
    made.end()


def crowd(arena: Arena, paths: tuple[str, ...], *, forged: bool) -> subprocess.Popen[str]:
    module = "tests.attacks.floods.strangers"
    words = [sys.executable, "-m", module, str(arena.ports.web), str(ATTACK_S), str(ADDRESSES), str(int(forged)), *paths]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)


class Program:
    """An API client with a patron's token."""

    def __init__(self, port: int, card: str) -> None:
        self._port, self._head = port, {"Content-Type": "application/json"}
        code, body = self.post("/patron-token", {"barcode": card, "pin": PIN})
        assert code == 201, body
        self._head["Authorization"] = f"Bearer {json.loads(body)['token']}"

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=30)) as line:
            line.request("POST", f"/api/v1{path}", json.dumps(fields), self._head)
            answer = line.getresponse()
            return answer.status, answer.read().decode()


@pytest.mark.parametrize("name", CROWDS)
def test_many_unauthenticated_clients_do_not_block_pages_of_others(
    arena: Arena, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal, codes, waits = arena.terminal(), Counter[str](), list[float]()
    with closing(Browser(arena.ports.web)) as clerk, closing(Browser(arena.ports.web)) as patron:
        card = f"P000{1 + list(CROWDS).index(name)}"  # each patron has a separate limit
        clerk.log_in()
        log_in_patron(patron, card)
        app = Program(arena.ports.web, card)
        (quiet,) = p99s([terminal], QUIET_S)
        asking = crowd(arena, CROWDS[name], forged=name == "forged proofs")
        time.sleep(WARM_S)
        (attacked,) = p99s([terminal], QUIET_S)
        for _ in range(ASKED):
            began = time.perf_counter()
            codes[f"staff {clerk.fetch('GET', '/staff/')[0]}"] += 1
            waits.append(time.perf_counter() - began)
            codes[f"patron {patron.fetch('GET', '/record')[0]}"] += 1
            codes[f"API {app.post('/patron/record', {})[0]}"] += 1
        still = asking.poll() is None
        found = json.loads(asking.communicate(timeout=60)[0])
    terminal.line.close()
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name}: {dict(codes)}; strangers {found}; terminals' p99 ms idle {quiet * 1000:.1f}, attacked "
            f"{attacked * 1000:.1f}; staff's median s {quantile(sorted(waits), 0.5):.2f}; the crowd lasted: {still}"
        )
    assert codes == {"staff 200": ASKED, "patron 200": ASKED, "API 200": ASKED}
    assert attacked <= max(WORST_P99 * quiet, UNNOTICED_S)


def log_in_patron(browser: Browser, card: str) -> None:
    token = browser.fetch("GET", "/login")[1].split('name="csrf_token" value="')[1].split('"')[0]
    code, _ = browser.fetch("POST", "/login", urlencode({"barcode": card, "pin": PIN, "csrf_token": token}))
    assert code == 303

"""A patron who resubmits a form with text that no database accepts does not affect check-ins at the counters."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from bench.browsers import Browser
from demo import demo_setup
from demo.socket_terminal import SocketTerminal
from tests import postgres_server
from tests.company import CARD, PIN, Gateway, stamp, until

pytestmark = pytest.mark.long

CHECK_INS, TERMINALS, BROWSERS = 1_000, 4, 3


def token(browser: Browser, path: str) -> str:
    """Return the CSRF token of the forms on a page."""
    return browser.fetch("GET", path)[1].split('name="csrf_token" value="')[1].split('"')[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest, reactor: Any, tmp_path: Path, postgres_programs: Path) -> Iterator[Gateway]:
    def made(url: str) -> Iterator[Gateway]:
        gateway = Gateway(reactor, tmp_path, database=url, pages=True)
        text = gateway.path.read_text(encoding="utf-8")
        gateway.path.write_text(text.replace("[web]", "[web]\npages_per_minute = 0", 1), encoding="utf-8")
        gateway.start()
        yield gateway
        gateway.end()

    if request.param == "sqlite":
        yield from made("sqlite:///hkall.db")
        return
    with postgres_server.server(postgres_programs, ("listen_addresses=", "max_connections=60")) as server:
        yield from made(server.url())


def test_checkins_succeed_while_a_patron_resubmits_a_form_with_a_nul(gateway: Gateway) -> None:
    over, codes = threading.Event(), Counter[int]()

    def repeat() -> None:
        with closing(Browser(gateway.ports.web)) as browser:
            form = {"barcode": CARD, "pin": PIN, "csrf_token": token(browser, "/login")}
            assert browser.fetch("POST", "/login", urlencode(form))[0] == 303
            form = {"request": "a\0b", "csrf_token": token(browser, "/record")}
            while not over.is_set():
                codes[browser.fetch("POST", "/record/cancel", urlencode(form))[0]] += 1

    threads = [threading.Thread(target=repeat) for _ in range(BROWSERS)]
    for thread in threads:
        thread.start()
    until(lambda: codes.total() > BROWSERS, "the patron is at it")
    answers = check_ins(gateway)
    over.set()
    for thread in threads:
        thread.join()
    print(f"{answers.total()} check-ins: {dict(answers)}; the patron's pages: {dict(codes)}")  # noqa: T201  # figures
    assert answers.total() == CHECK_INS
    assert not [answer for answer in answers if "try again" in answer.lower()]
    assert codes.total() > CHECK_INS // 50


def check_ins(gateway: Gateway) -> Counter[str]:
    """Screen messages of check-ins of unknown items, at all terminals concurrently."""
    answers = Counter[str]()

    async def serves(terminal: SocketTerminal, first: int) -> None:
        for number in range(first, CHECK_INS, TERMINALS):
            line = f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|ABX{number:05}|AC|"
            said = await terminal.ask(line)
            answers[said.partition("AF")[2].partition("|")[0]] += 1

    async def all_of_them() -> None:
        await gatherResults([ensureDeferred(serves(terminal, n)) for n, terminal in enumerate(terminals)])

    terminals = [gateway.counter() for _ in range(TERMINALS)]
    began = time.monotonic()
    gateway.do(all_of_them)
    print(f"{CHECK_INS / (time.monotonic() - began):.0f} check-ins a second")  # noqa: T201  # figures
    return answers

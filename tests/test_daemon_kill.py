"""kill -9 of the real process at random times, under load and with lossy partner channels: no data is lost.

Four kills in the ordinary suite; set HKALL_KILLS=100 for manual runs.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.config import gateway as configuration
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import JOURNAL, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils import exports
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from tests.company import PATIENCE_S, Gateway, until
from tests.crowd import STEPS, Crowd
from tests.test_daemon_web import TOKEN, Curl

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("HKALL_KILLS", "4"))
SEED = int(os.environ.get("HKALL_KILLS_SEED", "20170301"))
PATIENT = {"attempts": 400, "first_wait_s": 1, "longest_wait_s": 1, "breaker_failures": 50, "probe_s": 1}
EVIL = ("503", "504", "nonsense", "cut", "silence")
ONCE = ("OPEN", "ASK", "SHIP", "ARRIVE", "NOTIFY", "CHECK_OUT", "RETURN", "CLOSE")


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, courier=PATIENT)
    yield made
    made.end()


def spoil(gateway: Gateway, draw: random.Random) -> None:
    """Let a third of all further messages to the partners fail."""
    for library in gateway.party.partners.values():
        library.script.clear()
        library.script.extend(MANNERS[draw.choice(EVIL)] if draw.random() < 0.33 else MANNERS["ok"] for _ in range(400))


def asked_of_partners(gateway: Gateway) -> Counter[str]:
    """Return the number of partners that accepted each of our RequestIds; a partner accepts one once."""
    seen = {
        (agency, message.text("RequestId/RequestIdentifierValue"))
        for agency, library in gateway.party.partners.items()
        for message in library.seen
        if message.service == "RequestItem"
    }
    return Counter(number for _, number in seen)


def drained(gateway: Gateway) -> bool:
    found: list[Any] = json.loads(gateway.command("outbox", "list", "--json"))
    return not found


def journal(gateway: Gateway) -> dict[str, Counter[str]]:
    """Return the number of journal events of each kind per request, by the discovery system's number."""
    config = configuration.load(gateway.path, gateway.environ)
    engine = open_engine(config.database.url)
    store = SoleStore(engine, make_unit(library_of(config)))
    found = finished(store.read(_happened, is_long=True))
    store.close()
    engine.dispose()
    return found


def _happened(unit: UnitOfWork) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in unit.execute(select(JOURNAL.c.request, JOURNAL.c.event).where(JOURNAL.c.outcome == "ok")).mappings():
        request = unit.requests.find(row["request"])
        assert request is not None
        found.setdefault(request.placed_id, Counter())[row["event"]] += 1
    return found


def test_acknowledged_work_is_neither_lost_nor_repeated(gateway: Gateway, reactor: Any) -> None:
    draw = random.Random(SEED)
    crowd = Crowd(gateway, reactor, draw)
    gateway.do(gateway.party.start)
    for _ in range(KILLS):
        spoil(gateway, draw)
        gateway.start()
        gateway.do(lambda: crowd.live(draw.uniform(0.05, 0.8)))
    before = crowd.yes.copy()
    for library in gateway.party.partners.values():
        library.script.clear()
    gateway.start()
    gateway.do(lambda: crowd.live(None))
    until(lambda: drained(gateway), "everything is told")
    print(f"{KILLS} kills; answered before the last {dict(before)}, in all {dict(crowd.yes)}; {len(crowd.all)} wishes")  # noqa: T201  # figures

    assert crowd.no == []  # each answered step took effect, so the next step was accepted
    assert before.total() >= KILLS
    assert set(crowd.yes) >= {"ask", "63", "look up", *STEPS}
    happened = journal(gateway)
    promised = {wish.number for wish in crowd.all if wish.answered}
    assert promised <= happened.keys()
    assert {(number, event) for number, times in happened.items() for event in ONCE if times[event] > 1} == set()
    assert {number for number in promised if not happened[number].keys() >= {"ARRIVE", "CHECK_OUT", "RETURN"}} == set()
    assert set(asked_of_partners(gateway).values()) == {1}  # no RequestId was accepted by two lenders
    assert gateway.stop() == 0


# ---- the pages process


PATRONS, TITLES_OF_EACH = 4, 8


@pytest.fixture
def with_pages(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, courier=PATIENT, pages=True)
    yield made
    made.end()


def titles_elsewhere() -> list[str]:
    """Return the titles that partners have and we do not."""
    holders: dict[str, set[str]] = {}
    for copy in exports.read_holdings(demo_setup.DEMO_FILES / "holdings.csv"):
        holders.setdefault(copy.bib_id, set()).add(copy.agency)
    return sorted(title for title, agencies in holders.items() if agencies <= set(demo_setup.NAMES) - {"HKU"})


class Reader:
    """A patron with a browser who requests titles, and resubmits a form until it is answered."""

    def __init__(self, gateway: Gateway, number: int, folder: Path) -> None:
        folder.mkdir()
        self._curl, self._card = Curl(gateway.ports.web, folder), f"P{number:04}"
        self.titles = titles_elsewhere()[number * TITLES_OF_EACH :][:TITLES_OF_EACH]
        self.answered: dict[str, str] = {}
        self.unanswered = 0

    def read(self) -> None:
        """Log in, and request all titles."""
        self._until_answered("/login", f"barcode={self._card}", "pin=1234")
        for title in self.titles:
            place = f"pickup={demo_setup.LOCATION}"
            told = self._until_answered(f"/title/{title}/request", "home_library=HKU", place)
            self.answered[title] = re.findall(r"(?im)^location: \S*placed=([\w-]+)", told)[0]

    def _until_answered(self, path: str, *fields: str) -> str:
        form = until(lambda: token[1] if (token := TOKEN.search(self._curl(path)[1])) else "", f"the form {path}")
        words = [word for field in (f"csrf_token={form}", *fields) for word in ("--data-urlencode", field)]
        code = 0
        while code in (0, 503, 504):
            code, answer = self._curl(path, *words)
            if code == 0:
                self.unanswered += 1
                time.sleep(0.1)
        assert code == 303, answer
        return answer


def test_page_requests_are_neither_lost_nor_placed_twice_when_a_process_is_killed(with_pages: Gateway, tmp_path: Path) -> None:
    made, draw = with_pages, random.Random(SEED)
    made.do(made.party.start)
    made.start()
    readers = [Reader(made, number, tmp_path / f"reader{number}") for number in range(1, PATRONS + 1)]
    with ThreadPoolExecutor(PATRONS) as browsers:
        reading = [browsers.submit(reader.read) for reader in readers]
        for number in range(KILLS):
            time.sleep(draw.uniform(0.3, 2.0))
            if number == KILLS // 2:
                made.kill()  # the pages process finishes its requests, then ends
                made.start()
            else:
                os.kill(until(lambda: made.children(), "the pages")[0], signal.SIGKILL)
        for one in reading:
            one.result(2 * PATIENCE_S)
    promised = [placed for reader in readers for placed in reader.answered.values()]
    print(f"{KILLS} kills; {sum(reader.unanswered for reader in readers)} forms without an answer, {len(promised)} requests")  # noqa: T201  # figures
    assert len(promised) == PATRONS * TITLES_OF_EACH
    assert sorted(requests(made)) == sorted(promised)
    until(lambda: drained(made), "everything is told")
    assert set(asked_of_partners(made).values()) == {1}
    assert made.stop() == 0


def test_resubmitted_unanswered_form_gets_the_first_result(with_pages: Gateway, tmp_path: Path) -> None:
    made = with_pages
    made.start()
    curl = Curl(made.ports.web, tmp_path)
    assert curl.post("/login", "/login", "barcode=P0001", "pin=1234")[0] == 303
    path = f"/title/{titles_elsewhere()[0]}/request"
    token = TOKEN.search(curl(path)[1])
    assert token
    form = urlencode({"csrf_token": token[1], "home_library": "HKU", "pickup": demo_setup.LOCATION})
    cookies = [line.split("\t")[5:7] for line in (tmp_path / "cookies").read_text().splitlines() if line.count("\t") == 6]
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    head += f"Content-Length: {len(form)}\r\nCookie: {'; '.join('='.join(one) for one in cookies)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", made.ports.web), PATIENCE_S) as browser:
        browser.sendall(f"{head}{form}".encode())
        (request,) = until(lambda: requests(made), "the request")
        os.kill(made.children()[0], signal.SIGKILL)  # the patron has not read any answer
    code, answer = until(lambda: again if (again := curl(path, "-d", form))[0] else None, "the pages are back")
    assert (code, f"placed={request}" in answer) == (303, True), answer
    assert requests(made) == [request]
    assert made.stop() == 0


def requests(gateway: Gateway) -> list[str]:
    """Return the numbers of all requests."""
    return gateway.plant(lambda unit: list(unit.execute(select(REQUESTS.c.id)).scalars()))

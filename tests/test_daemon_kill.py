"""kill -9 of the real process at random moments, under load and with partners whose lines lose things: nothing is lost.

Four times in the ordinary suite; HKALL_KILLS=100 is for doing it by hand.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hkall_gateway.config import gateway as configuration
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.database import Immediate, finished
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import JOURNAL
from hkall_gateway.db.unit import Unit
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from tests.company import Gateway, until
from tests.crowd import STEPS, Crowd

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
    """A third of what reaches the partners from now on goes wrong."""
    for library in gateway.party.partners.values():
        library.script.clear()
        library.script.extend(MANNERS[draw.choice(EVIL)] if draw.random() < 0.33 else MANNERS["ok"] for _ in range(400))


def asked_of_partners(gateway: Gateway) -> Counter[str]:
    """How many partners took each of our RequestIds; a partner takes one once."""
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
    """How often each thing has happened to each request, as its database says, by the number of the reader's system."""
    config = configuration.load(gateway.path, gateway.environ)
    engine = open_engine(config.database.url)
    store = Immediate(engine, make_unit(library_of(config)))
    found = finished(store.read(_happened, is_long=True))
    store.close()
    engine.dispose()
    return found


def _happened(unit: Unit) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in unit.execute(select(JOURNAL.c.request, JOURNAL.c.event).where(JOURNAL.c.outcome == "ok")).mappings():
        request = unit.request(row["request"])
        assert request is not None
        found.setdefault(request.placed_id, Counter())[row["event"]] += 1
    return found


def test_nothing_that_was_answered_is_lost_and_nothing_is_done_twice(gateway: Gateway, reactor: Any) -> None:
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

    assert crowd.no == []  # what was answered is there: the next step finds it
    assert before.total() >= KILLS
    assert set(crowd.yes) >= {"ask", "63", "look up", *STEPS}
    happened = journal(gateway)
    promised = {wish.number for wish in crowd.all if wish.answered}
    assert promised <= happened.keys()
    assert {(number, event) for number, times in happened.items() for event in ONCE if times[event] > 1} == set()
    assert {number for number in promised if not happened[number].keys() >= {"ARRIVE", "CHECK_OUT", "RETURN"}} == set()
    assert set(asked_of_partners(gateway).values()) == {1}  # no RequestId with two lenders
    assert gateway.stop() == 0

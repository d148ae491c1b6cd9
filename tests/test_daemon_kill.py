"""kill -9 of the real process at random moments, under load and with a partner whose line loses things: nothing is lost.

Four times in the ordinary suite; HKALL_KILLS=100 is for doing it by hand.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.lab import setup
from hkall_gateway.lab.script import MANNERS
from tests.company import Gateway, until

KILLS = int(os.environ.get("HKALL_KILLS", "4"))
SEED = 20170301
PATIENT = {"attempts": 400, "first_wait_s": 1, "longest_wait_s": 1, "breaker_failures": 50, "probe_s": 1}
EVIL = ("503", "cut", "silence")
TITLES = [f"b{n:04}" for n in range(1, 121)]


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, courier=PATIENT)
    yield made
    made.end()


def spoil(gateway: Gateway, draw: random.Random) -> None:
    """A third of what reaches the partners from now on goes wrong."""
    for library in gateway.party.partners.values():
        library.script.clear()
        library.script.extend(MANNERS[draw.choice(EVIL)] if draw.random() < 0.33 else MANNERS["ok"] for _ in range(200))


def ask_until_dead(gateway: Gateway, draw: random.Random, numbers: Iterator[int], lives_s: float) -> list[str]:
    """Readers ask for books until the process is killed, `lives_s` from now; the requests that were answered with yes."""
    promised, end = [], time.monotonic() + lives_s
    while time.monotonic() < end:
        number = f"d-{next(numbers)}"
        reader, title = f"P{draw.randrange(1, 100):04}", draw.choice(TITLES)
        words = (f"user={reader}", f"bib={title}", f"request={number}", f"pickup={setup.LOCATION}")
        reply = gateway.do(lambda words=words: gateway.party.discovery.say("RequestItem", *words))  # type: ignore[misc]  # now
        if not reply.has("Problem"):
            promised.append(reply.text("RequestId/RequestIdentifierValue"))
    gateway.kill()
    return promised


def asked_of_partners(gateway: Gateway) -> Counter[str]:
    """How often each of our RequestIds took effect at a partner that takes a RequestId once."""
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


def test_nothing_that_was_answered_is_lost_and_nothing_is_done_twice(gateway: Gateway) -> None:
    draw, numbers = random.Random(SEED), iter(range(1, 100_000))
    gateway.do(gateway.party.start)
    promised: list[str] = []
    for _ in range(KILLS):
        spoil(gateway, draw)
        gateway.start()
        promised += ask_until_dead(gateway, draw, numbers, draw.uniform(0.05, 0.8))
    for library in gateway.party.partners.values():
        library.script.clear()
    gateway.start()
    until(lambda: drained(gateway), "everything is told")

    rows = json.loads(gateway.command("requests", "list", "--json"))
    placed = Counter(row["placed_id"] for row in rows)
    wire = Counter(row["wire_id"] for row in rows)
    assert len(promised) >= KILLS
    assert set(promised) <= placed.keys()  # what was promised is there
    assert set(placed.values()) == {1}  # once
    told = asked_of_partners(gateway)
    assert wire.keys() <= told.keys()  # and its lender has heard of it
    assert set(told.values()) == {1}  # under a RequestId that no other lender has
    assert gateway.stop() == 0

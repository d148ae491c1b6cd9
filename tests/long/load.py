"""Readers who ask one or two gateways for books while something fails, and what became of each wish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sqlalchemy import select
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from hkall_gateway.connectors.exports import read_holdings
from hkall_gateway.lab import demo_setup
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.tables.problems import TRY_LATER
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.store.tables import REQUESTS
from hkall_gateway.store.unit import Unit
from tests.company import Gateway

COPIES = read_holdings(demo_setup.DEMO_FILES / "holdings.csv")
AT_HOME = {copy.bib_id for copy in COPIES if copy.agency == "HKU"}
TITLES = sorted({copy.bib_id for copy in COPIES if copy.lendable and copy.status == "Available On Shelf"} - AT_HOME)
READERS = [f"P{number:04}" for number in range(10, 100)]


def _placed(unit: Unit) -> list[str]:
    return list(unit.execute(select(REQUESTS.c.placed_id).where(REQUESTS.c.side == Side.BORROWING)).scalars())


@dataclass
class Load:
    """Wishes by their answer, each by the number under which its reader's system asked."""

    gateways: Sequence[Gateway]
    acknowledged: dict[str, float] = field(default_factory=dict)
    """By the second of the answer."""
    try_again: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: set[str] = field(default_factory=set)
    _wishes: Iterator[tuple[int, tuple[str, str]]] = field(default_factory=lambda: enumerate(product(TITLES, READERS)))

    def run(self, reactor: Any, askers: int, until: Callable[[], bool]) -> None:
        """Let so many readers ask at once, each anew after its answer, until `until` is true."""

        async def asks(gateway: Gateway) -> None:
            while not until():
                await self._ask(gateway)
                await deferLater(reactor, 0.02)

        async def all_of_them() -> None:
            await gatherResults([ensureDeferred(asks(self.gateways[n % len(self.gateways)])) for n in range(askers)])

        self.gateways[0].do(all_of_them)

    async def _ask(self, gateway: Gateway) -> None:
        place, (title, reader) = next(self._wishes)
        number = f"w-{place}"
        words = (f"user={reader}", f"bib={title}", f"request={number}", f"pickup={demo_setup.LOCATION}")
        try:
            reply: NcipMessage = await gateway.party.discovery.say("RequestItem", *words)
        except Exception:  # noqa: BLE001  # the connection was closed without an answer, or there was none in time
            self.unanswered.add(number)
            return
        problem = reply.text("Problem/ProblemType")
        if not reply.has("Problem"):
            self.acknowledged[number] = time.monotonic()
        elif problem == TRY_LATER:
            self.try_again.add(number)
        else:
            self.refused[problem] += 1

    def check(self) -> dict[str, int]:
        """Assert that nothing acknowledged is lost, done twice, or done after "try again"; return the figures."""
        placed = Counter(self.gateways[0].plant(_placed))
        lost, twice = self.acknowledged.keys() - placed.keys(), {number for number, times in placed.items() if times > 1}
        told_otherwise = self.try_again & placed.keys()
        assert (lost, twice, told_otherwise) == (set(), set(), set())
        return {
            "acknowledged": len(self.acknowledged),
            "lost": len(lost),
            "try again": len(self.try_again),
            "unanswered": len(self.unanswered),
            "unanswered and done": len(self.unanswered & placed.keys()),
            "refused": self.refused.total(),
        }

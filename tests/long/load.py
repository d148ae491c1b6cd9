"""Load on one or two gateways while something fails: patrons place requests, lenders ship, counters receive.

Each operation is sent once: `Answers` records its reply, and the database shows whether it took effect.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sqlalchemy import select
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from demo import demo_setup
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.db.tables import JOURNAL, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.exports import read_holdings
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.tables.problems import TRY_LATER
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.simulator.peers import PartnerLibrary
from tests.company import Gateway, stamp

COPIES = read_holdings(demo_setup.DEMO_FILES / "holdings.csv")
AT_HOME = {copy.bib_id for copy in COPIES if copy.agency == "HKU"}
TITLES = sorted({copy.bib_id for copy in COPIES if copy.lendable and copy.status == "Available On Shelf"} - AT_HOME)
READERS = [f"P{number:04}" for number in range(10, 100)]


def _placed(unit: UnitOfWork) -> list[str]:
    return list(unit.execute(select(REQUESTS.c.placed_id).where(REQUESTS.c.side == Side.BORROWING)).scalars())


def _taken_in(unit: UnitOfWork) -> list[str]:
    arrivals = select(REQUESTS.c.item_barcode).join(JOURNAL, JOURNAL.c.request == REQUESTS.c.id)
    return list(unit.execute(arrivals.where(JOURNAL.c.event == "ARRIVE")).scalars())


@dataclass
class Answers:
    """Requests by their reply. An `unanswered` one may have taken effect or not."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    """Number of replies by the second in which they arrived."""
    try_again: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: set[str] = field(default_factory=set)

    def check(self, done: Sequence[str]) -> dict[str, int]:
        """Assert that nothing acknowledged is lost, done twice, or done after "try again"; return the figures."""
        times = Counter(done)
        lost, twice = self.acknowledged.keys() - times.keys(), {one for one, often in times.items() if often > 1}
        assert (lost, twice, self.try_again & times.keys()) == (set(), set(), set())
        return {
            "acknowledged": len(self.acknowledged),
            "lost": len(lost),
            "try again": len(self.try_again),
            "unanswered": len(self.unanswered),
            "unanswered and done": len(self.unanswered & times.keys()),
            "refused": self.refused.total(),
        }


@dataclass
class Load:
    """Requests by the discovery system's number, check-ins by the barcode."""

    gateways: Sequence[Gateway]
    requests: Answers = field(default_factory=Answers)
    check_ins: Answers = field(default_factory=Answers)
    _numbers: Iterator[int] = field(default_factory=count)

    def run(self, reactor: Any, askers: int, until: Callable[[], bool]) -> None:
        """Let patrons place requests concurrently, each after its previous reply, until `until` is true."""

        async def asks(gateway: Gateway) -> None:
            while not until():
                await self._ask(gateway)
                await deferLater(reactor, 0.02)

        async def all_of_them() -> None:
            at_work = [asks(self.gateways[n % len(self.gateways)]) for n in range(askers)]
            await gatherResults([ensureDeferred(one) for one in (*at_work, self._serve(reactor, until))])

        self.gateways[0].do(all_of_them)

    async def _ask(self, gateway: Gateway) -> None:
        place = next(self._numbers)
        number, title, reader = f"w-{place}", TITLES[place % len(TITLES)], READERS[place * 7 % len(READERS)]
        words = (f"user={reader}", f"bib={title}", f"request={number}", f"pickup={demo_setup.LOCATION}")
        try:
            reply: NcipMessage = await gateway.party.discovery.say("RequestItem", *words)
        except Exception:  # noqa: BLE001  # the connection was closed without an answer, or there was none in time
            self.requests.unanswered.add(number)
            return
        problem = reply.text("Problem/ProblemType")
        if not reply.has("Problem"):
            self.requests.acknowledged[number] = time.monotonic()
        elif problem == TRY_LATER:
            self.requests.try_again.add(number)
        else:
            self.requests.refused[problem] += 1

    async def _serve(self, reactor: Any, until: Callable[[], bool]) -> None:
        """Let lenders ship requested items, and a counter of each gateway in turn receive each of them once."""
        terminals, handled = dict[int, SocketTerminal](), set[str]()
        while not until():
            await deferLater(reactor, 0.02)
            found = next(self._asked_for(handled), None)
            if found is None:
                continue
            library, number, barcode = found
            handled.add(barcode)
            place = len(handled) % len(self.gateways)
            with suppress(Exception):  # the shipment or login was not answered, so the book does not arrive
                if place not in terminals:
                    terminals[place] = await self._logged_in(reactor, self.gateways[place])
                if not (await library.ship(number, barcode)).has("Problem"):
                    await self._check_in(terminals, place, barcode)

    def _asked_for(self, handled: Set[str]) -> Iterator[tuple[PartnerLibrary, str, str]]:
        for library in self.gateways[0].party.partners.values():
            for message in library.seen:
                barcode = message.text("ItemId/ItemIdentifierValue")
                if message.service == "RequestItem" and barcode not in handled:
                    yield library, message.text("RequestId/RequestIdentifierValue"), barcode

    async def _logged_in(self, reactor: Any, gateway: Gateway) -> SocketTerminal:
        terminal = await call(reactor, gateway.ports.sip2)
        assert await terminal.ask(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|") == "941"
        return terminal

    async def _check_in(self, terminals: dict[int, SocketTerminal], place: int, barcode: str) -> None:
        try:
            said = await terminals[place].ask(f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{barcode}|AC|")
        except Exception:  # noqa: BLE001  # the connection was closed without an answer
            del terminals[place]
            self.check_ins.unanswered.add(barcode)
            return
        if said[2] == "1":
            self.check_ins.acknowledged[barcode] = time.monotonic()
        elif "try again" in said.lower():
            self.check_ins.try_again.add(barcode)
        else:
            self.check_ins.refused[said] += 1

    def check(self) -> dict[str, dict[str, int]]:
        """Check requests and check-ins against the database, as `Answers.check`; return the figures of both."""
        return {
            "requests": self.requests.check(self.gateways[0].plant(_placed)),
            "check-ins": self.check_ins.check(self.gateways[0].plant(_taken_in)),
        }

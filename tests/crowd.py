"""Concurrent patrons, counters and lenders, who retry while their gateway is killed again and again.

Each book goes through STEPS. A step without a reply is repeated; an answered step never is, so that the loss of its effect
shows as a refusal of the next step.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import Any, Final

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.error import ConnectError, ConnectionClosed

from demo import demo_setup
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.ils import exports
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.net.http_post import NoReply, NotSent
from hkall_gateway.simulator.peers import PartnerLibrary
from tests.company import PATIENCE_S, Gateway, stamp

STEPS: Final = ("ship", "take in", "lend", "take back", "come home")
READERS, COUNTERS = 2, 2
FEWEST: Final = 20
"""Minimum number of requests, however soon the gateway was killed."""
GONE = (NotSent, NoReply, ConnectionClosed, ConnectError)


@dataclass(slots=True, eq=False)
class Wish:
    """A patron's request: `done` counts the steps that succeeded."""

    number: str
    reader: str
    title: str
    answered: bool = False
    lender: str = ""
    wire_id: str = ""
    barcode: str = ""
    done: int = 0


class Crowd:
    """All participants: `yes` counts successful steps; `no` lists refused steps, of which there must be none."""

    def __init__(self, gateway: Gateway, reactor: Any, draw: Random) -> None:
        self._gateway, self._reactor, self._draw = gateway, reactor, draw
        self._titles = {(h.agency, h.barcode): h.bib_id for h in exports.read_holdings(demo_setup.DEMO_FILES / "holdings.csv")}
        self._numbers, self._read, self._heard = count(1), Counter[str](), set[str]()
        self._unanswered: deque[Wish] = deque()
        self._waiting: dict[str, deque[Wish]] = {step: deque() for step in STEPS}
        self.open: dict[str, Wish] = {}
        self.all: list[Wish] = []
        self.yes: Counter[str] = Counter()
        self.no: list[str] = []
        self._closing, self._end = False, 0.0

    async def live(self, lives_s: float | None) -> None:
        """Run all participants until the gateway is killed in `lives_s` seconds or, without that, until every item is home."""
        self._closing, self._end = lives_s is None, self._reactor.seconds() + PATIENCE_S
        counters = [await self._logged_in() for _ in range(COUNTERS)]
        work = [self._reads] * READERS + [self._lends] + [partial(self._serves, counter) for counter in counters]
        if lives_s is not None:
            self._reactor.callLater(lives_s, self._gateway.kill)
        await DeferredList([ensureDeferred(self._goes_on(one)) for one in work], fireOnOneErrback=True, consumeErrors=True)

    async def _goes_on(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            while self.open or len(self.all) < FEWEST or not self._closing:
                assert self._reactor.seconds() < self._end, f"still open: {self.open}"
                await work()
        except GONE:
            return

    async def _logged_in(self) -> SocketTerminal:
        terminal = await call(self._reactor, self._gateway.ports.sip2)
        assert await terminal.ask(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|") == "941"
        return terminal

    # ---- patrons at the discovery system

    async def _reads(self) -> None:
        wish = self._unanswered.popleft() if self._unanswered else self._new()
        if wish is None or self._draw.random() < 0.2:
            self._unanswered.extend([wish] if wish else [])
            await self._looks_up(self._anybody())
            return
        words = (f"user={wish.reader}", f"bib={wish.title}", f"request={wish.number}", f"pickup={demo_setup.LOCATION}")
        try:
            reply = await self._gateway.party.discovery.say("RequestItem", *words)
        except GONE:
            self._unanswered.append(wish)
            raise
        wish.answered = not reply.has("Problem")
        self.yes["ask"] += wish.answered
        if not wish.answered:
            del self.open[wish.title]

    def _anybody(self) -> str:
        return f"P{self._draw.randrange(1, 100):04}"

    def _new(self) -> Wish | None:
        """Request a title that nobody has requested yet; None while all items are being returned."""
        title = f"b{self._draw.randrange(1, 121):04}"
        if title in self.open or (self._closing and len(self.all) >= FEWEST):
            return None
        self.open[title] = wish = Wish(f"d-{next(self._numbers)}", self._anybody(), title)
        self.all.append(wish)
        return wish

    async def _looks_up(self, reader: str) -> None:
        reply = await self._gateway.party.discovery.say("LookupUser", f"user={reader}")
        assert not reply.has("Problem"), reply
        self.yes["look up"] += 1

    # ---- lenders

    async def _lends(self) -> None:
        for library in self._gateway.party.partners.values():
            for message in library.seen[self._read[library.agency] :]:
                self._hear(library, message)
            self._read[library.agency] = len(library.seen)
        step = next((name for name in ("come home", "ship") if self._waiting[name]), None)
        if step is None:
            await self._looks_up(self._anybody())
            return
        wish = self._waiting[step][0]
        library = self._gateway.party.partners[wish.lender]
        say = library.ship if step == "ship" else library.receive
        reply = await say(wish.wire_id, wish.barcode)
        self._waiting[step].popleft()
        self._stepped(wish, step, not reply.has("Problem"), reply.text("Problem/ProblemType"))

    def _hear(self, library: PartnerLibrary, message: NcipMessage) -> None:
        """Record a request at the lender, once, however often it is repeated."""
        if message.service != "RequestItem":
            return
        barcode, number = message.text("ItemId/ItemIdentifierValue"), message.text("RequestId/RequestIdentifierValue")
        wish = self.open.get(self._titles[library.agency, barcode])
        if wish is not None and number not in self._heard:
            self._heard.add(number)
            wish.lender, wish.barcode, wish.wire_id = library.agency, barcode, number
            self._waiting["ship"].append(wish)

    # ---- counters

    async def _serves(self, counter: SocketTerminal) -> None:
        step = next((name for name in ("take back", "lend", "take in") if self._waiting[name]), None)
        if step is None or self._draw.random() < 0.2:
            record = await counter.ask(f"63001{stamp()}  Y       AOHKU|AA{self._anybody()}|AC|")
            assert record.startswith("64"), record
            self.yes["63"] += 1
            return
        wish = self._waiting[step].popleft()
        try:
            reply = await counter.ask(self._line(step, wish))
        except GONE:
            self._waiting[step].appendleft(wish)
            raise
        self._stepped(wish, step, reply[2] == "1", reply)

    def _line(self, step: str, wish: Wish) -> str:
        if step == "lend":
            return f"11NN{stamp()}{' ' * 18}AOHKU|AA{wish.reader}|AB{wish.barcode}|AC|"
        return f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{wish.barcode}|AC|"

    # ---- all participants

    def _stepped(self, wish: Wish, step: str, yes: bool, said: str) -> None:
        if not yes:
            self.no.append(f"{step} {wish}: {said}")
            del self.open[wish.title]
            return
        self.yes[step] += 1
        wish.done += 1
        if wish.done < len(STEPS):
            self._waiting[STEPS[wish.done]].append(wish)
        else:
            del self.open[wish.title]

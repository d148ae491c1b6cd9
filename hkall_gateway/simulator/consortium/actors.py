"""Actions of people at the gateways of a simulated consortium: request, scan, decide by hand, and try again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from hkall_gateway.circulation.messages.staff_commands import Act
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.immediate import finished
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request
from hkall_gateway.simulator.consortium.gateways import Consortium

T = TypeVar("T")
STAFF: Final = Actor("staff", "cli", "simulate")
COUNTER: Final = "counter-1"
SOON: Final = timedelta(minutes=20)
BLANK: Final = " " * 18
"""A blank SIP2 due date: the terminal leaves the date to the gateway."""


@dataclass(slots=True)
class SimulatedCopy:
    """One copy. `place`: shelf, bag (on the road to `holder`), desk, reader, lost; `holder`: its present or next library."""

    item: ItemKey
    bib_id: str
    place: str = "shelf"
    holder: str = ""
    since: datetime | None = None


class Actors:
    """The readers and staff at the gateways of a consortium. `busy` tells that new requests still come."""

    def __init__(self, consortium: Consortium, books: list[SimulatedCopy]) -> None:
        self.all, self.draw = consortium, consortium.draw
        self.books = {book.item: book for book in books}
        self.busy = True

    # ---- time

    def later(self, days: float, what: Callable[[], None]) -> None:
        """Schedules an action in so many days."""
        self.all.after(timedelta(days=days), what)

    def again(self, what: Callable[[], bool]) -> None:
        """Repeats the action until it works; after a failed one it waits a while."""
        if not what():
            self.all.after(SOON, lambda: self.again(what))

    def happens(self, chance: float) -> bool:
        """Draws whether an event with this chance happens."""
        return self.draw.random() < chance

    # ---- messages to the gateway

    def sip2(self, agency: str, line: str) -> bool:
        """Whether the gateway accepted a terminal's line; `{now}` stands for the terminal's time."""
        now = self.all.now.astimezone(dates.HONG_KONG).strftime("%Y%m%d    %H%M%S")
        reply = self.all.do(agency, lambda world: world.sip2(COUNTER, line.replace("{now}", now)))
        return reply is not None and reply[2:3] == "1"

    def check_out(self, agency: str, card: str, book: SimulatedCopy, *, undo: bool = False) -> bool:
        """Checks out a copy to a card at the counter. `undo`: cancels a check-in that could not be finished."""
        cancel = "BIY|" if undo else ""
        return self.sip2(agency, f"11NN{{now}}{BLANK}AO{agency}|AA{card}|AB{book.item.barcode}|AC|{cancel}")

    def check_in(self, agency: str, book: SimulatedCopy, *, undo: bool = False) -> bool:
        """Scans a copy. `undo`: cancels a checkout that could not be finished."""
        cancel = "BIY|" if undo else ""
        return self.sip2(agency, f"09N{{now}}{{now}}AP{agency}-DESK|AO{agency}|AB{book.item.barcode}|AC|{cancel}")

    def command(self, agency: str, name: str, request: Request, reason: str = "", book: SimulatedCopy | None = None) -> bool:
        """Whether the gateway accepted a staff command (a row of `STAFF_ACTIONS`)."""
        item = book.item if book else ItemKey("", "")
        command = Act(STAFF, request.id, item.barcode, item.agency, reason, action=name)
        done = self.all.do(agency, lambda world: finished(world.circulation.execute(command)))
        return done is not None and not isinstance(done, Refused)

    # ---- replies of the gateway

    def holding(self, agency: str, book: SimulatedCopy) -> Request | None:
        """The open request that holds a copy."""
        found = self.ask(agency, lambda unit: unit.requests_with(book.item.barcode, book.item.agency))
        return found[0] if found else None

    def listed(self, agency: str, position: Position) -> tuple[Request, ...]:
        """The requests in a position."""
        return self.ask(agency, lambda unit: unit.open_list(position.value))

    def request(self, agency: str, number: str) -> Request | None:
        """Returns one request."""
        return self.ask(agency, lambda unit: unit.request(number))

    def ask(self, agency: str, question: Callable[[Unit], T]) -> T:
        """Returns the result of a read-only query on a library's database; a query never kills a gateway."""
        return finished(self.all.worlds[agency].store.read(question))

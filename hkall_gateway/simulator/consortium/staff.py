"""Simulates the staff of a consortium: circulation desks, stacks, and couriers' bags.

A book is a physical object: it stays where a person put it, even if a gateway records otherwise. Staff follow their own
gateway's replies, and try again later if the gateway is down or does not reply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.db import quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.db.requests_by_partner_id import STRAY
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.handlers import replay_document
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request
from hkall_gateway.simulator.consortium.gateways import Consortium
from hkall_gateway.simulator.scenario.world import World

P = Position
T = TypeVar("T")
STAFF: Final = Actor(who="staff", channel="cli", message="simulate")
COUNTER: Final = "counter-1"
SOON: Final = timedelta(minutes=20)
BLANK: Final = " " * 18
"""A blank SIP2 due date: the terminal leaves the date to the gateway."""


@dataclass(slots=True)
class SimulatedCopy:
    """One copy. `holder` is its current or next library, and `place` is shelf, bag (on the way), desk, reader or lost."""

    item: ItemKey
    bib_id: str
    place: str = "shelf"
    holder: str = ""
    since: datetime | None = None


PATIENT_DAYS: Final = 6
STRAYS_WAIT: Final = timedelta(days=20)
REASONS: Final = ("not_on_shelf", "checked_out_locally", "damaged")
NOT_FOUND, FORGOTTEN, UNFIT, FUMBLED = 0.12, 0.08, 0.03, 0.03
"""Chances that a paged copy is not found, that its pull slip is lost for days, that it proves unfit after the checkout, and
that a terminal cannot finish an operation.
"""


def _retry(world: World, row: int) -> object:
    """Retry a message that the courier has given up."""
    return finished(world.circulation.execute(unsent.Settle(by=STAFF, number=row, kind="outbox", how=unsent.RETRY)))


class Staff:
    """Staff of all libraries, who scan, pull, pack and return books. `busy` is set while patrons place new requests."""

    def __init__(self, consortium: Consortium, books: list[SimulatedCopy]) -> None:
        self.all, self.draw = consortium, consortium.draw
        self.books = {book.item: book for book in books}
        self.busy = True
        self._forgotten: dict[tuple[str, str], datetime] = {}

    # ---- time

    def after_days(self, days: float, what: Callable[[], None]) -> None:
        """Schedule an action after `days` days."""
        self.all.schedule_after(timedelta(days=days), what)

    def retry(self, what: Callable[[], bool]) -> None:
        """Repeat the action until it succeeds, with a pause after each failure."""
        if not what():
            self.all.schedule_after(SOON, lambda: self.retry(what))

    def draw_chance(self, chance: float) -> bool:
        """Return True with the probability `chance`."""
        return self.draw.random() < chance

    # ---- messages to the gateway

    def sip2(self, agency: str, line: str) -> bool:
        """Send a terminal's message, and return whether the gateway accepted it. `{now}` stands for the terminal's time."""
        now = self.all.now.astimezone(dates.HONG_KONG).strftime("%Y%m%d    %H%M%S")
        reply = self.all.perform(agency, lambda world: world.sip2(COUNTER, line.replace("{now}", now)))
        return reply is not None and reply[2:3] == "1"

    def check_out(self, agency: str, card: str, book: SimulatedCopy, *, undo: bool = False) -> bool:
        """Check out a copy to a card at the counter. With `undo`, cancel a check-in that could not be finished."""
        cancel = "BIY|" if undo else ""
        return self.sip2(agency, f"11NN{{now}}{BLANK}AO{agency}|AA{card}|AB{book.item.barcode}|AC|{cancel}")

    def check_in(self, agency: str, book: SimulatedCopy, *, undo: bool = False) -> bool:
        """Check in a copy. With `undo`, cancel a checkout that could not be finished."""
        cancel = "BIY|" if undo else ""
        return self.sip2(agency, f"09N{{now}}{{now}}AP{agency}-DESK|AO{agency}|AB{book.item.barcode}|AC|{cancel}")

    def run_command(
        self, agency: str, name: str, request: Request, reason: str = "", book: SimulatedCopy | None = None
    ) -> bool:
        """Run a staff command (a row of `STAFF_ACTIONS`), and return whether the gateway accepted it."""
        item = book.item if book else ItemKey("", "")
        command = Act(by=STAFF, request=request.id, barcode=item.barcode, agency=item.agency, reason=reason, action=name)
        done = self.all.perform(agency, lambda world: finished(world.circulation.execute(command)))
        return done is not None and not isinstance(done, Refused)

    # ---- queries

    def find_holding(self, agency: str, book: SimulatedCopy) -> Request | None:
        """Return the open request for a copy."""
        found = self.read(agency, lambda unit: unit.requests.open_with_item(book.item.barcode, book.item.agency))
        return found[0] if found else None

    def list_requests(self, agency: str, position: Position) -> tuple[Request, ...]:
        """Return the open requests in a position."""
        return self.read(agency, lambda unit: unit.requests.open_list(position.value))

    def request(self, agency: str, number: str) -> Request | None:
        """Return one request."""
        return self.read(agency, lambda unit: unit.requests.find(number))

    def read(self, agency: str, question: Callable[[UnitOfWork], T]) -> T:
        """Query a library's database and return the result. A query never crashes a gateway."""
        return finished(self.all.worlds[agency].store.read(question, is_long=True))

    def schedule_visit(self, agency: str, request: Request) -> None:
        """Schedule the patron's visit for a book on the hold shelf. A subclass implements this."""

    # ---- a counter

    def take_in(self, agency: str, book: SimulatedCopy) -> None:
        """Check in a book, and put it where the gateway's reply sends it."""
        book.place, book.holder, book.since = "desk", agency, book.since if book.place == "desk" else self.all.now
        if self.check_in(agency, book):
            self._put_away(agency, book)
        # A refused book stays on the desk. `work_through_lists` tries again, since the request may move in the meantime.

    def _put_away(self, agency: str, book: SimulatedCopy) -> None:
        held = self.find_holding(agency, book)
        if book.item.agency == agency:
            book.place = "shelf" if held is None or held.position is P.PAGED else "desk"
        elif held is None:
            return
        elif held.position is P.RECEIVED:
            self.schedule_visit(agency, held)
        elif held.position in {P.TO_RETURN, P.RETURN_TRANSIT} and not (
            held.used and self.draw_chance(FUMBLED) and self.check_out(agency, held.patron, book, undo=True)
        ):
            self._send_home(agency, book, held)

    def _send_home(self, agency: str, book: SimulatedCopy, held: Request | None) -> None:
        if held is not None and held.position is P.TO_RETURN and not self.run_command(agency, "dispatch", held):
            return
        self._send_by_courier(book, book.item.agency)

    def _send_by_courier(self, book: SimulatedCopy, to: str) -> None:
        """Send a book to another library, which receives it one or two days later."""
        book.place, book.holder, book.since = "bag", to, self.all.now
        self.after_days(self.draw.uniform(0.6, 2.2), lambda: self.take_in(to, book))

    # ---- twice a day

    def work_through_lists(self, agency: str) -> None:
        """Work through the pull list, the books on the desk, uncollected books, and dead messages."""
        if not self.all.is_up(agency):
            self.all.schedule_after(SOON, lambda: self.work_through_lists(agency))
            return
        for request in self.list_requests(agency, P.PAGED):
            self._pull_copy(agency, request)
        for request in self.list_requests(agency, P.IN_TRANSIT):
            self._cancel_stray(agency, request)
        for book in [b for b in self.books.values() if b.place == "desk" and b.holder == agency]:
            self._handle_desk_copy(agency, book)
        for row in self.read(agency, lambda unit: unit.outbox.rows(states=(OutboxState.DEAD,))):
            self.all.perform(agency, partial(_retry, row=row.id))
        for kept in self.read(agency, quarantine.listed):
            if kept.why == Reason.CONTRADICTS_US:
                self._judge_document(agency, kept)

    def _judge_document(self, agency: str, kept: QuarantinedDocument) -> None:
        """Judge a document in quarantine, and replay it if the sender owns the book and really has it."""
        named = decode(kept.document.encode())
        book = self.books.get(ItemKey(named.text("ItemId/AgencyId"), named.text("ItemId/ItemIdentifierValue")))
        if book is not None and book.item.agency == kept.agency == book.holder:
            again = (kept.agency, kept.digest, kept.document)
            if self.all.perform(agency, lambda world: finished(replay_document(world.services, *again))) is None:
                return  # the gateway died: the document is replayed next time
        replayed = unsent.MarkReplayed(STAFF, kept.id, "looked where it is")
        self.all.perform(agency, lambda world: finished(world.circulation.execute(replayed)))

    def _cancel_stray(self, agency: str, request: Request) -> None:
        """Cancel the record of a shipment that was announced after we had withdrawn the request, and never arrived."""
        if request.kind == STRAY and request.moved_at and self.all.now - request.moved_at > STRAYS_WAIT:
            command = Act(by=STAFF, request=request.id, reason="it never came", position=P.CANCELLED, action="force")
            self.all.perform(agency, lambda world: finished(world.circulation.execute(command)))

    def _pull_copy(self, agency: str, request: Request) -> None:
        assert request.item is not None
        if self._forgotten.get((agency, request.id), self.all.now) > self.all.now:
            return
        book = self.books[request.item]
        if book.place != "shelf" or self.draw_chance(NOT_FOUND):
            self.run_command(agency, "decline", request, "not_on_shelf" if book.place != "shelf" else self.draw.choice(REASONS))
        elif self.draw_chance(FORGOTTEN):  # the pull slip was lost
            self._forgotten[agency, request.id] = self.all.now + timedelta(days=self.draw.uniform(1, 12))
        elif self.check_out(agency, f"{request.partner}-INST", book) and not (
            self.draw_chance(UNFIT) and self.run_command(agency, "decline", request, "damaged")
        ):
            self._send_by_courier(book, request.partner)

    def _handle_desk_copy(self, agency: str, book: SimulatedCopy) -> None:
        """Handle a book on the desk: scan it again, return it unused, or receive it as unannounced."""
        held, days = self.find_holding(agency, book), ((self.all.now - book.since).days if book.since else 0)
        if book.item.agency == agency or (held is None and days < 1):
            self.take_in(agency, book)
        elif held is None:
            # An unknown book is received as unannounced by the number on the pull slip, or returned after some days.
            requested = self.list_requests(agency, P.REQUESTED) + self.list_requests(agency, P.CANCELLING)
            waiting = [r for r in requested if self._was_requested(agency, r, book)]
            if waiting and self.run_command(agency, "receive", waiting[0], "unannounced", book):
                self._put_away(agency, book)
            elif days >= PATIENT_DAYS:
                self._send_by_courier(book, book.item.agency)
        elif held.position in {P.IN_TRANSIT, P.ON_LOAN}:
            self.take_in(agency, book)
        elif held.position in {P.TO_RETURN, P.RETURN_TRANSIT}:
            self._send_home(agency, book, held)
        elif (held.position is P.RECEIVED and (held.expired_pickup or (not self.busy and days > 1))) and self.run_command(
            agency, "return_unused", held
        ):
            self._send_home(agency, book, self.find_holding(agency, book))

    def _was_requested(self, agency: str, request: Request, book: SimulatedCopy) -> bool:
        listed = self.read(agency, lambda unit: unit.candidates.of_request(request.id))
        return any((c.agency, c.barcode) == tuple(book.item) and c.wire_id for c in listed)

"""The people of a simulated consortium and the books that they carry: readers, counters, stacks, bags on the road.

A book is a physical thing: it is where somebody put it, whatever the gateways think. People read what their own gateway says
and do what it tells them; when it is down or answers nothing they try again later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import count
from typing import Final, TypeVar

from hkall_gateway.desk import deadletters
from hkall_gateway.desk.deeds import Deed
from hkall_gateway.desk.outcomes import Refused
from hkall_gateway.lab.consortium import Consortium
from hkall_gateway.lab.world import World
from hkall_gateway.rules import calendar
from hkall_gateway.rules.vocabulary import By, ItemKey, Position, Request
from hkall_gateway.store.database import finished
from hkall_gateway.store.unit import Unit

T = TypeVar("T")
P = Position
STAFF: Final = By("staff", "cli", "simulate")
COUNTER: Final = "counter-1"
SOON: Final = timedelta(minutes=20)
PATIENT_DAYS: Final = 6
OUTAGES: Final = 0.06
"""The chance that a library is cut off from the world on a given day, for hours or days."""
REASONS: Final = ("not_on_shelf", "checked_out_locally", "damaged")


@dataclass(slots=True)
class Book:
    """One copy. `place`: shelf, bag (on the road to `holder`), desk, reader; `holder`: the library that has it, or will."""

    item: ItemKey
    bib_id: str
    place: str = "shelf"
    holder: str = ""
    since: datetime | None = None


class People:
    """Everybody who works with the gateways of a consortium. `wishes` is the number of requests a library and day."""

    def __init__(self, consortium: Consortium, books: list[Book], wishes: int) -> None:
        self._all, self._draw, self._wishes = consortium, consortium.draw, wishes
        self.books = {book.item: book for book in books}
        self._titles = {agency: _elsewhere(agency, books) for agency in consortium.worlds}
        self._numbers, self._known = count(1), dict[str, dict[ItemKey, str]]()
        self.asked = self.placed = 0
        self.no_new_wishes = False
        self._forgotten: dict[tuple[str, str], datetime] = {}

    # ---- the day

    def live(self, day: datetime) -> None:
        """Everything that people do on the day that begins at `day` in Hong Kong."""
        for agency in self._all.worlds:
            self._night(agency, day)
            if self._all.line.loss and self._draw.random() < OUTAGES:
                self._at(day, self._draw.uniform(0, 24), lambda agency=agency: self._dig(agency))  # type: ignore[misc]
            for hour in (10, 15):
                self._at(day, hour, lambda agency=agency: self.work(agency))  # type: ignore[misc]  # bound now
            for _ in range(0 if self.no_new_wishes else self._wishes):
                self._at(day, self._draw.uniform(8, 22), lambda agency=agency: self.wish(agency))  # type: ignore[misc]

    def _at(self, day: datetime, hour: float, what: Callable[[], None]) -> None:
        self._all.at(day + timedelta(hours=hour), what)

    def _night(self, agency: str, day: datetime) -> None:
        self._at(day, 0.1, lambda: self._again(lambda: self._rounds(agency)))
        self._at(day, 13, lambda: self._silence(agency))
        self._at(day, 3, lambda: self._refresh(agency))

    def _dig(self, agency: str) -> None:
        self._all.cut_off(agency, timedelta(hours=self._draw.uniform(1, 150)))

    def _silence(self, agency: str) -> None:
        self._all.do(agency, lambda world: world.round("silence"))

    def _rounds(self, agency: str) -> bool:
        return self._all.do(agency, lambda world: finished(world.rounds.run_due()) or True) is not None

    def _again(self, what: Callable[[], bool]) -> None:
        """Until it works: who is told nothing tries again in a while."""
        if not what():
            self._all.after(SOON, lambda: self._again(what))

    def _refresh(self, agency: str) -> None:
        """The nightly load of what stands on whose shelf."""
        states = {item: "Available On Shelf" if b.place == "shelf" else "On Loan" for item, b in self.books.items()}
        known = self._known.setdefault(agency, {})
        news = [(item, status) for item, status in states.items() if item.agency != agency and known.get(item) != status]
        if self._all.do(agency, lambda world: world.store.now(_set, news)):
            known.update(news)

    # ---- readers

    def wish(self, agency: str) -> None:
        """A reader asks for a title that another library has."""
        world = self._all.worlds[agency]
        reader = self._draw.choice(world.start.patrons).barcode
        title, number = self._draw.choice(self._titles[agency]), f"d-{next(self._numbers)}"
        self.asked += 1
        said = f"RequestItem user={reader} bib={title} request={number}"
        self._again(lambda: self._tell(agency, said))
        if self._draw.random() < 0.12:
            later = timedelta(hours=self._draw.uniform(0.01, 60))
            cancel = f"CancelRequestItem user={reader} request={number}"
            self._all.after(later, lambda: self._again(lambda: self._tell(agency, cancel)))

    def _tell(self, agency: str, said: str) -> bool:
        reply = self._all.do(agency, lambda world: world.tell(f"{agency}-DISCOVERY", said))
        if reply is not None and reply.service == "RequestItemResponse" and not reply.has("Problem"):
            self.placed += 1
        return reply is not None

    def _collect(self, agency: str, request: Request) -> None:
        """A reader comes to the counter for a book that waits, and brings it back some days later."""
        assert request.item is not None
        book = self.books[request.item]
        if not self._sip2(agency, f"11NN{{now}}{' ' * 18}AO{agency}|AA{request.patron}|AB{book.item.barcode}|AC|"):
            self._all.after(SOON, lambda: self._collect_if_there(agency, request.id))
            return
        book.place = "reader"
        days = self._draw.uniform(1, 12) if not self.no_new_wishes else 1
        self._all.after(timedelta(days=days), lambda: self._bring_back(agency, book))

    def _collect_if_there(self, agency: str, number: str) -> None:
        request = self._request(agency, number)
        if request and request.position is P.RECEIVED and request.item and self.books[request.item].holder == agency:
            self._collect(agency, request)

    def _bring_back(self, agency: str, book: Book) -> None:
        if book.place == "reader" and book.holder == agency:
            book.place, book.since = "desk", self._all.now
            self._take_in(agency, book)

    # ---- a counter

    def arrive(self, book: Book) -> None:
        """The bag is opened at its destination."""
        book.place, book.since = "desk", self._all.now
        self._take_in(book.holder, book)

    def _take_in(self, agency: str, book: Book) -> None:
        """Scan it, and put it where the gateway says that it belongs."""
        stamp = f"{{now}}{{now}}AP{agency}-DESK|AO{agency}|AB{book.item.barcode}|AC|"
        if self._sip2(agency, f"09N{stamp}"):
            self._put(agency, book)
        # Otherwise it lies on the desk until somebody looks through what lies there: see work().

    def _put(self, agency: str, book: Book) -> None:
        held = self._holding(agency, book)
        if book.item.agency == agency:
            book.place, book.holder = ("shelf", agency) if held is None or held.position is P.PAGED else ("desk", agency)
            return
        if held is None:
            return
        if held.position is P.RECEIVED and self._draw.random() < 0.85:
            days = timedelta(days=self._draw.uniform(0.05, 4))
            self._all.after(days, lambda: self._collect_if_there(agency, held.id))
        elif held.position in {P.TO_RETURN, P.RETURN_TRANSIT}:
            self._send_home(agency, book, held)

    def _send_home(self, agency: str, book: Book, held: Request | None) -> None:
        if held is not None and held.position is P.TO_RETURN and not self._deed(agency, "dispatch", held):
            return
        self._bag(book, book.item.agency)

    def _bag(self, book: Book, to: str) -> None:
        """Into the courier's bag; it is opened there one or two days later."""
        book.place, book.holder, book.since = "bag", to, self._all.now
        self._all.after(timedelta(days=self._draw.uniform(0.6, 2.2)), lambda: self.arrive(book))

    # ---- staff, twice a day

    def work(self, agency: str) -> None:
        """The pull list, what lies on the desk, what nobody collected, and the dead letters."""
        if not self._all.up(agency):
            self._all.after(SOON, lambda: self.work(agency))
            return
        for request in self._list(agency, P.PAGED):
            self._pull(agency, request)
        for book in [b for b in self.books.values() if b.place == "desk" and b.holder == agency]:
            self._look_at(agency, book)
        for row in self._ask(agency, lambda unit: unit.outbox.rows(states=("dead",))):
            self._all.do(agency, lambda w, r=row.id: w.store.now(deadletters.retry, r, STAFF, w.now))  # type: ignore[misc]

    def _pull(self, agency: str, request: Request) -> None:
        assert request.item is not None
        if self._forgotten.get((agency, request.id), self._all.now) > self._all.now:
            return
        book, chance = self.books[request.item], self._draw.random()
        if book.place != "shelf" or chance < 0.12:
            self._deed(agency, "decline", request, "not_on_shelf" if book.place != "shelf" else self._draw.choice(REASONS))
        elif chance < 0.2:  # the slip has slipped behind the shelf
            self._forgotten[agency, request.id] = self._all.now + timedelta(days=self._draw.uniform(1, 12))
        else:
            said = f"11NN{{now}}{' ' * 18}AO{agency}|AA{request.partner}-INST|AB{book.item.barcode}|AC|"
            if self._sip2(agency, said):
                self._bag(book, request.partner)

    def _look_at(self, agency: str, book: Book) -> None:
        """What lies on the desk: to be scanned again, to be sent home unused, or nobody knows why it is here."""
        held, days = self._holding(agency, book), self._days(book)
        if book.item.agency == agency or (held is None and days < 1):
            self._take_in(agency, book)
        elif held is None:
            self._nobody_knows_it(agency, book, days)
        elif held.position in {P.IN_TRANSIT, P.ON_LOAN}:
            self._take_in(agency, book)
        elif held.position in {P.TO_RETURN, P.RETURN_TRANSIT}:
            self._send_home(agency, book, held)
        elif self._unwanted(held, days) and self._deed(agency, "return_unused", held):
            self._send_home(agency, book, self._holding(agency, book))

    def _unwanted(self, held: Request, days: int) -> bool:
        return held.position is P.RECEIVED and (held.expired_pickup or (self.no_new_wishes and days > 1))

    def _nobody_knows_it(self, agency: str, book: Book, days: int) -> None:
        """Its slip names the request: it is received unannounced; after some days without success it goes home as it came."""
        waiting = [
            r for r in self._list(agency, P.REQUESTED) + self._list(agency, P.CANCELLING) if self._is_for(agency, r, book)
        ]
        if waiting and self._deed(agency, "receive", waiting[0], "unannounced", book):
            self._put(agency, book)
        elif days >= PATIENT_DAYS:
            self._bag(book, book.item.agency)

    def _is_for(self, agency: str, request: Request, book: Book) -> bool:
        listed = self._ask(agency, lambda unit: unit.candidates(request.id))
        return any((c.agency, c.barcode) == tuple(book.item) and c.wire_id for c in listed)

    def _days(self, book: Book) -> int:
        return (self._all.now - book.since).days if book.since else 0

    # ---- what the gateway says

    def _sip2(self, agency: str, line: str) -> bool:
        """Whether the gateway said yes to a terminal's line."""
        now = self._all.now.astimezone(calendar.HONG_KONG).strftime("%Y%m%d    %H%M%S")
        reply = self._all.do(agency, lambda world: world.sip2(COUNTER, line.replace("{now}", now)))
        return reply is not None and reply[2:3] == "1"

    def _deed(self, agency: str, name: str, request: Request, reason: str = "", book: Book | None = None) -> bool:
        deed = Deed(STAFF, request.id, reason=reason)
        if book is not None:
            deed = Deed(STAFF, request.id, book.item.barcode, book.item.agency, reason)
        done = self._all.do(agency, lambda world: finished(world.desk.act(name, deed)))
        return done is not None and not isinstance(done, Refused)

    def _holding(self, agency: str, book: Book) -> Request | None:
        found = self._ask(agency, lambda unit: unit.requests_with(book.item.barcode, book.item.agency))
        return found[0] if found else None

    def _list(self, agency: str, position: Position) -> tuple[Request, ...]:
        return self._ask(agency, lambda unit: unit.open_list(position.value))

    def _request(self, agency: str, number: str) -> Request | None:
        return self._ask(agency, lambda unit: unit.request(number))

    def _ask(self, agency: str, question: Callable[[Unit], T]) -> T:
        """What its database says; a question never kills a gateway."""
        return finished(self._all.worlds[agency].store.read(question))


def _elsewhere(agency: str, books: list[Book]) -> list[str]:
    """The titles that other libraries have and this one has not."""
    return sorted({b.bib_id for b in books} - {b.bib_id for b in books if b.item.agency == agency})


def _set(unit: Unit, statuses: list[tuple[ItemKey, str]]) -> bool:
    for item, status in statuses:
        unit.set_status(item, status)
    return True


def midnight(world: World, days: int) -> datetime:
    """The beginning of the day in Hong Kong that is `days` after the world's first."""
    first = world.start.time.astimezone(calendar.HONG_KONG).date() + timedelta(days=days)
    return datetime.combine(first, time(), calendar.HONG_KONG)

"""What must be true of a consortium after every step, and what at the end when all lines are whole again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from hkall_gateway.lab.consortium import Consortium, Moved
from hkall_gateway.lab.people import People
from hkall_gateway.lab.world import World
from hkall_gateway.rules import eligibility
from hkall_gateway.rules.policy import quota_positions
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.store.database import finished
from hkall_gateway.store.tables import REQUESTS
from hkall_gateway.store.unit import Unit

T = TypeVar("T")
P = Position

HERE: Final = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN})
"""Positions in which the borrowing library says that the copy is in its own hands or its reader's."""
OUT: Final = frozenset({P.SHIPPED, P.AT_BORROWER, P.RETURN_TRANSIT})
ONCE: Final = ("letter_pickup", "letter_unfilled")
GOING_ON: Final = ("ASK_NEXT",)


class Invariants:
    """Watches a consortium; `broken` is every difference found, each with its instant."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._all: Consortium | None = None
        self._people: People | None = None
        self._letters: dict[str, Counter[str]] = {}

    def begin(self, consortium: Consortium, people: People) -> None:
        """Watch these from now on."""
        self._all, self._people = consortium, people

    def watch(self, moved: Sequence[Moved]) -> None:
        """After one step: what it touched is as it must be."""
        if self._all is None:
            return
        for agency, number in sorted({(m.agency, m.move.request) for m in moved if m.move.target in HERE}):
            request = _ask(self._all.worlds[agency], lambda unit, n=number: unit.request(n))  # type: ignore[misc]  # bound now
            if request is not None:
                self._in_one_place(agency, request)
        for one in moved:
            if one.move.event == "OPEN" and one.move.patron:
                self._quota_holds(one.agency, one.move.patron)
            if one.move.event in GOING_ON:
                self._went_on_with_reason(one.agency, one.move.request)
        for agency, world in self._all.worlds.items():
            self._read_letters(agency, world)

    def _in_one_place(self, agency: str, request: Request) -> None:
        """The copy is where its request says, and no other library says that it has it."""
        item = request.item
        if item is None or request.side is Side.LENDING or request.position not in HERE:
            return
        assert self._people is not None
        assert self._all is not None
        book = self._people.books[item]
        if book.holder != agency or book.place not in {"desk", "reader"}:
            self._broke(f"{agency} {request.id} says {request.position} of {item}, which is {book.place} {book.holder}")
        for other, world in self._all.worlds.items():
            held = _ask(world, lambda unit: unit.requests_with(item.barcode, item.agency)) if other != agency else ()
            if any(r.side is Side.BORROWING and r.position in HERE for r in held):
                self._broke(f"{agency} and {other} both say that they have {item}")

    def _quota_holds(self, agency: str, card: str) -> None:
        assert self._all is not None
        world = self._all.worlds[agency]
        policy = world.start.policy
        borrower = _ask(world, lambda unit: unit.patron(card))
        category = eligibility.category_of(borrower, policy) if borrower else None
        used = _ask(world, lambda unit: unit.quota_used(card, quota_positions(policy)))
        if category is None or used > category.quota:
            self._broke(f"{agency} {card} has {used} books")

    def _went_on_with_reason(self, agency: str, number: str) -> None:
        """The next lender is asked only when the one before has said no, or cannot have heard of the wish."""
        assert self._all is not None
        listed = _ask(self._all.worlds[agency], lambda unit: unit.candidates(number))
        asked = sorted((c for c in listed if c.wire_id), key=lambda c: int(c.wire_id.rpartition("-")[2]))
        if len(asked) > 1 and asked[-2].outcome in {"", "accepted"}:
            events = [line["event"] for line in _ask(self._all.worlds[agency], lambda unit: unit.history(number))]
            if "NOT_SENT" not in events:
                self._broke(f"{agency} {number} went on from {asked[-2].agency}, whose answer is {asked[-2].outcome!r}")

    def _read_letters(self, agency: str, world: World) -> None:
        """Each letter once; a mail server drops a second one with the number of the first, which a death may cause."""
        assert self._all is not None
        read = self._letters.setdefault(agency, Counter())
        while world.letters:
            letter = world.letters.popleft()
            number = letter.number.strip("<>").partition("@")[0]
            read[number] += 1
            request, _, kind = number.split(".", 2)
            same = [n for n in read if n.startswith(f"{request}.") and n.endswith(kind)]
            if kind in ONCE and len(same) > 1:
                self._broke(f"{agency} {request}: {len(same)} different letters {kind}")
            if read[number] > 1 + self._all.deaths:
                self._broke(f"{agency} {number} came {read[number]} times")

    # ---- the end

    def settled(self) -> bool:
        """Whether nothing is open any more anywhere, nothing waits to be told, and every book is at home."""
        assert self._all is not None
        assert self._people is not None
        return (
            all(b.place == "shelf" for b in self._people.books.values())
            and not self._all.outbox()
            and not any(_ask(world, lambda unit: unit.open_list()) for world in self._all.worlds.values())
        )

    def end(self) -> None:
        """At the end, when everything had time to settle: nothing is lost, and both sides say the same."""
        assert self._all is not None
        assert self._people is not None
        for agency, row in self._all.outbox():
            self._broke(f"{agency} outbox {row.id} {row.send} {row.request} to {row.recipient}: {row.state} {row.last_error}")
        for book in self._people.books.values():
            if book.place != "shelf" or book.holder not in {"", book.item.agency}:
                self._broke(f"{book.item} is lost: {book.place} {book.holder} since {book.since}")
        for agency, world in self._all.worlds.items():
            for request in _ask(world, lambda unit: unit.open_list()):
                self._broke(f"{agency} {request.id} is still {request.position} ({request.partner} {request.item})")
            for what in self._disagreements(agency, world):
                self._broke(what)

    def _disagreements(self, agency: str, world: World) -> Iterator[str]:
        """What a library lent, as the borrowing one has it. A lender that closed must have a borrower that closed."""
        assert self._all is not None
        for request in _all_requests(world, Side.LENDING):
            other = self._all.worlds[request.partner]
            asked = _ask(other, lambda unit, r=request: unit.request_asked(r.wire_id))  # type: ignore[misc]  # bound now
            if asked is None:
                yield f"{agency} {request.id}: {request.partner} never asked for it"
            elif request.position is P.CLOSED and not _had_it(other, asked[0], request):
                yield f"{agency} {request.id} is CLOSED, {request.partner} {asked[0].id} is {asked[0].position}"
        for request in _all_requests(world, Side.BORROWING):
            lender = self._all.worlds[request.partner] if request.partner else None
            lent = _ask(lender, lambda unit, r=request: unit.request_lent(agency, r.wire_id)) if lender else None  # type: ignore[misc]
            if request.position is P.CLOSED and (lent is None or lent.position is not P.CLOSED):
                yield f"{agency} {request.id} is CLOSED, {request.partner} has {lent.position if lent else 'nothing'}"

    def ends(self) -> Counter[str]:
        """How many requests of each side stand where."""
        assert self._all is not None
        worlds = self._all.worlds.values()
        return Counter(f"{side.value} {r.position}" for w in worlds for side in Side for r in _all_requests(w, side))

    def _broke(self, what: str) -> None:
        assert self._all is not None
        self.broken.append(f"{self._all.now:%Y-%m-%d %H:%M:%S} {what}")


def _had_it(world: World, request: Request, lent: Request) -> bool:
    """The borrower closed the same wish, or had the copy as a stray; or its desk sent it home without ever knowing it."""
    if request.position is P.CLOSED and request.wire_id == lent.wire_id:
        return True
    strays = [r for r in _all_requests(world, Side.BORROWING) if r.wire_id == lent.wire_id and r.position is P.CLOSED]
    return bool(strays) or lent.skipped in {P.PAGED.value, P.SHIPPED.value}


def _all_requests(world: World, side: Side) -> tuple[Request, ...]:
    return _ask(world, lambda unit: unit.batch(REQUESTS.c.side == side, order=(REQUESTS.c.id,), limit=1_000_000))


def _ask(world: World, question: Callable[[Unit], T]) -> T:
    return finished(world.store.read(question))

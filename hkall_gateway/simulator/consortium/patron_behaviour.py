"""Chance events of patrons and staff in a simulated consortium: renew, recall, lose, claim, cancel.

Each row has the chance per day and open request in the given positions, and the function that performs the event and returns
whether it happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.consortium.staff import BLANK, SimulatedCopy, Staff

P = Position
FOUND: Final = 0.4
"""Chance that a lost book is found."""

Act = Callable[[Staff, str, Request], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One chance event. `where` lists the positions in which it may happen."""

    name: str
    chance: float
    where: frozenset[Position]
    act: Act


def renew_at_the_counter(staff: Staff, agency: str, request: Request) -> bool:
    """Renew the loan at a terminal, as the patron."""
    item = request.item.barcode if request.item else ""
    return staff.sip2(agency, f"29NN{{now}}{BLANK}AO{agency}|AA{request.patron}|AB{item}|AC|")


def renew_at_home(staff: Staff, agency: str, request: Request) -> bool:
    """Renew the loan in the discovery system, as the patron."""
    assert request.item is not None
    document = f"RenewItem user={request.patron} item={request.item.agency}:{request.item.barcode}"
    reply = staff.all.perform(agency, lambda world: world.tell(f"{agency}-DISCOVERY", document))
    return reply is not None and not reply.has("Problem")


def bring_to_its_owner(staff: Staff, agency: str, request: Request) -> bool:
    """Return the book at the counter of the library that owns it, as patrons may."""
    book = _find_lent_copy(staff, agency, request)
    if book is None:
        return False
    staff.take_in(book.item.agency, book)
    return True


def claim(staff: Staff, agency: str, request: Request) -> bool:
    """Record the patron's claim that the book was returned, which the patron later finds."""
    return _find_lent_copy(staff, agency, request) is not None and staff.run_command(agency, "claim", request)


def damage(staff: Staff, agency: str, request: Request) -> bool:
    """Record that the patron damaged the book."""
    return _find_lent_copy(staff, agency, request) is not None and staff.run_command(agency, "damaged", request)


def lose(staff: Staff, agency: str, request: Request) -> bool:
    """Record that the patron lost the book. It is found some days later, or the two libraries settle the loss."""
    book = _find_lent_copy(staff, agency, request)
    if book is None or not staff.run_command(agency, "lost", request):
        return False
    book.place = "lost"
    follow_up = _find_lost_copy if staff.draw_chance(FOUND) else _settle_loss
    staff.after_days(staff.draw.uniform(1, 6), lambda: follow_up(staff, agency, request, book))
    return True


def _find_lost_copy(staff: Staff, agency: str, _request: Request, book: SimulatedCopy) -> None:
    staff.take_in(agency, book)


def _settle_loss(staff: Staff, agency: str, request: Request, _book: SimulatedCopy) -> None:
    """Record at both libraries the settlement that their staff agreed on by telephone."""
    owner = request.partner
    lent = staff.read(owner, lambda unit: unit.requests.find_lent(agency, request.wire_id))
    assert lent is not None
    staff.retry(lambda: staff.run_command(agency, "settle", request, "paid for"))
    staff.retry(lambda: staff.run_command(owner, "lost", lent, "the borrower says so"))
    staff.after_days(1, lambda: staff.retry(lambda: staff.run_command(owner, "settle", lent, "paid for")))


def cancel(staff: Staff, agency: str, request: Request) -> bool:
    """Cancel the request at the counter for the patron."""
    return staff.run_command(agency, "cancel", request, "not needed")


def recall(staff: Staff, agency: str, request: Request) -> bool:
    """Recall the book for a patron of its owner."""
    return request.side is Side.LENDING and request.recalled_on is None and staff.run_command(agency, "recall", request)


def cancel_recall(staff: Staff, agency: str, request: Request) -> bool:
    """Cancel the owner's recall."""
    return (
        request.side is Side.LENDING and request.recalled_on is not None and staff.run_command(agency, "cancel_recall", request)
    )


def _find_lent_copy(staff: Staff, agency: str, request: Request) -> SimulatedCopy | None:
    """Return the lent book if a patron of this library has it, and it is not home already or lent to another library."""
    book = staff.books[request.item] if request.item else None
    return book if book and (book.place, book.holder) == ("reader", agency) else None


_LENT = frozenset({P.SHIPPED, P.AT_BORROWER})
_LOAN = frozenset({P.ON_LOAN})

# fmt: off
BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
              Behaviour(name="renew_at_the_counter", chance=0.15, where=_LOAN,                   act=renew_at_the_counter),
    Behaviour(name="renew_at_home",        chance=0.15, where=_LOAN,                   act=renew_at_home),
    Behaviour(name="bring_to_its_owner",   chance=0.02, where=_LOAN,                   act=bring_to_its_owner),
    Behaviour(name="claim",                chance=0.02, where=_LOAN,                   act=claim),
    Behaviour(name="damage",               chance=0.02, where=_LOAN,                   act=damage),
    Behaviour(name="lose",                 chance=0.02, where=_LOAN,                   act=lose),
    Behaviour(name="cancel",               chance=0.03, where=frozenset({P.REQUESTED}), act=cancel),
    Behaviour(name="recall",               chance=0.04, where=_LENT,                   act=recall),
    Behaviour(name="cancel_recall",        chance=0.20, where=_LENT,                   act=cancel_recall),
)
# fmt: on

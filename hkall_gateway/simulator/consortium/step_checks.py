"""Invariants of a simulated consortium after every step: one row each, checked for the requests that moved in the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from hkall_gateway.rules import eligibility
from hkall_gateway.rules.dates.calendar import after, civil
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.policy import quota_positions
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vocabulary import Borrower, Position, Request, Side
from hkall_gateway.simulator.consortium.actors import SimulatedCopy
from hkall_gateway.simulator.consortium.gateways import Moved
from hkall_gateway.simulator.consortium.observations import Observations

P = Position


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant: after these events, `broken` yields a text for each violation."""

    name: str
    events: frozenset[str]
    broken: Callable[[Observations, Moved], Iterator[str]]


HERE: Final = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN})
"""Positions in which the copy is at the borrowing library or with its reader."""


def in_one_place(look: Observations, moved: Moved) -> Iterator[str]:
    """A library that has just handled a copy states where it really is, and no other library claims to have it."""
    request = look.request(moved.agency, moved.move.request)
    if request is None or request.item is None or request.position not in HERE:
        return
    book = look.people.books[request.item]
    if book.holder != moved.agency or book.place not in {"desk", "reader"}:
        yield f"{request.id} says {request.position} of {book.item}, which is {book.place} {book.holder}"
    for other in look.all.worlds.keys() - {moved.agency}:
        held = look.ask(other, lambda unit: unit.requests_with(book.item.barcode, book.item.agency))
        has = any(r.side is Side.BORROWING and r.position in HERE for r in held)
        if has and not _is_yet_to_hear(look, other, book):
            yield f"{request.id} and {other} both say that they have {book.item}"


def _is_yet_to_hear(look: Observations, library: str, book: SimulatedCopy) -> bool:
    """Whether the owner's notice of return is still under way.

    The reader took the book straight to its owner, and the owner has lent it on.
    """
    waiting = look.ask(book.item.agency, lambda unit: unit.outbox.rows(partner=library))
    home = (row.payload for row in waiting if row.send is Notification.TELL_BORROWER_HOME)
    return any(isinstance(said, PartnerMessage) and said.item == book.item for said in home)


def one_lender_ships(look: Observations, moved: Moved) -> Iterator[str]:
    """A second library ships for a request only after the first one was given up for its long silence."""
    request = look.request(moved.agency, moved.move.request)
    asked = look.ask(request.partner, lambda unit: unit.request_asked(request.wire_id)) if request else None
    if request is None or asked is None:
        yield f"{moved.move.request} ships what nobody asked for"
        return
    wanted, borrower = asked[0], request.partner
    for one in look.ask(borrower, lambda unit: unit.candidates(wanted.id)):
        other = look.lent(one.agency, borrower, one.wire_id) if one.wire_id and one.agency != moved.agency else None
        if other and other.position in {P.SHIPPED, P.AT_BORROWER} and not _was_silent(look, borrower, wanted):
            yield f"{request.id} ships for {borrower} {wanted.id}, and so does {one.agency}"


def _was_silent(look: Observations, borrower: str, wanted: Request) -> bool:
    return any(event == "ASK_NEXT_AFTER_SILENCE" for _, event in look.events(borrower, wanted.id))


def went_on_with_reason(look: Observations, moved: Moved) -> Iterator[str]:
    """The next lender is asked only after the one before has refused, or cannot have received the request."""
    number = moved.move.request
    listed = look.ask(moved.agency, lambda unit: unit.candidates(number))
    asked = sorted((c for c in listed if c.wire_id), key=lambda c: int(c.wire_id.rpartition("-")[2]))
    if len(asked) > 1 and asked[-2].outcome in {"", CandidateOutcome.ACCEPTED}:
        yield f"{number} went on from {asked[-2].agency}, whose answer is {asked[-2].outcome!r}"


def quota_holds(look: Observations, moved: Moved) -> Iterator[str]:
    """No reader has more books than their category allows, nor more than their own library allows."""
    policy, card = look.all.worlds[moved.agency].start.policy, moved.move.patron
    if not card:
        return
    borrower = look.ask(moved.agency, lambda unit: unit.patron(card))
    used = look.ask(moved.agency, lambda unit: unit.quota_used(card, quota_positions(policy)))
    category = eligibility.category_of(borrower, policy) if borrower else None
    if borrower is None or category is None or used > min(category.quota, _total(borrower)):
        yield f"{card} has {used} books"


def whole_period(look: Observations, moved: Moved) -> Iterator[str]:
    """A loan has the full published period, whichever date the owner has named; so has a renewal that needed no lender's
    consent.

    Only a recall shortens it.
    """
    request = look.request(moved.agency, moved.move.request)
    if request is None or request.due is None or request.recalled_on is not None:
        return
    renewed_on = civil(request.renewed_at) if request.renewed_at else None
    began = renewed_on if moved.move.event == "RENEW" else request.first_checkout
    if began and request.due < after(began, request.loan_days):
        yield f"{request.id} is lent for {request.loan_days} days from {began}, and is due on {request.due}"


def _total(borrower: Borrower) -> int:
    return borrower.total_quota if borrower.total_quota is not None else 1_000_000


def after_refusal(_look: Observations, moved: Moved) -> Iterator[str]:
    """No command that was answered "try again" has an effect afterwards."""
    if moved.refused:
        yield f"{moved.move.request} took {moved.move.event} after its caller was told to try again"


# fmt: off
IN_HAND: Final = frozenset({"ARRIVE", "ARRIVE_UNANNOUNCED", "ARRIVE_UNWANTED", "CHECK_OUT", "RETURN", "RETURN_UNUSED",
                            "UNDO_CHECK_OUT", "UNDO_RETURN"})
"""Events at which a person has the copy in hand."""

DATED: Final = frozenset({"CHECK_OUT", "RENEW"})
"""Events at which our own rules set a reader's due date."""

ANY_STEP: Final = frozenset({event.name for event in Event} | {"OPEN"})
"""Every event of the journal that changes a request."""

EACH_STEP: Final[tuple[Invariant, ...]] = (
    Invariant("a book is in one place",            IN_HAND,                                                in_one_place),
    Invariant("one lender ships a request",        frozenset({"LEND"}),                                    one_lender_ships),
    Invariant("a lender is given up with reason",  frozenset({"ASK_NEXT"}),                                went_on_with_reason),
    Invariant("a loan has its whole period",       DATED,                                                  whole_period),
    Invariant("no step after its refusal",         ANY_STEP,                                               after_refusal),
    Invariant("quotas hold",                       frozenset({"OPEN", "UNDO_RETURN", "UNDO_CHECK_OUT"}),   quota_holds),
)
# fmt: on

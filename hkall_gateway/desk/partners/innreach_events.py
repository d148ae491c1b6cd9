"""INN-Reach: the central decides, and its events are mirrored to us. An identifier that begins with `i` is a copy elsewhere.

Requests of ours are filed under the central's item number until the copy's own barcode arrives; from then on the copy is known
by (library, barcode). No answer is sent: the central knows already. Source: NCIP reference 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.desk import counter, lending, recalls, returning
from hkall_gateway.desk.common.library import Library
from hkall_gateway.desk.messages.commands import BorrowFromUs
from hkall_gateway.desk.messages.partner_commands import MIRRORED, Errand
from hkall_gateway.desk.messages.results import Outcome, Paged
from hkall_gateway.desk.messages.staff_commands import Answered
from hkall_gateway.desk.partners import lender_notices
from hkall_gateway.desk.partners.broker_services import (
    Work,
    at_counter,
    check_in,
    heard,
    may_have_one_more,
    no,
    noted,
    place_of,
    ship,
)
from hkall_gateway.desk.partners.broker_services import named as named_by_copy
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.rules.lifecycle import FINAL, Event
from hkall_gateway.rules.vocabulary import ItemKey, Position, Reason, Request, Side
from hkall_gateway.store.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.store.unit import Unit

P = Position


def request(unit: Unit, ask: Errand, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Record a request that the central placed: for our patron, or for a copy of ours."""
    return _borrow(unit, ask, facts, library, now) if ask.number else _page(unit, ask, library, now)


def _borrow(unit: Unit, ask: Errand, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    known = borrowed_under(unit, ask.partner, ask.number)
    if known is not None and known.position not in FINAL:
        return noted(known) if known.patron == ask.card else no(unit, Reason.DUPLICATE_REQUEST, ask, now, known)
    answer = may_have_one_more(unit, ask, facts, library, now)
    if answer is not None:
        return answer
    wish = unit.open(_wish(ask, library), now, ask.by)
    return noted(unit.advance(wish, Event.ASK, now, ask.by, attempt=1))


def _wish(ask: Errand, library: Library) -> Request:
    return Request(
        id="",
        side=Side.BORROWING,
        position=P.NEW,
        kind=MIRRORED,
        title=ask.title or ask.number,
        bib_id=ask.bib_id,
        patron=ask.card,
        partner=ask.partner,
        wire_agency=ask.partner,
        wire_id=ask.number,
        placed_by=ask.partner if ask.wire_id else "",
        placed_id=ask.wire_id,
        pickup_location=place_of(ask, library),
    )


def _page(unit: Unit, ask: Errand, library: Library, now: datetime) -> Outcome:
    """Page a copy of ours. Only its barcode names the request, so the open request of the copy is meant."""
    held = held_with(unit, ask.partner, ask.barcode, library.agency)
    if held is not None and held.position not in FINAL:
        return Paged(held.id, held.wire_agency, held.wire_id, held.item or ItemKey("", ""), held.title)
    item, number = ItemKey(library.agency, ask.barcode), ask.wire_id or f"{ask.barcode}/{now:%Y%m%dT%H%M%S}"
    wish = BorrowFromUs(ask.by, ask.partner, ask.wire_agency or ask.partner, number, item=item)
    return lending.borrow_from_us(unit, replace(wish, pickup_location=ask.pickup_location), library, now)


def cancel(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Cancel a request that the central took back, for the patron or because no library will send it."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_REQUEST, ask, now)
    if found.side is Side.LENDING:
        return lending.heard(unit, heard(ask, found), Event.WITHDRAW, library, now)
    if found.position in FINAL:
        return noted(found)
    if not unit.can(found, Event.CANCEL):
        return no(unit, Reason.TOO_LATE_TO_CANCEL, ask, now, found)
    cancelling = unit.advance(found, Event.CANCEL, now, ask.by, rule="R34")
    return noted(unit.advance(cancelling, Event.CANCEL_SETTLED, now, ask.by, rule="R34"))


def shipped(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Record that a copy is on the way to us, with its barcode, or our own copy on the way home."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_REQUEST, ask, now)
    if found.side is Side.LENDING:
        return lending.heard(unit, heard(ask, found), Event.COMING_HOME, library, now)
    if unit.can(found, Event.SHIP) or unit.can(found, Event.SHIP_UNWANTED):
        return _on_its_way(unit, ask, found, now)
    return noted(found)


def _on_its_way(unit: Unit, ask: Errand, found: Request, now: datetime) -> Outcome:
    if not ask.barcode or unit.requests_with(ask.barcode, ask.partner):
        return no(unit, Reason.UNKNOWN_ITEM, ask, now, found)
    event = Event.SHIP if unit.can(found, Event.SHIP) else Event.SHIP_UNWANTED
    came: dict[str, Any] = {"item_agency": ask.partner, "item_barcode": ask.barcode, "lender_due": ask.due}
    return noted(unit.advance(found, event, now, ask.by, unwanted=event is Event.SHIP_UNWANTED, **came))


def received(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Put an arrived copy on the hold shelf with one letter, even without a shipped message."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_REQUEST, ask, now)
    if found.side is Side.LENDING:
        return lending.heard(unit, heard(ask, found), Event.BORROWER_HAS_IT, library, now)
    if unit.can(found, Event.ARRIVE_UNANNOUNCED):
        return _unannounced(unit, ask, found, library, now)
    if found.position is P.IN_TRANSIT:
        returning.arrive(unit, ask.by, found, library, now)
    return noted(found)


def _unannounced(unit: Unit, ask: Errand, found: Request, library: Library, now: datetime) -> Outcome:
    if not ask.barcode or unit.requests_with(ask.barcode, ask.partner):
        return no(unit, Reason.UNKNOWN_ITEM, ask, now, found)
    came: dict[str, Any] = {"item_agency": ask.partner, "item_barcode": ask.barcode, "unannounced": True}
    returning.arrive(unit, ask.by, found, library, now, Event.ARRIVE_UNANNOUNCED, **came)
    return noted(replace(found, item_agency=ask.partner, item_barcode=ask.barcode))


def lent(unit: Unit, ask: Errand, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Record that our patron has the book, or that our copy left.

    It has happened: an event against our rules is accepted, with the central's date, and flagged for staff.
    """
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_ITEM, ask, now)
    if found.side is Side.LENDING:
        return ship(unit, ask, found, library, now)
    told = at_counter(ask, found, library, no_block=True, happened_at=min(ask.at or now, now), due_told=ask.due)
    return counter.check_out(unit, told, facts, library, now)


def home(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Record that the lender has its copy back, or the borrower has ours."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_ITEM, ask, now)
    if found.side is Side.LENDING:
        return lending.heard(unit, heard(ask, found), Event.BORROWER_HAS_IT, library, now)
    if found.position in {P.REQUESTED, P.IN_TRANSIT} and not found.unwanted:
        return _never_sent(unit, ask, found, now)
    return lender_notices.home(unit, heard(ask, found), library, now)


def _never_sent(unit: Unit, ask: Errand, found: Request, now: datetime) -> Outcome:
    """The copy never left its library. The request stays open: the central decides whether another library is asked."""
    unit.note(found, "NEVER_SENT", {"message": ask.by.message}, now, ask.by)
    if found.position is P.IN_TRANSIT:
        nothing: dict[str, Any] = {"item_agency": "", "item_barcode": "", "lender_due": None}
        found = unit.advance(found, Event.NOT_SENT, now, ask.by, **nothing)
    return noted(found)


def renewed(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Answered:
    """Apply the owner's later date, or the borrower's renewal of our copy."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_ITEM, ask, now)
    work = lending.renewed_by_borrower if found.side is Side.LENDING else recalls.owner_renewed
    return work(unit, heard(ask, found), library, now)


def recalled(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Answered:
    """Apply the owner's recall."""
    found = named(unit, ask)
    return recalls.recalled(unit, heard(ask, found), library, now) if found else no(unit, Reason.UNKNOWN_ITEM, ask, now)


def recall_cancelled(unit: Unit, ask: Errand, _facts: BorrowerFacts, library: Library, now: datetime) -> Answered:
    """Cancel the owner's recall."""
    found = named(unit, ask)
    return recalls.recall_cancelled(unit, heard(ask, found), library, now) if found else no(unit, Reason.UNKNOWN_ITEM, ask, now)


def named(unit: Unit, ask: Errand) -> Request | None:
    """The request under the central's item number, else by the copy's own barcode or the RequestId."""
    found = borrowed_under(unit, ask.partner, ask.number)
    return found if found and found.position not in FINAL else named_by_copy(unit, ask) or found


def taken_in(unit: Unit, ask: Errand, facts: BorrowerFacts, library: Library, now: datetime) -> Answered:
    """Record the patron's return, or our own copy's arrival at home."""
    found = named(unit, ask)
    if found is None:
        return no(unit, Reason.UNKNOWN_ITEM, ask, now)
    return check_in(unit, replace(ask, barcode=found.item_barcode, agency=found.item_agency), facts, library, now)


EVENTS: Final[Mapping[str, Work]] = MappingProxyType(
    {
        "mirror_request": request,
        "mirror_cancel": cancel,
        "mirror_shipped": shipped,
        "mirror_received": received,
        "mirror_lent": lent,
        "mirror_home": home,
        "mirror_taken_in": taken_in,
        "mirror_renewed": renewed,
        "mirror_recalled": recalled,
        "mirror_recall_cancelled": recall_cancelled,
    }
)

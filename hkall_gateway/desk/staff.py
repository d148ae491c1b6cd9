"""Staff commands, one row each. The journal records each with its actor and its reason.

act(unit, Deed(by, request="R1", reason="handed in yesterday", on=…), "return", house, now)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from hkall_gateway.desk import borrowing, circulation, lender_list, lending, losses, pull_slips, recalls, renewing, returning
from hkall_gateway.desk.common.house import House
from hkall_gateway.desk.common.unannounced import Awaited
from hkall_gateway.desk.find_request import day_of, done, elsewhere, named, no
from hkall_gateway.desk.messages.commands import CheckOut, Place, Renew, RequestTitle
from hkall_gateway.desk.messages.results import Outcome, Refused
from hkall_gateway.desk.messages.staff_commands import Answered, Deed
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.returning import arrival_of, arrive_unannounced, come_back, come_home, fetched
from hkall_gateway.rules.dates import calendar
from hkall_gateway.rules.lifecycle import FINAL, HOLDS_ITEM, LENDING, Event
from hkall_gateway.rules.vocabulary import ItemKey, Position, Reason, Refusal, Request, Side
from hkall_gateway.store.unit import Unit

P = Position
Work = Callable[[Unit, Deed, Request, House, datetime], Answered]


@dataclass(frozen=True, slots=True)
class Row:
    """One staff command: its function, and whether it needs a reason."""

    work: Work
    needs_reason: bool = False


def act(unit: Unit, deed: Deed, name: str, house: House, now: datetime) -> Answered:
    """Run one command of DEEDS. A repeated command is a success again. Raises KeyError for an unknown name."""
    row = DEEDS[name]
    request = named(unit, deed)
    if isinstance(request, Refused):
        unit.refuse(Refusal(request.why), now, deed.by)
        return request
    if row.needs_reason and not deed.reason.strip():
        return no(unit, Refusal(Reason.REASON_NEEDED), deed.by, now, request)
    return row.work(unit, deed, request, house, now)


# ---- it comes


def receive(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Receive a copy, with or without its lender's shipped message; for our own copy, close the request."""
    if request.position in {P.REQUESTED, P.CANCELLING}:
        return _unannounced(unit, deed, request, house, now)
    if request.position is P.PAGED:
        return _without_a_word(unit, deed, request, house, now)
    if request.position in FINAL | {P.NEW, P.ON_LOAN}:
        return elsewhere(unit, deed, request, now)
    return arrival_of(request)(unit, deed.by, request, house, now)


def _unannounced(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Receive a copy without a shipped message; staff confirm the owner, one of the lenders asked."""
    agency = deed.agency or request.partner
    lender = next((c for c in unit.candidates(request.id) if c.agency == agency and c.wire_id), None)
    item = ItemKey(agency, deed.barcode or (lender.barcode if lender else ""))
    if lender is None or not item.barcode:
        return no(unit, Refusal(Reason.AGENCY_NOT_OWNER), deed.by, now, request)
    if unit.requests_with(item.barcode, item.agency):
        return no(unit, Refusal(Reason.UNKNOWN_ITEM), deed.by, now, request)
    return arrive_unannounced(unit, deed.by, Awaited(request, lender, item), house, now, reason=deed.reason)


def _without_a_word(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Take in our copy that left and came back without a message; needs a reason, since most paged copies have never left."""
    if not deed.reason.strip():
        return no(unit, Refusal(Reason.REASON_NEEDED), deed.by, now, request)
    return come_home(unit, deed.by, request, house, now, reason=deed.reason)


def take_back(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Take back the book, today or, with a reason, on an earlier day: the fine ends on that day (R17)."""
    if request.position in {P.TO_RETURN, P.RETURN_TRANSIT} and request.side is Side.BORROWING and request.used:
        return done(request, again=True)
    if not unit.can(request, Event.RETURN):
        return elsewhere(unit, deed, request, now)
    day = day_of(unit, deed, request, now)
    if isinstance(day, Refused):
        return day
    if day < calendar.civil(now) and not deed.reason.strip():
        return no(unit, Refusal(Reason.REASON_NEEDED), deed.by, now, request)
    return come_back(unit, deed.by, request, day, house, now, reason=deed.reason, flags=fetched(request))


def lend(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Lend the book at the counter while no terminal works, or later than a terminal would (R13, R14)."""
    if request.position is P.ON_LOAN:
        return done(request, again=True, due=request.due)
    if request.side is Side.LENDING or not unit.can(request, Event.CHECK_OUT):
        return elsewhere(unit, deed, request, now)
    item, place = request.item or ItemKey("", ""), Place("counter", request.pickup_location)
    ask = CheckOut(deed.by, place, request.patron, item.barcode, item.agency, staff=True)
    return circulation.check_out(unit, ask, BorrowerFacts(unit.patron(request.patron), "staff"), house, now)


def renew(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Renew for the patron, also an overdue loan; the fine up to today is charged (R29, R40)."""
    if not unit.can(request, Event.RENEW):
        return elsewhere(unit, deed, request, now)
    ask = Renew(deed.by, "", request.item_barcode, request.item_agency, fee_acknowledged=True, staff=True)
    return circulation.renew(unit, ask, BorrowerFacts(None, "staff"), house, now)


def return_unused(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Send the book home from the hold shelf: not collected, or not wanted (R15)."""
    if request.position in {P.TO_RETURN, P.RETURN_TRANSIT} and request.side is Side.BORROWING and not request.used:
        return done(request, again=True)
    if not unit.can(request, Event.RETURN_UNUSED):
        return elsewhere(unit, deed, request, now)
    reason = deed.reason or (returning.NOT_COLLECTED if request.expired_pickup else "not wanted")
    return done(returning.return_unused(unit, deed.by, request, reason, house, now))


def dispatch(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Dispatch the book to its owner."""
    if request.position is P.RETURN_TRANSIT:
        return done(request, again=True)
    if not unit.can(request, Event.DISPATCH):
        return elsewhere(unit, deed, request, now)
    return done(unit.advance(request, Event.DISPATCH, now, deed.by))


# ---- it is asked for


def cancel(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Cancel the patron's request; like the patron, staff cannot cancel one that is on its way (R34)."""
    if request.position in {P.CANCELLING, P.CANCELLED}:
        return done(request, again=True)
    if not unit.can(request, Event.CANCEL):
        return no(unit, Refusal(Reason.TOO_LATE_TO_CANCEL, {"position": request.position}), deed.by, now, request)
    return done(unit.advance(request, Event.CANCEL, now, deed.by, rule="R34", reason=deed.reason))


def decline(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Decline to lend our copy: not on the shelf, lent to a patron of ours, or not fit to travel (R37)."""
    event = Event.DECLINE_SHIPPED if request.position is P.SHIPPED else Event.DECLINE
    if request.position is P.DECLINED:
        return done(request, again=True)
    if not unit.can(request, event):
        return elsewhere(unit, deed, request, now)
    after = unit.advance(request, event, now, deed.by, rule="R37", reason=deed.reason)
    unit.set_status(after.item or ItemKey("", ""), pull_slips.STATUS_AFTER.get(deed.reason, "Available On Shelf"))
    return done(after)


def ship(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Ship our paged copy to the borrower."""
    if request.position is P.SHIPPED:
        return done(request, again=True, due=request.lender_due)
    if not unit.can(request, Event.LEND):
        return elsewhere(unit, deed, request, now)
    after = lending.ship(unit, request, house, now, deed.by)
    return done(after, due=after.lender_due)


def reopen(unit: Unit, deed: Deed, facts: BorrowerFacts, house: House, now: datetime) -> Outcome:
    """Place an ended request again, as a new request that names the old one; the rules decide anew."""
    old = unit.request(deed.request)
    if old is None:
        return no(unit, Refusal(Reason.UNKNOWN_REQUEST), deed.by, now)
    if old.position not in FINAL or old.side is not Side.BORROWING or not old.patron:
        return elsewhere(unit, deed, old, now)
    if not deed.reason.strip():
        return no(unit, Refusal(Reason.REASON_NEEDED), deed.by, now, old)
    unit.note(old, "REOPEN", {"because": deed.reason}, now, deed.by)
    place = old.pickup_location
    wish = RequestTitle(deed.by, old.patron, old.bib_id, old.volume, place, staff=True, reopened_from=old.id)
    return borrowing.request_title(unit, wish, facts, house, now)


def seen(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Settle a request's flags: it leaves the list of `flagged`, and the journal keeps the flags and the reason.

    A book that is not in the drop after all gets its delayed letters: that of a recall now, that of its due date tonight.
    """
    if not request.flags:
        return done(request, again=True)
    unit.note(request, "SEEN", {"flags": request.flags, "reason": deed.reason}, now, deed.by)
    after = unit.amend(request, now, deed.by, flags="", dropped_on=None)
    if request.dropped_on is not None and after.position is P.ON_LOAN and after.recalled_on is not None:
        recalls.tell_late(unit, after, now, deed.by)
    return done(after)


# ---- dates, and the way out of everything


def extend(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Extend until `deed.on` the days to collect or the loan, or, without a day, the lender's time to answer.

    A loan's due date moves without a renewal and without a fine: for a closure, or an illness.
    """
    if request.position in {P.REQUESTED, P.CANCELLING}:
        return done(unit.amend(request, now, deed.by, moved_at=now, reason=deed.reason))
    if request.position not in {P.RECEIVED, P.ON_LOAN}:
        return elsewhere(unit, deed, request, now)
    until = deed.on
    if until is None or until < _latest(request, now):
        return no(unit, Refusal(Reason.WRONG_DATE, {"on": until}), deed.by, now, request)
    held = request.position is P.RECEIVED
    facts: dict[str, Any] = {"pickup_last": until, "expired_pickup": False} if held else {"due": until}
    after = unit.amend(request, now, deed.by, "R14" if held else "", reason=deed.reason, **facts)
    return done(renewing.ask_for_later_date(unit, after, now, deed.by), due=until)


def _latest(request: Request, now: datetime) -> date:
    """The earliest date that an extension may set: neither before today nor before the date promised."""
    promised = request.pickup_last if request.position is P.RECEIVED else request.due
    return max(calendar.civil(now), promised or date.min)


def force(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Put a request into any position of its side, without a row of the transition table. No notification is sent."""
    if deed.position is None or not _fits(unit, request, deed.position):
        return elsewhere(unit, deed, request, now)
    if deed.position is request.position:
        return done(request, again=True)
    return done(unit.force(request, deed.position, now, deed.by, deed.reason))


def _fits(unit: Unit, request: Request, position: Position) -> bool:
    """Whether the position is of the request's own side, and no other request holds the copy."""
    shared = {P.RETURN_TRANSIT, P.CLOSED}
    if (position in LENDING) is not (request.side is Side.LENDING) and position not in shared:
        return False
    others = [r for r in unit.requests_with(request.item_barcode, request.item_agency) if r.id != request.id]
    return not (position in HOLDS_ITEM and request.item and others)


# fmt: off
DEEDS: dict[str, Row] = {
    "receive":       Row(receive),
    "lend":          Row(lend),
    "return":        Row(take_back),
    "renew":         Row(renew),
    "return_unused": Row(return_unused),
    "dispatch":      Row(dispatch),
    "cancel":        Row(cancel),
    "pin":           Row(lender_list.pin,              needs_reason=True),
    "skip":          Row(lender_list.skip,             needs_reason=True),
    "insert":        Row(lender_list.insert,           needs_reason=True),
    "decline":       Row(decline,                    needs_reason=True),
    "ship":          Row(ship),
    "print":         Row(pull_slips.print_slip),
    "substitute":    Row(pull_slips.substitute,          needs_reason=True),
    "recall":        Row(recalls.recall_lent),
    "cancel_recall": Row(recalls.cancel_recall_lent),
    "lost":          Row(losses.lose),
    "damaged":       Row(losses.damage),
    "claim":         Row(losses.claim),
    "settle":        Row(losses.settle,              needs_reason=True),
    "overseas":      Row(losses.allow_overseas,      needs_reason=True),
    "seen":          Row(seen,                       needs_reason=True),
    "extend":        Row(extend,                     needs_reason=True),
    "force":         Row(force,                      needs_reason=True),
}
# fmt: on

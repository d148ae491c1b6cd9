"""Staff commands, one table row each. The journal records every command with its actor and reason.

Example:
    act(Context(unit, library, now), StaffCommand(by, request="R1", reason="handed in yesterday"), "return")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from hkall_gateway.circulation import borrowing, lending, loans, recalls, returning
from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.find_request import (
    AwaitedCopy,
    StaffCommand,
    day_of,
    find_named_request,
    refuse_position,
    staff_result,
)
from hkall_gateway.circulation.fines import Paid, Pay, pay
from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import CheckedOut, Done, Refused, Renewed
from hkall_gateway.circulation.returning import (
    CheckedIn,
    arrival_of,
    arrive_unannounced,
    come_back,
    come_home,
    flags_when_found,
)
from hkall_gateway.circulation.staff import lender_list, losses
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.lender_reasons import status_after_decline
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.positions import FINAL, GOING_HOME, HOLDS_ITEM, LENDING, PATRON_CANCELLED
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey, Position, Refusal, Request, RequestChange, Side

Acted = Done | CheckedIn | CheckedOut | Renewed
"""The results of staff commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act(StaffCommand, Command[None, Acted]):
    """One command of STAFF_ACTIONS, such as receive, return, dispatch, lost.

    Attributes:
        card: Card of the patron who pays what the command charges, or "" if nothing is paid now.
        transaction_id: Identifies this payment.
    """

    action: str = ""
    card: str = ""
    transaction_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen(StaffCommand, Command[BorrowerFacts, Requested]):
    """Place an ended request again as a new request. `request` is the old request's number.

    The registry fills in `card` and `bib_id`.
    """

    card: str = ""
    bib_id: str = ""


P = Position
Work = Callable[[Context, StaffCommand, Request], Acted | Refused]


@dataclass(frozen=True, slots=True)
class StaffAction:
    """A row of STAFF_ACTIONS: the function of a command, and whether it needs a reason."""

    work: Work
    needs_reason: bool = False


def act(context: Context, command: StaffCommand, name: str) -> Acted | Refused:
    """Run a command of STAFF_ACTIONS. A repetition succeeds again. Raises KeyError for an unknown name."""
    row = STAFF_ACTIONS[name]
    request = find_named_request(context.unit, command)
    if isinstance(request, Refused):
        context.unit.refuse(Refusal(request.why), context.now, command.by)
        return request
    if row.needs_reason and not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by, request)
    return row.work(context, command, request)


def act_and_pay(context: Context, command: Act) -> Acted | Refused:
    """Run a command, and take a payment of what it charges."""
    result = act(context, command, command.action)
    if command.card and isinstance(result, Done) and result.cents:
        transaction_id = f"{command.transaction_id} {result.cents}"  # a price that is named later is another payment
        paid = pay(
            context,
            Pay(by=command.by, card=command.card, cents=result.cents, transaction_id=transaction_id, about=result.request),
        )
        assert isinstance(paid, Paid), paid
    return result


def receive(context: Context, command: StaffCommand, request: Request) -> CheckedIn | Refused:
    """Receive a copy with or without its lender's shipped message. For our own copy, close the request."""
    if request.position in {P.REQUESTED, P.CANCELLING}:
        return _receive_unannounced(context, command, request)
    if request.position is P.PAGED:
        # A reason is required, because most paged copies have never left.
        if not command.reason.strip():
            return context.refuse(Reason.REASON_NEEDED, command.by, request)
        return come_home(context, command.by, request, reason=command.reason)
    if request.position in FINAL | {P.NEW, P.ON_LOAN}:
        return refuse_position(context, command, request)
    return arrival_of(request)(context, command.by, request)


def _receive_unannounced(context: Context, command: StaffCommand, request: Request) -> CheckedIn | Refused:
    """Receive a copy without a shipped message. Staff confirm which of the asked lenders owns it."""
    agency = command.agency or request.partner
    lender = next((c for c in context.unit.candidates.of_request(request.id) if c.agency == agency and c.wire_id), None)
    item = ItemKey(agency, command.barcode or (lender.barcode if lender else ""))
    if lender is None or not item.barcode:
        return context.refuse(Reason.AGENCY_NOT_OWNER, command.by, request)
    if context.unit.requests.open_with_item(item.barcode, item.agency):
        return context.refuse(Reason.UNKNOWN_ITEM, command.by, request)
    return arrive_unannounced(context, command.by, AwaitedCopy(request, lender, item), reason=command.reason)


def take_back(context: Context, command: StaffCommand, request: Request) -> CheckedIn | Done | Refused:
    """Take back the book, today or, with a reason, on an earlier day. The fine ends on that day (R17)."""
    if request.position in GOING_HOME and request.side is Side.BORROWING and request.used:
        return staff_result(request, again=True)
    if not context.unit.can(request, Event.RETURN):
        return refuse_position(context, command, request)
    day = day_of(context, command, request)
    if isinstance(day, Refused):
        return day
    if day < dates.civil(context.now) and not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by, request)
    return come_back(context, command.by, request, day, reason=command.reason, flags=flags_when_found(request))


def lend(context: Context, command: StaffCommand, request: Request) -> CheckedOut | Done | Refused:
    """Lend the book at the counter if no terminal works, or if the book is too late for a terminal (R13, R14)."""
    if request.position is P.ON_LOAN:
        return staff_result(request, again=True, due=request.due)
    if request.side is Side.LENDING or not context.unit.can(request, Event.CHECK_OUT):
        return refuse_position(context, command, request)
    item, place = request.item or ItemKey("", ""), Place(role="counter", location=request.pickup_location)
    ask = CheckOut(by=command.by, place=place, card=request.patron, barcode=item.barcode, agency=item.agency, staff=True)
    return loans.check_out(context, ask, BorrowerFacts(borrower=context.unit.patrons.find(request.patron), source="staff"))


def renew(context: Context, command: StaffCommand, request: Request) -> Renewed | Refused:
    """Renew for the patron, even an overdue loan. The fine until today is charged (R29, R40)."""
    if not context.unit.can(request, Event.RENEW):
        return refuse_position(context, command, request)
    ask = Renew(
        by=command.by, card="", barcode=request.item_barcode, agency=request.item_agency, fee_acknowledged=True, staff=True
    )
    return loans.renew(context, ask, BorrowerFacts(borrower=None, source="staff"))


def return_unused(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Send an uncollected or unwanted book from the hold shelf back to its owner (R15)."""
    if request.position in GOING_HOME and request.side is Side.BORROWING and not request.used:
        return staff_result(request, again=True)
    if not context.unit.can(request, Event.RETURN_UNUSED):
        return refuse_position(context, command, request)
    reason = command.reason or (returning.NOT_COLLECTED if request.expired_pickup else "not wanted")
    return staff_result(returning.return_unused(context, command.by, request, reason))


def dispatch(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Dispatch the book to its owner."""
    if request.position is P.RETURN_TRANSIT:
        return staff_result(request, again=True)
    if not context.unit.can(request, Event.DISPATCH):
        return refuse_position(context, command, request)
    return staff_result(context.unit.advance(request, Event.DISPATCH, context.now, command.by))


def cancel(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Cancel the patron's request. Like the patron, staff cannot cancel a request in transit (R34)."""
    if request.position in PATRON_CANCELLED:
        return staff_result(request, again=True)
    if not context.unit.can(request, Event.CANCEL):
        return context.refuse(Refusal(Reason.TOO_LATE_TO_CANCEL, detail={"position": request.position}), command.by, request)
    return staff_result(context.unit.advance(request, Event.CANCEL, context.now, command.by, rule="R34", reason=command.reason))


def decline(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Decline to lend our copy, because it is not on the shelf, lent to our own patron, or unfit to travel (R37)."""
    event = Event.DECLINE_SHIPPED if request.position is P.SHIPPED else Event.DECLINE
    if request.position is P.DECLINED:
        return staff_result(request, again=True)
    if not context.unit.can(request, event):
        return refuse_position(context, command, request)
    after = context.unit.advance(request, event, context.now, command.by, rule="R37", reason=command.reason)
    context.unit.holdings.set_status(after.item or ItemKey("", ""), status_after_decline(command.reason))
    return staff_result(after)


def ship(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Ship our paged copy to the borrower."""
    if request.position is P.SHIPPED:
        return staff_result(request, again=True, due=request.lender_due)
    if not context.unit.can(request, Event.LEND):
        return refuse_position(context, command, request)
    after = lending.ship(context, request, command.by)
    return staff_result(after, due=after.lender_due)


def reopen(context: Context, command: Reopen, facts: BorrowerFacts) -> Requested | Refused:
    """Place an ended request again, as a new request that refers to the old request. All rules are applied anew."""
    old = context.unit.requests.find(command.request)
    if old is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    if old.position not in FINAL or old.side is not Side.BORROWING or not old.patron:
        return refuse_position(context, command, old)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by, old)
    context.unit.note(old, "REOPEN", {"because": command.reason}, context.now, command.by)
    place = old.pickup_location
    wanted = RequestTitle(
        by=command.by,
        patron=old.patron,
        bib_id=old.bib_id,
        volume=old.volume,
        pickup_location=place,
        staff=True,
        reopened_from=old.id,
    )
    return borrowing.request_title(context, wanted, facts)


def settle_flags(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Clear a request's flags, which removes it from the list `flagged`. The journal keeps the flags and the reason.

    If a flag says that the book is in the drop, the withheld letters follow: the recall letter now, the overdue letter tonight.
    """
    if not request.flags:
        return staff_result(request, again=True)
    context.unit.note(request, "SEEN", {"flags": request.flags, "reason": command.reason}, context.now, command.by)
    after = context.unit.amend(request, context.now, command.by, flags="", dropped_on=None)
    if request.dropped_on is not None and after.position is P.ON_LOAN and after.recalled_on is not None:
        recalls.send_delayed_letter(context, after, command.by)
    return staff_result(after)


def extend(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Extend the pickup period or the loan until `command.on`, or restart the lender's time to answer.

    A loan's due date moves without a renewal and without a fine, for instance because of a closure or an illness.
    """
    if request.position in {P.REQUESTED, P.CANCELLING}:
        return staff_result(context.unit.amend(request, context.now, command.by, moved_at=context.now, reason=command.reason))
    if request.position not in {P.RECEIVED, P.ON_LOAN}:
        return refuse_position(context, command, request)
    until = command.on
    # The new date must be neither before today nor before the date that was promised.
    promised = request.pickup_last if request.position is P.RECEIVED else request.due
    if until is None or until < max(dates.civil(context.now), promised or date.min):
        return context.refuse(Refusal(Reason.WRONG_DATE, detail={"on": until}), command.by, request)
    held = request.position is P.RECEIVED
    facts: RequestChange = {"pickup_last": until, "expired_pickup": False} if held else {"due": until}
    facts["reason"] = command.reason
    after = context.unit.amend(request, context.now, command.by, "R14" if held else "", **facts)
    return staff_result(recalls.ask_for_later_date(context, after, command.by), due=until)


def force(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Put a request into any position of its side, bypassing the life cycle. Send no notifications.

    If it stands there already, the journal says that staff have found it there. This settles a contradiction between the
    journal and the request.
    """
    if command.position is request.position:
        is_repeated = context.unit.journal.last_event(request.id) == Event.FORCE.name
        if not is_repeated:
            context.unit.note(request, Event.FORCE.name, {"reason": command.reason}, context.now, command.by)
        return staff_result(request, again=is_repeated)
    if command.position is None or not _is_possible_position(context.unit, request, command.position):
        return refuse_position(context, command, request)
    return staff_result(context.unit.force(request, command.position, context.now, command.by, command.reason))


def _is_possible_position(unit: UnitOfWork, request: Request, position: Position) -> bool:
    """Check whether the position belongs to the request's side, and no other request holds the copy."""
    shared = {P.RETURN_TRANSIT, P.CLOSED}
    if (position in LENDING) is not (request.side is Side.LENDING) and position not in shared:
        return False
    others = [r for r in unit.requests.open_with_item(request.item_barcode, request.item_agency) if r.id != request.id]
    return not (position in HOLDS_ITEM and request.item and others)


# fmt: off
STAFF_ACTIONS: dict[str, StaffAction] = {
    "receive":       StaffAction(receive),
    "lend":          StaffAction(lend),
    "return":        StaffAction(take_back),
    "renew":         StaffAction(renew),
    "return_unused": StaffAction(return_unused),
    "dispatch":      StaffAction(dispatch),
    "cancel":        StaffAction(cancel),
    "pin":           StaffAction(lender_list.pin,         needs_reason=True),
    "skip":          StaffAction(lender_list.skip,        needs_reason=True),
    "insert":        StaffAction(lender_list.insert,      needs_reason=True),
    "decline":       StaffAction(decline,                 needs_reason=True),
    "ship":          StaffAction(ship),
    "print":         StaffAction(lender_list.print_slip),
    "substitute":    StaffAction(lender_list.substitute,  needs_reason=True),
    "recall":        StaffAction(recalls.recall_lent),
    "cancel_recall": StaffAction(recalls.cancel_recall_lent),
    "lost":          StaffAction(losses.lose),
    "damaged":       StaffAction(losses.damage),
    "claim":         StaffAction(losses.claim),
    "settle":        StaffAction(losses.settle,           needs_reason=True),
    "overseas":      StaffAction(losses.allow_overseas,   needs_reason=True),
    "seen":          StaffAction(settle_flags,            needs_reason=True),
    "extend":        StaffAction(extend,                  needs_reason=True),
    "force":         StaffAction(force,                   needs_reason=True),
}
# fmt: on

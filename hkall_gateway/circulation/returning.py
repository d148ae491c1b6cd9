"""Check-in: a copy arrives from its lender, is returned by the patron, or is our own and comes home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Unpack

from hkall_gateway.circulation.borrowers import closed_days, waited_too_long
from hkall_gateway.circulation.choosing import release_rivals
from hkall_gateway.circulation.command import Command, Context, flagged, unflagged
from hkall_gateway.circulation.find_request import (
    AwaitedCopy,
    find_awaited_copy,
    find_open_request,
    find_owner_elsewhere,
    flag_another_book,
)
from hkall_gateway.circulation.fines import fix_fine, paid_for_loss_cents, pay_back
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.requests_by_partner_id import find_unfilled
from hkall_gateway.rules import dates, policy
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.positions import ASKED_FOR, GOING_HOME
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestChange,
    Side,
)


class Arrival(StrEnum):
    """The effect of a check-in. HOME: Our own copy is back. AGAIN: The copy had already been checked in."""

    RECEIVED = "received"
    AGAIN = "again"
    RETURNED = "returned"
    UNWANTED = "unwanted"
    UNCOLLECTED = "uncollected"
    PAGED = "paged"
    HOME = "home"
    UNDONE = "undone"


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedIn:
    """Result: the copy is checked in.

    `destination` tells where the copy goes next, `fine_cents` is the fine added by this return, and `recalled` marks a recall.
    `was_lost` marks a book that had been declared lost, `paid_cents` is what the patron had paid for it, and `refund_cents` the
    part of it that we owe the patron now (R45). `another_book` marks an arrival that is not what the patron asked for (R8).
    """

    request: str
    item: ItemKey
    title: str
    what: Arrival
    card: str = ""
    destination: str = ""
    held_for: str = ""
    fine_cents: int = 0
    alert: bool = False
    conflict: str = ""
    recalled: bool = False
    was_lost: bool = False
    paid_cents: int = 0
    refund_cents: int = 0
    another_book: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn(Command[None, CheckedIn]):
    """Check in a copy at a place, or, with `undo`, take back a check-in that the terminal could not finish.

    `happened_at` is the time that the terminal reports for offline work. `card` restricts `undo` to this patron's loan.
    """

    by: Actor
    place: Place
    barcode: str
    agency: str = ""
    no_block: bool = False
    happened_at: datetime | None = None
    undo: bool = False
    card: str = ""


P = Position
NOT_COLLECTED = "not collected"
REPEATED = timedelta(minutes=15)
"""Time during which another scan of our returned copy counts as a repetition. Later scans go to the local system."""


def check_in(context: Context, command: CheckIn) -> CheckedIn | Refused:
    """Check in a copy at this terminal. The effect depends on the position of its request (R12, R16, R17)."""
    found = find_open_request(context.unit, command.barcode, command.agency)
    if isinstance(found, Refused):
        return context.refuse(found.why, command.by)
    if found is None:
        return _check_in_unannounced(context, command)
    answer = policy.may_return(command.place, context.library.policy, context.library.pickup_locations)
    if isinstance(answer, Refusal) and (command.undo or not command.no_block):
        return _refuse(context, answer, command, _note_in_drop(context, command, found, answer.why))
    if command.undo:
        return _undo_return(context, command, found)
    if _may_be_ours(context, command, found):
        return _refuse(context, Reason.AMBIGUOUS_ITEM, command, found)
    if isinstance(answer, Refusal):  # the return has already happened offline: accept it, and flag it for staff
        seen = context.unit.amend(found, context.now, command.by, flags=flagged(found, StaffFlag.offline(answer.why)))
        return replace(_take_in(context, command, seen), conflict=answer.why.value, alert=True)
    flag = str(answer.facts.get("flag", ""))
    flags = flagged(found, flag) if flag else flags_when_found(found)
    return _take_in(
        context,
        command,
        (found if flags == found.flags else context.unit.amend(found, context.now, command.by, "R17", flags=flags)),
    )


def _may_be_ours(context: Context, command: CheckIn, request: Request) -> bool:
    """Check whether a lender announced a barcode that a book of our own has, so that a bare scan may mean either."""
    if request.position is not P.IN_TRANSIT or StaffFlag.CONTRADICTED not in request.flags.split() or command.agency:
        return False
    return context.unit.holdings.find(ItemKey(context.library.agency, command.barcode)) is not None


def _note_in_drop(context: Context, command: CheckIn, request: Request, why: Reason) -> Request:
    """Record that a book was put into the drop today. The book is listed for staff until the counter checks it in (R17)."""
    if why is not Reason.NOT_IN_BOOK_DROP or request.position is not P.ON_LOAN or request.dropped_on is not None:
        return request
    flags = flagged(request, StaffFlag.IN_BOOK_DROP)
    return context.unit.amend(request, context.now, command.by, "R17", flags=flags, dropped_on=dates.civil(context.now))


def _check_in_unannounced(context: Context, command: CheckIn) -> CheckedIn | Refused:
    """Check in a copy without a shipped message, if exactly one request waits for it."""
    coming = (
        Reason.UNKNOWN_ITEM
        if command.undo
        else find_awaited_copy(context.unit, command.barcode, command.agency, context.library)
    )
    if coming is Reason.UNKNOWN_ITEM and not command.undo:
        return _repeat_home(context, command) or _offer_after_all(context, command) or _refuse_unawaited(context, command)
    if isinstance(coming, Reason):
        return _refuse(context, coming, command, None)
    answer = policy.may_return(command.place, context.library.policy, context.library.pickup_locations)
    if isinstance(answer, Refusal):
        return _refuse(context, answer, command, coming.request)
    return arrive_unannounced(context, command.by, coming)


def _repeat_home(context: Context, command: CheckIn) -> CheckedIn | None:
    """Answer a repeated scan of our own copy, which has just come home, with the same success.

    The request is already closed, unlike the request of a borrowed book. Terminals repeat a message if they got no answer. For
    an offline scan, the time of the scan counts, not the time at which it arrives here.
    """
    last = context.unit.requests.last_with_item(ItemKey(context.library.agency, command.barcode))
    if last is None or last.position is not P.CLOSED or command.agency not in {"", context.library.agency}:
        return None
    came_at = context.unit.journal.last_noted(last.id, Event.CHECK_IN_HOME.name)
    scanned_at = command.happened_at or context.now
    return checked_in_result(last, Arrival.HOME) if came_at is not None and scanned_at - came_at <= REPEATED else None


def _offer_after_all(context: Context, command: CheckIn) -> CheckedIn | Refused | None:
    """Receive a copy that its lender announced and then said it had never sent, for the reader who asked for it.

    Their request has ended, so the copy gets a request of its own.
    """
    asked = find_unfilled(context.unit, command.barcode, command.agency)
    if asked is None or context.unit.holdings.find(ItemKey(context.library.agency, command.barcode)) is not None:
        return None
    ended, lender = asked
    was_announced = context.unit.journal.last_noted(ended.id, Event.SHIP.name) is not None
    if not was_announced or not ended.patron:
        return None
    answer = policy.may_return(command.place, context.library.policy, context.library.pickup_locations)
    if isinstance(answer, Refusal):
        return _refuse(context, answer, command, ended)
    request = context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            title=ended.title,
            linked_title=ended.linked_title,
            bib_id=ended.bib_id,
            volume=ended.volume,
            patron=ended.patron,
            partner=lender.agency,
            wire_agency=context.library.agency,
            wire_id=lender.wire_id,
            item_agency=lender.agency,
            item_barcode=command.barcode,
            pickup_location=ended.pickup_location,
            reopened_from=ended.id,
        ),
        context.now,
        command.by,
    )
    return arrive(context, command.by, request)


def _refuse_unawaited(context: Context, command: CheckIn) -> Refused:
    """Refuse a copy for which no request waits. Name the owner of a partner's copy, so that staff can send the copy there."""
    theirs = find_owner_elsewhere(context.unit, command.barcode, command.agency, context.library)
    if theirs is None:
        return _refuse(context, Reason.UNKNOWN_ITEM, command, None)
    refusal = Refusal(Reason.BELONGS_ELSEWHERE, detail={"owner": " / ".join(theirs.owners)})
    no = _refuse(context, refusal, command, theirs.request)
    owner = theirs.owners[0] if len(theirs.owners) == 1 else ""
    return replace(no, title=theirs.title, item=ItemKey(owner, command.barcode))


def _take_in(context: Context, command: CheckIn, found: Request) -> CheckedIn:
    if found.position is P.ON_LOAN and command.no_block and command.happened_at:
        return come_back(context, command.by, found, dates.civil(command.happened_at))
    if found.position is P.RECEIVED and command.no_block:  # the offline terminal could not tell staff to send the book back
        return _check_in_again(context, command.by, found)
    return arrival_of(found)(context, command.by, found)


def flags_when_found(request: Request) -> str:
    """Return a request's flags without the flags for a lost book and for a book in the drop, because the book was found."""
    return unflagged(request, StaffFlag.IN_BOOK_DROP, StaffFlag.NO_PRICE_LOST)


def arrival_of(request: Request) -> Callable[[Context, Actor, Request], CheckedIn]:
    """Return the function that checks in the copy, by the request's side and position."""
    if request.side is Side.LENDING and request.position is P.RETURN_TRANSIT:
        return come_home
    return _ARRIVALS.get(request.position, _check_in_again)


def _refuse(context: Context, why: Refusal | Reason, command: CheckIn, request: Request | None) -> Refused:
    no = context.refuse(why, command.by, request)
    return replace(no, item=request.item if request else ItemKey("", command.barcode))


def _undo_return(context: Context, command: CheckIn, request: Request) -> CheckedIn | Refused:
    """Undo an unfinished return: put the copy on loan again. A repetition succeeds."""
    if command.card and request.patron != command.card:
        return _refuse(context, Reason.NOT_REQUESTER, command, request)
    if context.unit.can(request, Event.UNDO_RETURN) and request.used:
        after = context.unit.advance(request, Event.UNDO_RETURN, context.now, command.by, returned_on=None)
        return checked_in_result(after, Arrival.UNDONE)
    if request.position is P.ON_LOAN:
        return checked_in_result(request, Arrival.UNDONE)
    return _refuse(context, Reason.WRONG_POSITION, command, request)


def arrive(
    context: Context, by: Actor, request: Request, event: Event = Event.ARRIVE, **came: Unpack[RequestChange]
) -> CheckedIn:
    """Receive a copy from its lender: put it on the hold shelf with one letter, or send it back if it is unwanted.

    A copy that was recalled on the way is sent back too if the policy says so (R24). `came` contains request fields learnt on
    arrival, for a copy without a shipped message.
    """
    recalled = request.recalled_on is not None and context.library.policy.recall.before_pickup == "return"
    today = dates.civil(context.now)
    came["received_on"] = today
    if context.unit.can(request, Event.ARRIVE_UNWANTED) and (request.unwanted or recalled or request.position is P.CANCELLING):
        came["unwanted"] = True
        return checked_in_result(
            context.unit.advance(request, Event.ARRIVE_UNWANTED, context.now, by, **came), Arrival.UNWANTED, alert=True
        )
    came["pickup_last"] = policy.pickup_last(today, context.library.policy, closed_days(context))
    after = context.unit.advance(request, event, context.now, by, rule="R12", **came)
    return checked_in_result(flag_another_book(context, after, by), Arrival.RECEIVED, alert=True)


def arrive_unannounced(context: Context, by: Actor, coming: AwaitedCopy, **facts: Unpack[RequestChange]) -> CheckedIn:
    """Receive a copy that a lender sent without a message. If another lender was asked meanwhile, cancel at that lender."""
    request, lender = coming.request, coming.lender
    if lender.wire_id != request.wire_id and request.position is P.REQUESTED:
        context.unit.enqueue(Notification.CANCEL_AT_LENDER, request, context.now, by)
    came: RequestChange = {"item_agency": coming.item.agency, "item_barcode": coming.item.barcode, "unannounced": True}
    came |= {"partner": lender.agency, "wire_agency": context.library.agency, "wire_id": lender.wire_id, **facts}
    taken_in = arrive(context, by, request, Event.ARRIVE_UNANNOUNCED, **came)
    release_rivals(context, coming.item, request.id, by)
    return taken_in


def come_back(context: Context, by: Actor, request: Request, day: date, **facts: Unpack[RequestChange]) -> CheckedIn:
    """Take back the book from the patron on `day`: charge the fine, clear a loss or claim, and begin the return.

    The book is dispatched at once, unless the policy requires a staff command for that.
    """
    cents = fix_fine(context, request, day, by)
    paid_cents = paid_for_loss_cents(context, request)
    refund_cents = pay_back(context, request, day, by)
    found: RequestChange = {"returned_on": day, "claimed_on": None, "lost_on": None, "dropped_on": None}
    found |= {"flags": unflagged(request, StaffFlag.NO_PRICE_LOST), **facts}
    after = context.unit.advance(request, Event.RETURN, context.now, by, rule="R16", **found)
    taken = checked_in_result(go_home(context, by, after), Arrival.RETURNED, cents=cents, alert=True)
    return replace(taken, was_lost=request.lost_on is not None, paid_cents=paid_cents, refund_cents=refund_cents)


def go_home(context: Context, by: Actor, request: Request) -> Request:
    """Dispatch the book and notify its owner at once, unless the policy leaves the dispatch to staff (R16)."""
    at_once = context.library.policy.return_.announce == "at_checkin"
    return context.unit.advance(request, Event.DISPATCH, context.now, by) if at_once else request


def come_home(context: Context, by: Actor, request: Request, **facts: Unpack[RequestChange]) -> CheckedIn:
    """Check in our own copy, even if messages about its return were missed."""
    skipped = "" if request.position is P.RETURN_TRANSIT else request.position.value
    facts |= {"skipped": skipped, "returned_on": dates.civil(context.now)}
    after = context.unit.advance(request, Event.CHECK_IN_HOME, context.now, by, **facts)
    context.unit.holdings.set_status(after.item or ItemKey("", ""), "Available On Shelf")
    return checked_in_result(after, Arrival.HOME, alert=bool(skipped))


def return_unused(context: Context, by: Actor, request: Request, reason: str) -> Request:
    """Send an uncollected or unwanted book from the hold shelf back to its owner (R15)."""
    return go_home(context, by, context.unit.advance(request, Event.RETURN_UNUSED, context.now, by, rule="R15", reason=reason))


def _on_hold_shelf(context: Context, by: Actor, request: Request) -> CheckedIn:
    """Keep the book on the hold shelf until its pickup deadline. After that, a check-in sends it back."""
    if not waited_too_long(context, request):
        return _check_in_again(context, by, request)
    return checked_in_result(return_unused(context, by, request, NOT_COLLECTED), Arrival.UNCOLLECTED, alert=True)


def _check_in_again(_context: Context, _by: Actor, request: Request) -> CheckedIn:
    """Answer a repeated scan with the same success and no second notification."""
    return checked_in_result(request, Arrival.AGAIN, alert=request.position is P.RECEIVED)


_ARRIVALS: dict[Position, Callable[[Context, Actor, Request], CheckedIn]] = {
    P.IN_TRANSIT: arrive,
    P.RECEIVED: _on_hold_shelf,
    P.ON_LOAN: lambda context, by, request: come_back(context, by, request, dates.civil(context.now)),
    P.TO_RETURN: _check_in_again,
    P.RETURN_TRANSIT: _check_in_again,  # of a copy that we borrowed
    # A paged copy is sent out by checking it out to the borrowing library's card.
    P.PAGED: lambda _context, _by, request: checked_in_result(request, Arrival.PAGED, alert=True),
    P.SHIPPED: come_home,
    P.AT_BORROWER: come_home,
}


def checked_in_result(request: Request, what: Arrival, *, cents: int = 0, alert: bool = False) -> CheckedIn:
    """Create the result for a checked-in copy."""
    going_on = request.position in GOING_HOME | ASKED_FOR
    return CheckedIn(
        request=request.id,
        item=request.item or ItemKey("", ""),
        title=request.full_title,
        what=what,
        card=request.patron,
        destination=request.partner if going_on else request.pickup_location,
        held_for=request.patron if request.position is P.RECEIVED else "",
        fine_cents=cents,
        alert=alert,
        recalled=request.recalled_on is not None,
        another_book=StaffFlag.ANOTHER_BOOK in request.flags.split() and request.position is P.RECEIVED,
    )

"""Commands of a broker that uses us as the local system of a borrower or a lender, one table row each.

(broker, barcode) identifies a book, because brokers assign temporary barcodes. No partner is notified: the broker caused the
event, and its workflow has no documents for our answers. Source: NCIP reference 6.3 (crosslink, ReShare), 6.4 (Relais).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation import lending, loans
from hkall_gateway.circulation.borrowers import counts, patron_blocks
from hkall_gateway.circulation.command import Command, Context, Library, refused
from hkall_gateway.circulation.lending import Paged
from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.partner_notice import BROKERED, PartnerNotice, hold_notice, is_too_far
from hkall_gateway.circulation.partners import lender_notices
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Noted, Refused, Renewed, noted_result
from hkall_gateway.circulation.returning import Arrival, CheckedIn, arrival_of, checked_in_result
from hkall_gateway.db.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import eligibility, policy
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Refusal, Request, Side

Brokered = Noted | CheckedIn | CheckedOut | Renewed | Recalled | Paged
"""The results of a broker's commands and of mirrored events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerCommand(Command[BorrowerFacts, Brokered]):
    """One command of a broker, or one event mirrored by a central.

    Attributes:
        partner: The broker or central.
        wire_agency: AgencyId of the RequestId, whose value is `wire_id`. Alternatively, `number` or the copy names the request.
        number: The other system's own number for a copy that has no barcode yet.
        barcode: Barcode of the copy, with its owner `agency` if known.
        judged: Same as in PartnerNotice.
        service: Key of the row in BROKER_COMMANDS or EVENTS.
    """

    by: Actor
    partner: str
    card: str = ""
    wire_agency: str = ""
    wire_id: str = ""
    number: str = ""
    barcode: str = ""
    agency: str = ""
    title: str = ""
    bib_id: str = ""
    pickup_location: str = ""
    at: datetime | None = None
    due: date | None = None
    judged: bool = False
    service: str = ""


P = Position
Work = Callable[[Context, BrokerCommand, BorrowerFacts], Brokered | Refused]
FindRequest = Callable[[UnitOfWork, BrokerCommand], Request | None]


def about_request(
    work: Callable[[Context, BrokerCommand, BorrowerFacts, Request], Brokered | Refused],
    find: FindRequest,
    missing: Reason = Reason.UNKNOWN_ITEM,
) -> Work:
    """Create a handler that finds the request with `find` first. If there is no such request, refuse with `missing`."""

    def handle(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Brokered | Refused:
        found = find(context.unit, command)
        if found is None:
            return refuse(context, missing, command)
        other = _request_of_number(context.unit, command, found)
        if other is not None and not command.judged:
            return hold_notice(context, as_notice(command, found), found, of=other.id)
        return work(context, command, facts, found)

    return handle


def find_request(unit: UnitOfWork, command: BrokerCommand) -> Request | None:
    """Find the request that a command refers to, whether we borrow or lend: by its copy, else by its RequestId."""
    found = held_with(unit, command.partner, command.barcode, command.agency) or held_with(
        unit, command.partner, command.barcode
    )
    if found or not command.wire_id:
        return found
    lent = unit.requests.find_lent(command.wire_agency or command.partner, command.wire_id)
    return lent if lent and lent.partner == command.partner else borrowed_under(unit, command.partner, command.wire_id)


def _request_of_number(unit: UnitOfWork, command: BrokerCommand, request: Request) -> Request | None:
    """Find a different open request under the command's RequestId, although the command's copy is that of `request`.

    One RequestId may cover several volumes, each with a request of its own.
    """
    if not command.wire_id or not command.barcode or request.wire_id == command.wire_id:
        return None
    named = unit.requests.find_lent(command.wire_agency or command.partner, command.wire_id)
    if named is None:
        named = borrowed_under(unit, command.partner, command.wire_id)
    if named is None or named.partner != command.partner or named.position in FINAL:
        return None
    return named


def _held_elsewhere(context: Context, command: BrokerCommand, known: Request | None = None) -> Refused | None:
    """Refuse a book that we have for another request, and flag that request. Our own scan outweighs a broker's message.

    `known` is the request that the command is about, or None if there is none yet.
    """
    owner = owner_of(command, context.library)
    for request in context.unit.requests.open_with_item(command.barcode, owner):
        if known is not None and request.id == known.id:
            continue
        notice = replace(as_notice(command), item=ItemKey(owner, command.barcode))
        return hold_notice(context, notice, request, of=request.id)
    return None


def owner_of(command: BrokerCommand, library: Library) -> str:
    """Return the library that owns the broker's book: the agency that the broker names, else the broker itself."""
    return command.agency if command.agency not in {"", library.agency} else command.partner


def _find_borrowed(unit: UnitOfWork, command: BrokerCommand) -> Request | None:
    """Find our request for the broker's barcode. The RequestId is ignored, because it may cover several volumes."""
    found = held_with(unit, command.partner, command.barcode, command.agency or command.partner) or held_with(
        unit, command.partner, command.barcode
    )
    return found if found and found.side is Side.BORROWING else None


def accept(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Noted | Refused:
    """Put the book on the hold shelf for our patron and send one letter. A repetition succeeds without another letter.

    The patron must be allowed to use the service and have quota for one more book (R2, R20, R21). If the broker names an
    unknown pickup location, the book waits at our first pickup location, where it was scanned.
    """
    known = _find_same_or_open(context.unit, command)
    if known is not None and known.patron:
        same = (known.patron, known.wire_id) == (command.card, command.wire_id)
        return noted_result(known, again=True) if same else refuse(context, Reason.WRONG_POSITION, command, known)
    answer = _held_elsewhere(context, command, known) or may_have_one_more(context, command, facts)
    if answer is not None:
        return answer
    waiting = _name_patron(context, known, command) if known else open_brokered(context, command)
    if waiting.position is P.RECEIVED:  # scanned at our counter before the broker named the patron
        context.unit.enqueue(Notification.LETTER_PICKUP, waiting, context.now, command.by)
    else:
        arrival_of(waiting)(context, command.by, waiting)
    return noted_result(context.unit.requests.find(waiting.id) or waiting)


def _find_same_or_open(unit: UnitOfWork, command: BrokerCommand) -> Request | None:
    """Find the request that holds the copy, or has held it under this RequestId. A broker may reuse a barcode."""
    known = _find_borrowed(unit, command)
    return None if known and known.position in FINAL and known.wire_id != command.wire_id else known


def may_have_one_more(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Refused | None:
    """Return the refusal if this patron may not have one more book, else None."""
    borrower = facts.borrower
    if borrower is None:
        return refuse(context, facts.stranger, command)
    answer = eligibility.may_use(borrower, context.library.policy, context.now, patron_blocks(context, borrower.barcode))
    room = answer if isinstance(answer, Refusal) else policy.quota(borrower, counts(context, borrower), context.library.policy)
    if not isinstance(room, Refusal):
        return None
    context.unit.refuse(room, context.now, command.by, patron=command.card)
    return refused(room, borrower.language)


def open_brokered(context: Context, command: BrokerCommand) -> Request:
    """Open a request that another system placed, with its copy on the way to us."""
    return context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            kind=BROKERED,
            title=command.title or command.barcode,
            bib_id=command.bib_id,
            patron=command.card,
            partner=command.partner,
            wire_agency=command.partner,
            wire_id=command.wire_id,
            item_agency=owner_of(command, context.library),
            item_barcode=command.barcode,
            pickup_location=pickup_location_of(command, context.library),
            lender_due=None if is_too_far(context, command.due) else command.due,
        ),
        context.now,
        command.by,
    )


def pickup_location_of(command: BrokerCommand, library: Library) -> str:
    """Return the named pickup location if it is ours, else our first pickup location (R4)."""
    return command.pickup_location if command.pickup_location in library.pickup_locations else library.pickup_locations[0]


def _name_patron(context: Context, known: Request, command: BrokerCommand) -> Request:
    place = pickup_location_of(command, context.library) if command.pickup_location else known.pickup_location
    title, due = command.title or known.title, command.due or known.lender_due
    return context.unit.amend(
        known, context.now, command.by, patron=command.card, title=title, pickup_location=place, lender_due=due
    )


def expect(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Noted | Refused:
    """Register an expected book for our patron, who must be allowed to use the service and have quota (R2, R20, R21).

    A repetition succeeds without effect. Our counter receives the book when it arrives.
    """
    known = _find_same_or_open(context.unit, command)
    if known is not None:
        same = (known.patron, known.wire_id) == (command.card, command.wire_id)
        return noted_result(known, again=True) if same else refuse(context, Reason.WRONG_POSITION, command, known)
    answer = _held_elsewhere(context, command) or may_have_one_more(context, command, facts)
    return answer or noted_result(open_brokered(context, command))


def announce(context: Context, command: BrokerCommand, _facts: BorrowerFacts) -> Noted | Refused:
    """Register an expected book, whose patron AcceptItem names later. A repetition succeeds without effect."""
    known = _find_same_or_open(context.unit, command)
    if known is None:
        return _held_elsewhere(context, command) or noted_result(open_brokered(context, command))
    same = known.wire_id == command.wire_id and known.title == (command.title or command.barcode)
    return noted_result(known, again=True) if same else refuse(context, Reason.WRONG_POSITION, command, known)


def describe(context: Context, command: BrokerCommand, _facts: BorrowerFacts, known: Request) -> Noted | Refused:
    """Update the broker's record of its book."""
    changed = command.title and known.title != command.title and known.position not in FINAL
    return noted_result(context.unit.amend(known, context.now, command.by, title=command.title) if changed else known)


def delete(context: Context, command: BrokerCommand, _facts: BorrowerFacts, known: Request) -> Noted | Refused:
    """Close the request: the book is back at its owner, even if messages about its return were missed."""
    if known.position is P.IN_TRANSIT:  # the book was announced but never came
        return noted_result(context.unit.advance(known, Event.HOME, context.now, command.by, reason="deleted"))
    return lender_notices.apply_home(context, as_notice(command, known))


def check_in(context: Context, command: BrokerCommand, _facts: BorrowerFacts, request: Request) -> CheckedIn | Refused:
    """Check in a copy, from the patron or from the borrower, as at our own counter."""
    if request.position in FINAL:
        return checked_in_result(request, Arrival.AGAIN)
    return arrival_of(request)(context, command.by, request)


def check_out(context: Context, command: BrokerCommand, facts: BorrowerFacts, request: Request) -> CheckedOut | Refused:
    """Check out a borrowed book to our patron, or ship our own copy to the borrower."""
    if request.side is Side.LENDING:
        return ship(context, command, request)
    return loans.check_out(context, at_counter(command, request, context.library), facts)


def ship(context: Context, command: BrokerCommand, request: Request) -> CheckedOut | Refused:
    """Ship our copy, checked out to the borrowing library."""
    if context.unit.can(request, Event.LEND):
        return shipped_result(context.unit, lending.ship(context, request, command.by))
    if request.position in {P.SHIPPED, P.AT_BORROWER}:
        return shipped_result(context.unit, request)
    return refuse(context, Reason.WRONG_POSITION, command, request)


def undo_check_out(context: Context, command: BrokerCommand, facts: BorrowerFacts, request: Request) -> CheckedOut | Refused:
    """Undo a loan to our patron. The shipment of our own copy cannot be undone."""
    if request.side is Side.LENDING:
        return refuse(context, Reason.ALREADY_SHIPPED, command, request)
    return loans.check_out(context, replace(at_counter(command, request, context.library), undo=True), facts)


def withdraw(context: Context, command: BrokerCommand, _facts: BorrowerFacts) -> Noted | Refused:
    """Apply the borrower's cancellation of a request for our copy."""
    return lending.apply_notice(context, as_notice(command), Event.WITHDRAW)


def renew(context: Context, command: BrokerCommand, facts: BorrowerFacts, request: Request) -> Renewed | Refused:
    """Renew for our patron, or for the borrower of our copy."""
    if request.side is Side.LENDING:
        return lending.renewed_by_borrower(context, as_notice(command, request))
    wanted = Renew(by=command.by, card=command.card or request.patron, barcode=request.item_barcode, agency=request.item_agency)
    return loans.renew(context, wanted, facts)


def at_counter(command: BrokerCommand, request: Request, library: Library) -> CheckOut:
    """Create the command for a checkout at our first counter."""
    place = Place(role="counter", location=library.pickup_locations[0])
    return CheckOut(
        by=command.by,
        place=place,
        card=command.card or request.patron,
        barcode=request.item_barcode,
        agency=request.item_agency,
    )


def as_notice(command: BrokerCommand, request: Request | None = None) -> PartnerNotice:
    """Convert the broker's command to a partner's notice about one copy."""
    item = (request.item if request else None) or (ItemKey(command.agency, command.barcode) if command.barcode else None)
    wire_agency = command.wire_agency or command.partner
    return PartnerNotice(
        by=command.by,
        partner=command.partner,
        wire_agency="" if request else wire_agency,
        wire_id="" if request else command.wire_id,
        item=item,
        at=command.at,
        due=command.due,
        due_is="decided",
        judged=command.judged,
    )


def refuse(context: Context, why: Reason, command: BrokerCommand, request: Request | None = None) -> Refused:
    """Refuse a command, and record the refusal in the journal."""
    return context.refuse(why, command.by, request, patron=command.card)


def shipped_result(unit: UnitOfWork, request: Request) -> CheckedOut:
    """Create the result for a shipped copy, with the lender's due date."""
    item = request.item or ItemKey("", "")
    copy = unit.holdings.find(item)
    result = CheckedOut(request=request.id, item=item, card="", title=request.full_title, due=request.lender_due)
    return replace(result, author=copy.author, call_number=copy.call_number) if copy else result


BROKER_COMMANDS: Final[Mapping[str, Work]] = MappingProxyType(
    {
        "accept": accept,
        "expect": expect,
        "announce": announce,
        "describe": about_request(describe, _find_borrowed),
        "delete": about_request(delete, _find_borrowed),
        "check_in": about_request(check_in, find_request),
        "check_out": about_request(check_out, find_request),
        "undo_check_out": about_request(undo_check_out, find_request),
        "withdraw": withdraw,
        "renew": about_request(renew, find_request),
    }
)

"""Commands by which a broker drives us as the local system of a borrower or a lender, one row each.

The book is known by (broker, barcode), since a broker's temporary barcodes are its own. No partner is notified: the broker
caused the event, and its flow has no documents for our answers. Source: NCIP reference 6.3 (crosslink, ReShare), 6.4 (Relais).
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
from hkall_gateway.circulation.partner_notice import BROKERED, PartnerNotice
from hkall_gateway.circulation.partners import lender_notices
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Noted, Refused, Renewed, noted_result
from hkall_gateway.circulation.returning import Arrival, CheckedIn, arrival_of, checked_in_result
from hkall_gateway.db.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import eligibility, policy
from hkall_gateway.rules.lifecycle import FINAL, Event, Notification
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Refusal, Request, Side

Brokered = Noted | CheckedIn | CheckedOut | Renewed | Recalled | Paged
"""The results of a broker's commands and of mirrored events."""


@dataclass(frozen=True, slots=True)
class BrokerCommand(Command[BorrowerFacts, Brokered]):
    """One command of a broker, or one event mirrored by a central: a row of BROKER_COMMANDS or EVENTS.

    `partner` is that system. The request is named by `wire_agency`/`wire_id`, by `number` (the system's own number of a copy
    that has no barcode yet) or by the copy: `barcode` and, where it is known, `agency`. `card` is one of our patrons'.
    `judged` as in PartnerNotice. `service` is the key of the row.
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
    """Return the handler of a command about a request that `find` finds; `missing` is the refusal where there is none."""

    def handle(context: Context, ask: BrokerCommand, facts: BorrowerFacts) -> Brokered | Refused:
        found = find(context.unit, ask)
        return refuse(context, missing, ask) if found is None else work(context, ask, facts, found)

    return handle


def find_request(unit: UnitOfWork, ask: BrokerCommand) -> Request | None:
    """The request of a command: by its copy, else by its RequestId, on either side."""
    found = held_with(unit, ask.partner, ask.barcode, ask.agency) or held_with(unit, ask.partner, ask.barcode)
    if found or not ask.wire_id:
        return found
    lent = unit.requests.lent(ask.wire_agency or ask.partner, ask.wire_id)
    return lent if lent and lent.partner == ask.partner else borrowed_under(unit, ask.partner, ask.wire_id)


def _find_borrowed(unit: UnitOfWork, ask: BrokerCommand) -> Request | None:
    """The request for a broker's own barcode, found without the RequestId, which may cover several volumes."""
    found = held_with(unit, ask.partner, ask.barcode, ask.partner)
    return found if found and found.side is Side.BORROWING else None


def accept(context: Context, ask: BrokerCommand, facts: BorrowerFacts) -> Noted | Refused:
    """Put the book on the hold shelf for our patron and send one letter. The same copy again is the same success.

    The patron must be allowed to use the service and have quota for one more book (R2, R20, R21). A pickup location that is not
    ours is the broker's own word: the book waits at our first counter, where it was scanned.
    """
    known = _find_same_or_open(context.unit, ask)
    if known is not None and known.patron:
        same = (known.patron, known.wire_id) == (ask.card, ask.wire_id)
        return noted_result(known) if same else refuse(context, Reason.WRONG_POSITION, ask, known)
    answer = may_have_one_more(context, ask, facts)
    if answer is not None:
        return answer
    waiting = _name_patron(context, known, ask) if known else open_brokered(context, ask)
    if waiting.position is P.RECEIVED:  # scanned at our counter before its patron was named
        context.unit.enqueue(Notification.LETTER_PICKUP, waiting, context.now, ask.by)
    else:
        arrival_of(waiting)(context, ask.by, waiting)
    return noted_result(context.unit.requests.find(waiting.id) or waiting)


def _find_same_or_open(unit: UnitOfWork, ask: BrokerCommand) -> Request | None:
    """The request that holds the copy, or held it under this RequestId; a broker may reuse a barcode."""
    known = _find_borrowed(unit, ask)
    return None if known and known.position in FINAL and known.wire_id != ask.wire_id else known


def may_have_one_more(context: Context, ask: BrokerCommand, facts: BorrowerFacts) -> Refused | None:
    """The refusal of a book for this patron; None where the patron may have one more."""
    borrower = facts.borrower
    if borrower is None:
        return refuse(context, facts.stranger, ask)
    answer = eligibility.may_use(borrower, context.library.policy, context.now, patron_blocks(context, borrower.barcode))
    room = answer if isinstance(answer, Refusal) else policy.quota(borrower, counts(context, borrower), context.library.policy)
    if not isinstance(room, Refusal):
        return None
    context.unit.refuse(room, context.now, ask.by, patron=ask.card)
    return refused(room, borrower.language)


def open_brokered(context: Context, ask: BrokerCommand) -> Request:
    """Open a request that another system placed; its copy is on the way to us."""
    return context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.IN_TRANSIT,
            kind=BROKERED,
            title=ask.title or ask.barcode,
            bib_id=ask.bib_id,
            patron=ask.card,
            partner=ask.partner,
            wire_agency=ask.partner,
            wire_id=ask.wire_id,
            item_agency=ask.partner,
            item_barcode=ask.barcode,
            pickup_location=pickup_location_of(ask, context.library),
            lender_due=ask.due,
        ),
        context.now,
        ask.by,
    )


def pickup_location_of(ask: BrokerCommand, library: Library) -> str:
    """The pickup location: the one named, if it is one of ours (R4)."""
    return ask.pickup_location if ask.pickup_location in library.pickup_locations else library.pickup_locations[0]


def _name_patron(context: Context, known: Request, ask: BrokerCommand) -> Request:
    place = pickup_location_of(ask, context.library) if ask.pickup_location else known.pickup_location
    title, due = ask.title or known.title, ask.due or known.lender_due
    return context.unit.amend(known, context.now, ask.by, patron=ask.card, title=title, pickup_location=place, lender_due=due)


def expect(context: Context, ask: BrokerCommand, facts: BorrowerFacts) -> Noted | Refused:
    """Expect the book for our patron, if the patron may use the service and has quota for one more (R2, R20, R21).

    The same command again is the same success; our counter receives the book when it arrives.
    """
    known = _find_same_or_open(context.unit, ask)
    if known is not None:
        same = (known.patron, known.wire_id) == (ask.card, ask.wire_id)
        return noted_result(known) if same else refuse(context, Reason.WRONG_POSITION, ask, known)
    return may_have_one_more(context, ask, facts) or noted_result(open_brokered(context, ask))


def announce(context: Context, ask: BrokerCommand, _facts: BorrowerFacts) -> Noted | Refused:
    """Record a book that will come; AcceptItem names its patron later. The same record again is the same success."""
    known = _find_same_or_open(context.unit, ask)
    if known is None:
        return noted_result(open_brokered(context, ask))
    same = known.wire_id == ask.wire_id and known.title == (ask.title or ask.barcode)
    return noted_result(known) if same else refuse(context, Reason.WRONG_POSITION, ask, known)


def describe(context: Context, ask: BrokerCommand, _facts: BorrowerFacts, known: Request) -> Noted | Refused:
    """Update the broker's record of its book."""
    changed = ask.title and known.title != ask.title and known.position not in FINAL
    return noted_result(context.unit.amend(known, context.now, ask.by, title=ask.title) if changed else known)


def delete(context: Context, ask: BrokerCommand, _facts: BorrowerFacts, known: Request) -> Noted | Refused:
    """Close the request: the book is back where it came from, even if messages on the way were missed."""
    if known.position is P.IN_TRANSIT:  # announced, and it never came
        return noted_result(context.unit.advance(known, Event.HOME, context.now, ask.by, reason="deleted"))
    return lender_notices.apply_home(context, as_notice(ask, known))


def check_in(context: Context, ask: BrokerCommand, _facts: BorrowerFacts, request: Request) -> CheckedIn | Refused:
    """Check in a copy, from the patron or from the borrower, as at our own counter."""
    if request.position in FINAL:
        return checked_in_result(request, Arrival.AGAIN)
    return arrival_of(request)(context, ask.by, request)


def check_out(context: Context, ask: BrokerCommand, facts: BorrowerFacts, request: Request) -> CheckedOut | Refused:
    """Check out the book to our patron, or, with any other card, ship our copy to the borrower."""
    if request.side is Side.LENDING:
        return ship(context, ask, request)
    return loans.check_out(context, at_counter(ask, request, context.library), facts)


def ship(context: Context, ask: BrokerCommand, request: Request) -> CheckedOut | Refused:
    """Ship our copy: it is charged to the borrower's card."""
    if context.unit.can(request, Event.LEND):
        return shipped_result(context.unit, lending.ship(context, request, ask.by))
    if request.position in {P.SHIPPED, P.AT_BORROWER}:
        return shipped_result(context.unit, request)
    return refuse(context, Reason.WRONG_POSITION, ask, request)


def undo_check_out(context: Context, ask: BrokerCommand, facts: BorrowerFacts, request: Request) -> CheckedOut | Refused:
    """Undo a loan to our patron; a copy that was sent stays sent."""
    if request.side is Side.LENDING:
        return refuse(context, Reason.ALREADY_SHIPPED, ask, request)
    return loans.check_out(context, replace(at_counter(ask, request, context.library), undo=True), facts)


def withdraw(context: Context, ask: BrokerCommand, _facts: BorrowerFacts) -> Noted | Refused:
    """Apply the borrower's cancellation of a request for our copy."""
    return lending.apply_notice(context, as_notice(ask), Event.WITHDRAW)


def renew(context: Context, ask: BrokerCommand, facts: BorrowerFacts, request: Request) -> Renewed | Refused:
    """Renew for our patron, or for the borrower of our copy."""
    if request.side is Side.LENDING:
        return lending.renewed_by_borrower(context, as_notice(ask, request))
    wanted = Renew(ask.by, ask.card or request.patron, request.item_barcode, request.item_agency)
    return loans.renew(context, wanted, facts)


def at_counter(ask: BrokerCommand, request: Request, library: Library) -> CheckOut:
    """The checkout as if it had been made at our first counter."""
    place = Place("counter", library.pickup_locations[0])
    return CheckOut(ask.by, place, ask.card or request.patron, request.item_barcode, request.item_agency)


def as_notice(ask: BrokerCommand, request: Request | None = None) -> PartnerNotice:
    """The broker's command as a partner's notice about one copy."""
    item = (request.item if request else None) or (ItemKey(ask.agency, ask.barcode) if ask.barcode else None)
    wire_agency = ask.wire_agency or ask.partner
    wire = ("", "") if request else (wire_agency, ask.wire_id)
    return PartnerNotice(ask.by, ask.partner, *wire, item=item, at=ask.at, due=ask.due, due_is="decided", judged=ask.judged)


def refuse(context: Context, why: Reason, ask: BrokerCommand, request: Request | None = None) -> Refused:
    """Refuse, with an entry in the journal."""
    return context.refuse(why, ask.by, request, patron=ask.card)


def shipped_result(unit: UnitOfWork, request: Request) -> CheckedOut:
    """The result of a copy that has left, with the lender date."""
    item = request.item or ItemKey("", "")
    copy = unit.holdings.find(item)
    told = CheckedOut(request.id, item, "", request.title, request.lender_due)
    return replace(told, author=copy.author, call_number=copy.call_number) if copy else told


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

"""INN-Reach: the central decides, and mirrors its events to us. An identifier beginning with `i` is another library's copy.

Our requests are stored under the central's item number until the copy's barcode arrives. From then on, (library, barcode)
identifies the copy. No message is sent back, because the central already knows. Source: NCIP reference 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation import lending, loans, recalls, returning
from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.lending import BorrowFromUs, Paged
from hkall_gateway.circulation.partner_notice import MIRRORED, NEVER_SENT
from hkall_gateway.circulation.partners import lender_notices
from hkall_gateway.circulation.partners.broker_services import (
    BrokerCommand,
    Brokered,
    Work,
    about_request,
    as_notice,
    at_counter,
    check_in,
    may_have_one_more,
    pickup_location_of,
    refuse,
    ship,
)
from hkall_gateway.circulation.partners.broker_services import find_request as named_by_copy
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Noted, Refused, Renewed, noted_result
from hkall_gateway.db.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, RequestChange, Side

P = Position


def mirror_request(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Noted | Paged | Refused:
    """Record a request that the central placed for our patron, or for one of our copies."""
    return _open_mirrored(context, command, facts) if command.number else _page_copy(context, command)


def _open_mirrored(context: Context, command: BrokerCommand, facts: BorrowerFacts) -> Noted | Refused:
    known = borrowed_under(context.unit, command.partner, command.number)
    if known is not None and known.position not in FINAL:
        return (
            noted_result(known) if known.patron == command.card else refuse(context, Reason.DUPLICATE_REQUEST, command, known)
        )
    answer = may_have_one_more(context, command, facts)
    if answer is not None:
        return answer
    wanted = context.unit.open(
        Request(
            id="",
            side=Side.BORROWING,
            position=P.NEW,
            kind=MIRRORED,
            title=command.title or command.number,
            bib_id=command.bib_id,
            patron=command.card,
            partner=command.partner,
            wire_agency=command.partner,
            wire_id=command.number,
            placed_by=command.partner if command.wire_id else "",
            placed_id=command.wire_id,
            pickup_location=pickup_location_of(command, context.library),
        ),
        context.now,
        command.by,
    )
    return noted_result(context.unit.advance(wanted, Event.ASK, context.now, command.by, attempt=1))


def _page_copy(context: Context, command: BrokerCommand) -> Paged | Refused:
    """Page our copy. The event names only a barcode, so a repetition is recognised by the copy's open request."""
    held = held_with(context.unit, command.partner, command.barcode, context.library.agency)
    if held is not None and held.position not in FINAL:
        return Paged(
            request=held.id,
            wire_agency=held.wire_agency,
            wire_id=held.wire_id,
            item=held.item or ItemKey("", ""),
            title=held.full_title,
        )
    item, number = (
        ItemKey(context.library.agency, command.barcode),
        command.wire_id or f"{command.barcode}/{context.now:%Y%m%dT%H%M%S}",
    )
    wanted = BorrowFromUs(
        by=command.by, partner=command.partner, wire_agency=command.wire_agency or command.partner, wire_id=number, item=item
    )
    return lending.borrow_from_us(context, replace(wanted, pickup_location=command.pickup_location))


def mirror_cancel(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Noted | Refused:
    """Cancel a request that the central withdrew, for the patron or because no library will send it."""
    if found.side is Side.LENDING:
        return lending.apply_notice(context, as_notice(command, found), Event.WITHDRAW)
    if found.position in FINAL:
        return noted_result(found, again=True)
    if not context.unit.can(found, Event.CANCEL):
        return refuse(context, Reason.TOO_LATE_TO_CANCEL, command, found)
    cancelling = context.unit.advance(found, Event.CANCEL, context.now, command.by, rule="R34")
    return noted_result(context.unit.advance(cancelling, Event.CANCEL_SETTLED, context.now, command.by, rule="R34"))


def mirror_shipped(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Noted | Refused:
    """Record that a copy is in transit to us, with its barcode, or that our own copy is in transit home."""
    if found.side is Side.LENDING:
        return lending.apply_notice(context, as_notice(command, found), Event.COMING_HOME)
    if context.unit.can(found, Event.SHIP) or context.unit.can(found, Event.SHIP_UNWANTED):
        if not command.barcode or context.unit.requests.open_with_item(command.barcode, command.partner):
            return refuse(context, Reason.UNKNOWN_ITEM, command, found)
        event = Event.SHIP if context.unit.can(found, Event.SHIP) else Event.SHIP_UNWANTED
        return noted_result(
            context.unit.advance(
                found,
                event,
                context.now,
                command.by,
                unwanted=event is Event.SHIP_UNWANTED,
                item_agency=command.partner,
                item_barcode=command.barcode,
                lender_due=command.due,
            )
        )
    return noted_result(found, again=True)


def mirror_received(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Noted | Refused:
    """Put an arrived copy on the hold shelf with one letter, even without a shipped message."""
    if found.side is Side.LENDING:
        return lending.apply_notice(context, as_notice(command, found), Event.BORROWER_HAS_IT)
    if context.unit.can(found, Event.ARRIVE_UNANNOUNCED):
        if not command.barcode or context.unit.requests.open_with_item(command.barcode, command.partner):
            return refuse(context, Reason.UNKNOWN_ITEM, command, found)
        copy: RequestChange = {"item_agency": command.partner, "item_barcode": command.barcode, "unannounced": True}
        returning.arrive(context, command.by, found, Event.ARRIVE_UNANNOUNCED, **copy)
    elif found.position is P.IN_TRANSIT:
        returning.arrive(context, command.by, found)
    else:
        return noted_result(found, again=True)
    return noted_result(context.unit.requests.find(found.id) or found)


def mirror_lent(context: Context, command: BrokerCommand, facts: BorrowerFacts, found: Request) -> CheckedOut | Noted | Refused:
    """Record that our patron has borrowed the book, or that our copy was sent.

    The loan has already happened. Even if it breaks our rules, it is accepted with the central's date, and flagged for staff.
    """
    if found.side is Side.LENDING:
        return ship(context, command, found)
    happened_at = min(command.at or context.now, context.now)
    checkout = replace(
        at_counter(command, found, context.library), no_block=True, happened_at=happened_at, due_told=command.due
    )
    return loans.check_out(context, checkout, facts)


def mirror_home(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Noted | Refused:
    """Record that the lender has its copy back, or that the borrower has our copy."""
    if found.side is Side.LENDING:
        return lending.apply_notice(context, as_notice(command, found), Event.BORROWER_HAS_IT)
    if found.position in {P.REQUESTED, P.IN_TRANSIT} and not found.unwanted:
        # The copy never left its library. The central decides whether to ask another lender.
        context.unit.note(found, NEVER_SENT, {"message": command.by.message}, context.now, command.by)
        if found.position is P.IN_TRANSIT:
            found = context.unit.advance(
                found, Event.NOT_SENT, context.now, command.by, item_agency="", item_barcode="", lender_due=None
            )
        return noted_result(found)
    return lender_notices.apply_home(context, as_notice(command, found))


def mirror_renewed(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Renewed | Refused:
    """Apply the owner's later due date, or the borrower's renewal of our copy."""
    work = lending.renewed_by_borrower if found.side is Side.LENDING else recalls.apply_owner_renewal
    return work(context, as_notice(command, found))


def mirror_recalled(context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request) -> Recalled | Refused:
    """Apply the owner's recall."""
    return recalls.apply_recall(context, as_notice(command, found))


def mirror_recall_cancelled(
    context: Context, command: BrokerCommand, _facts: BorrowerFacts, found: Request
) -> Recalled | Refused:
    """Cancel the owner's recall."""
    return recalls.apply_recall_cancelled(context, as_notice(command, found))


def find_mirrored(unit: UnitOfWork, command: BrokerCommand) -> Request | None:
    """Find the request by the central's item number, else by the copy's own barcode or by the RequestId."""
    found = borrowed_under(unit, command.partner, command.number)
    return found if found and found.position not in FINAL else named_by_copy(unit, command) or found


def mirror_taken_in(context: Context, command: BrokerCommand, facts: BorrowerFacts, found: Request) -> Brokered | Refused:
    """Record that the patron has returned the book, or that our own copy has come home."""
    by_copy = replace(command, barcode=found.item_barcode, agency=found.item_agency)
    return about_request(check_in, named_by_copy)(context, by_copy, facts)


EVENTS: Final[Mapping[str, Work]] = MappingProxyType(
    {
        "mirror_request": mirror_request,
        "mirror_cancel": about_request(mirror_cancel, find_mirrored, Reason.UNKNOWN_REQUEST),
        "mirror_shipped": about_request(mirror_shipped, find_mirrored, Reason.UNKNOWN_REQUEST),
        "mirror_received": about_request(mirror_received, find_mirrored, Reason.UNKNOWN_REQUEST),
        "mirror_lent": about_request(mirror_lent, find_mirrored),
        "mirror_home": about_request(mirror_home, find_mirrored),
        "mirror_taken_in": about_request(mirror_taken_in, find_mirrored),
        "mirror_renewed": about_request(mirror_renewed, find_mirrored),
        "mirror_recalled": about_request(mirror_recalled, find_mirrored),
        "mirror_recall_cancelled": about_request(mirror_recall_cancelled, find_mirrored),
    }
)

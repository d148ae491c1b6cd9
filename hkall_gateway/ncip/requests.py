"""Handlers for requests and circulation events, for our patrons and for partner libraries.

The command and the notification for one event share a handler. Whether we are the lender or the borrower depends on the
item's owner, not on the message's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar

from hkall_gateway.circulation.borrowing import CancelRequest, RequestTitle
from hkall_gateway.circulation.fines import Pay
from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.loans import Renew
from hkall_gateway.circulation.partner_notice import (
    ItemCheckedIn,
    ItemCheckedOut,
    ItemReceived,
    ItemRenewed,
    ItemShipped,
    RequestCancelled,
)
from hkall_gateway.circulation.partners.partner_reports import Bill, ChangeRequest, CopyReport, SetStatus
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled
from hkall_gateway.circulation.results import Refused
from hkall_gateway.ncip.callers import identify_patron
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.reply_payload import Payload, execute_command
from hkall_gateway.ncip.service_request import (
    ServiceRequest,
    check_request_id,
    make_notice,
    make_refusal,
    read_bib_id,
    read_day,
    read_item,
    read_pickup_location,
    read_request_id,
    read_volume,
)
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, Problem
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words import availability

# fmt: off
REPORTED: Final[Mapping[str, str]] = MappingProxyType({
    "ItemReportedReturned":      "claim",
    "ItemReportedNeverBorrowed": "claim",
    "ItemReportedLost":          "lost",
    "ItemReportedMissing":       "lost",
})
"""Reported element -> kind of report in the circulation service."""
# fmt: on

Event = TypeVar(
    "Event", ItemCheckedIn, ItemCheckedOut, ItemRecalled, ItemReceived, ItemShipped, RecallCancelled, RequestCancelled
)


def make_notice_handler(kind: type[Event], *dues: str, owner: bool = False) -> Callable[[ServiceRequest], Awaitable[Payload]]:
    """Make the handler for an event.

    Args:
        kind: Type of the partner notice to make from the message.
        dues: Possible paths of the due date. The first path with a value is used.
        owner: Whether the sender owns the item, so that the sender's AgencyId replaces a missing AgencyId.
    """

    async def handle(call: ServiceRequest) -> Payload:
        notice = make_notice(kind, call, next((path for path in dues if call.message.has(path)), ""))
        return await execute_command(call, replace(notice, item=read_item(call, call.caller.agency)) if owner else notice)

    return handle


async def handle_renewal(call: ServiceRequest) -> Payload:
    """Handle a renewal, which the lender grants to our patron, or which the borrower requests for a loan of our item."""
    granted = call.message.has("DateDue")
    notice = make_notice(ItemRenewed, call, "DateDue" if granted else "DesiredDateDue")
    # If the item's AgencyId is missing, the item is ours in a RenewItem and the sender's in an ItemRenewed.
    default = call.services.agency if call.message.service == "RenewItem" else call.caller.agency
    return await execute_command(call, replace(notice, due_is="told" if granted else "asked", item=read_item(call, default)))


async def set_circulation_status(call: ServiceRequest) -> Payload:
    """Set an item's circulation status. Partners may set the status of their own items, clients of our items."""
    owner = call.services.agency if call.from_client else call.caller.agency
    named, text = read_item(call, owner), call.message.text("CirculationStatus")
    status = availability.circulation_status(text)
    if not status:
        return Problem(
            problem="Unknown Value From Known Scheme",
            detail="not a circulation status",
            element="CirculationStatus",
            value=text,
        )
    if named is None or named.agency != owner:
        return make_refusal(Reason.AGENCY_NOT_OWNER if named else Reason.UNKNOWN_ITEM)
    return await execute_command(call, SetStatus(call.by, named, status))


async def report_item(call: ServiceRequest) -> Payload:
    """Handle a report that an item was returned or lost, from a partner that borrowed our item, or for one of our patrons."""
    what = next((name for name in REPORTED if call.message.has(name)), "")
    named = read_item(call, "" if call.from_client else call.services.agency)
    card = await identify_patron(call) if call.from_client else ""
    if isinstance(card, Refused | Problem):
        return card
    if not what or named is None:
        return Problem(problem=NEEDED_DATA_MISSING, detail="what is reported, and of which copy?", element="ItemId")
    on = read_day(call.message.text("ItemReportedReturned/DateReportedReturned"), call.caller)
    who = "" if call.from_client else call.caller.agency
    command = CopyReport(by=call.by, command=REPORTED[what], item=named, partner=who, card=card, reason=what, on=on)
    return await execute_command(call, command)


async def record_fiscal_transaction(call: ServiceRequest) -> Payload:
    """Record a charge or payment for one of our patrons. The reference id makes the operation idempotent."""
    card, about = await identify_patron(call), next(iter(call.message.each("FiscalTransactionInformation")), None)
    if isinstance(card, Refused | Problem):
        return card
    cents = read_cents(about) if about else None
    if about is None or cents is None:
        return Problem(problem="Invalid Amount", detail="the amount is a whole number of cents", element="MonetaryValue")
    action = about.text("FiscalActionType").casefold()
    if action == "payment":
        pay = Pay(
            by=call.by,
            card=card,
            cents=cents,
            transaction_id=find_reference(about),
            currency=about.text("Amount/CurrencyCode") or "HKD",
        )
        return await execute_command(call, pay)
    if action not in CHARGING:
        return Problem(
            problem="Element Rule Violated",
            detail="only charges and payments are taken",
            element="FiscalActionType",
            value=action,
        )
    agency, value = read_request_id(call)
    number = about.text("RequestId/RequestIdentifierValue") or value
    kind = about.text("FiscalTransactionType").casefold() or "fee"
    command = Bill(
        by=call.by,
        card=card,
        cents=cents,
        kind=kind,
        reference=find_reference(about),
        wire_agency=agency,
        wire_id=number,
        item=read_item(call, ""),
    )
    return await execute_command(call, command)


CHARGING: Final = frozenset({"", "assess", "penalty", "charge-default-patron-fee"})
"""FiscalActionTypes that mean a charge. `charge-default-patron-fee` is ReShare's own."""


def find_reference(about: NcipMessage) -> str:
    """Return the caller's reference id for a transaction."""
    return about.text("FiscalTransactionReferenceId/FiscalTransactionIdentifierValue")


def read_cents(about: NcipMessage) -> int | None:
    """Return a transaction's amount in cents, or None if invalid. Some peers send dollars with a decimal point."""
    text = about.text("Amount/MonetaryValue")
    whole, point, part = text.partition(".")
    digits = whole + part.ljust(2, "0") if point else whole
    return whole_number(digits) if len(part) <= 2 else None


async def request_item(call: ServiceRequest) -> Payload:
    """Place a patron's request that a client sends, or a partner's request for one of our items."""
    if strange := check_request_id(call):
        return strange
    if not call.from_client:
        return await _lend_to_partner(call)
    card, title = await identify_patron(call), read_bib_id(call)
    if isinstance(card, Refused | Problem):
        return card
    if not title:
        return Problem(problem=NEEDED_DATA_MISSING, detail="the title is named by its record number", element="BibliographicId")
    agency, value = read_request_id(call)
    command = RequestTitle(
        by=call.by,
        patron=card,
        bib_id=title,
        volume=read_volume(call),
        item=read_item(call, call.services.agency),
        pickup_location=read_pickup_location(call),
        placed_by=agency,
        placed_id=value,
        hold=call.message.text("RequestType").casefold() == "hold",
        need_before=read_day(call.message.text("NeedBeforeDate"), call.caller),
    )
    return await execute_command(call, command)


async def _lend_to_partner(call: ServiceRequest) -> Payload:
    agency, value = read_request_id(call)
    if not value:
        return Problem(problem=NEEDED_DATA_MISSING, detail="a library names its request", element="RequestId")
    command = BorrowFromUs(
        by=call.by,
        partner=call.caller.agency,
        wire_agency=agency,
        wire_id=value,
        bib_id=read_bib_id(call),
        item=read_item(call, call.services.agency),
        volume=read_volume(call),
        pickup_location=call.message.text("PickupLocation"),
        need_before=read_day(call.message.text("NeedBeforeDate"), call.caller),
    )
    return await execute_command(call, command)


async def cancel_request_item(call: ServiceRequest) -> Payload:
    """Cancel a patron's request for a client, or handle a partner's withdrawal of its request or refusal of our request."""
    if not call.from_client:
        return await execute_command(call, make_notice(RequestCancelled, call))
    card, (agency, value) = await identify_patron(call), read_request_id(call)
    if isinstance(card, Refused | Problem):
        return card
    if not value:
        return Problem(problem=NEEDED_DATA_MISSING, detail="the request is named by its number", element="RequestId")
    ours = agency == call.services.agency
    named = {"request": value} if ours else {"placed_by": agency, "placed_id": value}
    command = CancelRequest(by=call.by, patron=card, **named)
    return await execute_command(call, command)


async def renew_item(call: ServiceRequest) -> Payload:
    """Renew a patron's loan for a client, or handle a partner's renewal."""
    if not call.from_client:
        return await handle_renewal(call)
    card, copy = await identify_patron(call), read_item(call, "")
    if isinstance(card, Refused | Problem):
        return card
    if copy is None:
        return make_refusal(Reason.UNKNOWN_ITEM)
    command = Renew(by=call.by, card=card, barcode=copy.barcode, agency=copy.agency)
    return await execute_command(call, command)


async def update_request_item(call: ServiceRequest) -> Payload:
    """Change the pickup location or the NeedBeforeDate of a request, for the caller that placed it."""
    agency, value = read_request_id(call)
    named = call.message.has("UserId/UserIdentifierValue") or call.message.has("AuthenticationInput")
    named = named or call.caller.pin in {"required", "blocks"}
    card = await identify_patron(call) if call.from_client and named else ""
    if isinstance(card, Refused | Problem):
        return card
    command = ChangeRequest(
        by=call.by,
        agency=agency,
        value=value,
        caller=call.caller.agency,
        client=call.from_client,
        card=card,
        item=read_item(call, "" if call.from_client else call.services.agency),
        pickup_location=read_pickup_location(call, "AddRequestFields/PickupLocation"),
        need_before=read_day(call.message.text("AddRequestFields/NeedBeforeDate"), call.caller),
    )
    return await execute_command(call, command)

"""Handlers for requests: placing, cancelling, renewing and changing them, for our patrons and for partner libraries."""

from __future__ import annotations

from hkall_gateway.circulation.messages.commands import BorrowFromUs, CancelRequest, Renew, RequestCancelled, RequestTitle
from hkall_gateway.circulation.messages.partner_commands import ChangeRequest
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.ncip.callers import patron
from hkall_gateway.ncip.events import renewed
from hkall_gateway.ncip.reply_payload import Payload, executed
from hkall_gateway.ncip.service_request import (
    ServiceRequest,
    bib_id,
    day,
    heard,
    item,
    pickup,
    refused,
    request_id,
    strange_number,
    volume,
)
from hkall_gateway.ncip.tables.problems import NEEDED_DATA_MISSING, Problem
from hkall_gateway.rules.reasons import Reason

# ---- requests


async def request_item(call: ServiceRequest) -> Payload:
    """A client places a patron's request for a book of another library; a partner borrows one of ours."""
    if strange := strange_number(call):
        return strange
    return await (_place(call) if call.from_client else _borrow(call))


async def _place(call: ServiceRequest) -> Payload:
    card, title = await patron(call), bib_id(call)
    if isinstance(card, Refused | Problem):
        return card
    if not title:
        return Problem(NEEDED_DATA_MISSING, "the title is named by its record number", "BibliographicId")
    agency, value = request_id(call)
    ask = RequestTitle(
        by=call.by,
        patron=card,
        bib_id=title,
        volume=volume(call),
        item=item(call, call.services.agency),
        pickup_location=pickup(call),
        placed_by=agency,
        placed_id=value,
        hold=call.message.text("RequestType").casefold() == "hold",
        need_before=day(call.message.text("NeedBeforeDate"), call.caller),
    )
    return await executed(call, ask)


async def _borrow(call: ServiceRequest) -> Payload:
    agency, value = request_id(call)
    if not value:
        return Problem(NEEDED_DATA_MISSING, "a library names its request", "RequestId")
    ask = BorrowFromUs(
        by=call.by,
        partner=call.caller.agency,
        wire_agency=agency,
        wire_id=value,
        bib_id=bib_id(call),
        item=item(call, call.services.agency),
        volume=volume(call),
        pickup_location=call.message.text("PickupLocation"),
        need_before=day(call.message.text("NeedBeforeDate"), call.caller),
    )
    return await executed(call, ask)


async def cancel_request_item(call: ServiceRequest) -> Payload:
    """A client cancels for a patron; a partner withdraws its request, or declines ours."""
    if not call.from_client:
        return await executed(call, heard(RequestCancelled, call))
    card, (agency, value) = await patron(call), request_id(call)
    if isinstance(card, Refused | Problem):
        return card
    if not value:
        return Problem(NEEDED_DATA_MISSING, "the request is named by its number", "RequestId")
    ours = agency == call.services.agency
    named = {"request": value} if ours else {"placed_by": agency, "placed_id": value}
    ask = CancelRequest(by=call.by, patron=card, **named)
    return await executed(call, ask)


async def renew_item(call: ServiceRequest) -> Payload:
    """A client renews for a patron; a partner renews a loan of our copy, or grants the renewal of its own."""
    return await (_renew_for_patron(call) if call.from_client else renewed(call))


async def _renew_for_patron(call: ServiceRequest) -> Payload:
    card, copy = await patron(call), item(call, "")
    if isinstance(card, Refused | Problem):
        return card
    if copy is None:
        return refused(Reason.UNKNOWN_ITEM)
    ask = Renew(by=call.by, card=card, barcode=copy.barcode, agency=copy.agency)
    return await executed(call, ask)


async def update_request_item(call: ServiceRequest) -> Payload:
    """Changes the pickup location or the last day of a request, for the caller that placed it."""
    agency, value = request_id(call)
    named = _names_user(call) or call.caller.pin in {"required", "blocks"}
    card = await patron(call) if call.from_client and named else ""
    if isinstance(card, Refused | Problem):
        return card
    ask = ChangeRequest(
        by=call.by,
        agency=agency,
        value=value,
        caller=call.caller.agency,
        client=call.from_client,
        card=card,
        item=item(call, "" if call.from_client else call.services.agency),
        pickup_location=pickup(call, "AddRequestFields/PickupLocation"),
        need_before=day(call.message.text("AddRequestFields/NeedBeforeDate"), call.caller),
    )
    return await executed(call, ask)


def _names_user(call: ServiceRequest) -> bool:
    return call.message.has("UserId/UserIdentifierValue") or call.message.has("AuthenticationInput")

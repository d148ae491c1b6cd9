"""The services that we answer: a call becomes an ask of the desk, its outcome the payload of the reply or a no."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hkall_gateway.desk.asks import BorrowFromUs, CancelRequest, Outcome, Refused, Renew, RequestTitle, SeeItem, SeePatron
from hkall_gateway.ncip import replies
from hkall_gateway.ncip.calls import Call, CopyOf, bib_id, credentials, heard, item, patron, refused, request_id, volume
from hkall_gateway.ncip.documents import INSTITUTION, user_id
from hkall_gateway.ncip.documents import request_id as written_request
from hkall_gateway.ncip.messages import Fields
from hkall_gateway.ncip.problems import NEEDED_DATA_MISSING, Trouble
from hkall_gateway.ncip.replies import Frame
from hkall_gateway.rules.vocabulary import ItemKey, Sensitive, Why
from hkall_gateway.store.database import Store

Said = Fields | Refused | Trouble
"""What a service answers: the payload of the reply, the desk's no, or a Problem of its own."""

DESIRED = ("LoanedItemsDesired", "RequestedItemsDesired", "UserFiscalAccountDesired")
BORROWED_DUE = "ItemOptionalFields/DateDue"


# ---- look-ups


async def lookup_user(call: Call) -> Said:
    """A patron of ours, as far as was desired. With a PIN a wrong card and a wrong PIN read the same."""
    found = credentials(call)
    if isinstance(found, Refused):
        return found
    card, pin = found
    seen = await call.door.desk.see_patron(SeePatron(call.by, card, pin or Sensitive(), pin_given=pin is not None))
    if pin is not None and not seen.pin_ok:
        return refused(Why.WRONG_PIN)
    if seen.refusal and seen.refusal.why is Why.UNKNOWN_BORROWER:
        return seen.refusal
    flags = frozenset(name for name in DESIRED if call.message.has(name))
    return replies.patron(seen, _desired(call, "UserElementType"), flags, frame(call))


async def lookup_item(call: Call) -> Said:
    """What a copy is doing. Who has it is never said."""
    agency, value = request_id(call)
    wanted = item(call, "") or (await call.door.copy_of(agency, value) if value else None)
    if wanted is None:
        return refused(Why.UNKNOWN_REQUEST if value else Why.UNKNOWN_ITEM)
    seen = await call.door.desk.see_item(SeeItem(call.by, wanted.barcode, wanted.agency))
    if isinstance(seen, Refused):
        return seen
    number = written_request(agency, value) if value else {}
    return replies.copy(seen, _desired(call, "ItemElementType"), number, frame(call))


def _desired(call: Call, element: str) -> frozenset[str]:
    return frozenset(text.casefold() for text in call.message.texts(element))


# ---- requests


async def request_item(call: Call) -> Said:
    """A client places a patron's wish for a book of another library; a partner borrows one of ours."""
    return await (_place(call) if call.from_client else _borrow(call))


async def _place(call: Call) -> Said:
    card, title = await patron(call), bib_id(call)
    if isinstance(card, Refused):
        return card
    if not title:
        return Trouble(NEEDED_DATA_MISSING, "the title is named by its record number", "BibliographicId")
    agency, value = request_id(call)
    ask = RequestTitle(
        by=call.by,
        patron=card,
        bib_id=title,
        volume=volume(call),
        pickup_location=call.message.text("PickupLocation"),
        placed_by=agency,
        placed_id=value,
        hold=call.message.text("RequestType").casefold() == "hold",
        inbox=call.inbox,
    )
    return _said(call, await call.door.desk.request_title(ask))


async def _borrow(call: Call) -> Said:
    agency, value = request_id(call)
    if not value:
        return Trouble(NEEDED_DATA_MISSING, "a library names its request", "RequestId")
    ask = BorrowFromUs(
        by=call.by,
        partner=call.caller.agency,
        wire_agency=agency,
        wire_id=value,
        bib_id=bib_id(call),
        item=item(call, call.door.agency),
        volume=volume(call),
        pickup_location=call.message.text("PickupLocation"),
        inbox=call.inbox,
    )
    return _said(call, await call.door.desk.borrow_from_us(ask))


async def cancel_request_item(call: Call) -> Said:
    """A client cancels for a patron; a partner withdraws, or declines what we asked of it."""
    if not call.from_client:
        return _said(call, await call.door.desk.request_cancelled(heard(call)))
    card, (agency, value) = await patron(call), request_id(call)
    if isinstance(card, Refused):
        return card
    if not value:
        return Trouble(NEEDED_DATA_MISSING, "the request is named by its number", "RequestId")
    ours = agency == call.door.agency
    named = {"request": value} if ours else {"placed_by": agency, "placed_id": value}
    ask = CancelRequest(by=call.by, patron=card, inbox=call.inbox, **named)
    return _said(call, await call.door.desk.cancel(ask))


async def renew_item(call: Call) -> Said:
    """A client renews for a patron; a partner keeps a copy of ours longer."""
    return await (_renew_for_patron(call) if call.from_client else _renew_for_partner(call))


async def _renew_for_patron(call: Call) -> Said:
    card, copy = await patron(call), item(call, "")
    if isinstance(card, Refused):
        return card
    if copy is None:
        return refused(Why.UNKNOWN_ITEM)
    ask = Renew(by=call.by, card=card, barcode=copy.barcode, agency=copy.agency, inbox=call.inbox)
    return _said(call, await call.door.desk.renew(ask))


async def _renew_for_partner(call: Call) -> Said:
    told = heard(call, "DesiredDateDue")
    return _said(call, await call.door.desk.renewed_by_borrower(replace(told, item=item(call, call.door.agency))))


# ---- notifications


async def item_shipped(call: Call) -> Said:
    """The lender sends us a copy, or the borrower sends ours back."""
    return _noted(await call.door.desk.shipped(heard(call, BORROWED_DUE)))


async def item_received(call: Call) -> Said:
    """The borrower has our copy, or the lender has its own again."""
    return _noted(await call.door.desk.received(heard(call)))


async def item_request_cancelled(call: Call) -> Said:
    """The lender declines, or the borrower withdraws."""
    return _noted(await call.door.desk.request_cancelled(heard(call)))


# ---- answers


def _said(call: Call, outcome: Outcome) -> Said:
    return outcome if isinstance(outcome, Refused) else replies.fields(outcome, frame(call))


def _noted(outcome: Outcome) -> Said:
    """A notification is answered by nothing at all, or by a Problem."""
    return outcome if isinstance(outcome, Refused) else {}


def frame(call: Call) -> Frame:
    """Our agency and zone; the user of a partner's request is the one it named, else the institution."""
    named = call.message.text("UserId/UserIdentifierValue")
    agency = call.message.text("UserId/AgencyId") or call.door.agency
    institution = user_id(agency, named) if named else user_id(call.door.agency, INSTITUTION.format(call.caller.agency))
    return Frame(call.door.agency, call.door.timezone, institution)


# ---- which copy a RequestId is about


def copy_of(store: Store) -> CopyOf:
    """The `CopyOf` that asks the store."""

    async def found(agency: str, value: str) -> ItemKey | None:
        return await store.read(_copy_of, agency, value)

    return found


def _copy_of(unit: Any, agency: str, value: str) -> ItemKey | None:
    asked = unit.request_asked(value)
    request = unit.request_placed(agency, value) or unit.request_lent(agency, value) or (asked[0] if asked else None)
    request = request or unit.request(value)
    found: ItemKey | None = request.item if request else None
    return found

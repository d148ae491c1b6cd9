"""Makes NCIP messages for notifications to partners, with one function and one table row per kind of notification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules import dates
from hkall_gateway.rules.lender_reasons import LENDER_REASONS
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.xml.tree import Fields, Value

Document = Callable[[PartnerMessage, Partner, str], NcipMessage | None]
"""Function that maps (notification, partner, our agency) to the message without header, or to None to send no message."""

BARCODE: Final = "Barcode"
"""Default ItemIdentifierType for a barcode."""

CATALOGUE: Final = "HKALL"
"""AgencyId for the union catalogue's record numbers."""

LOAN: Final = "Loan"
"""Default RequestType of our requests."""

NameOrder = Literal["", "surname_first", "given_first"]
"""Position of the surname in a name without a comma. "" leaves such names undivided."""

INSTITUTION: Final = "{}-INST"
"""Default card number on which one library borrows from another. The lender does not learn who the patron is."""


def request_item(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Request the chosen item from the lender, or any item of the title if none was chosen."""
    record = record_id(message.bib_id, message.local_bib_id, partner)
    holdings: Fields = {"HoldingsInformation": {"UnstructuredHoldingsData": message.volume}}
    volume: Fields = {"ItemDescription": holdings} if message.volume else {}
    return _make_message(
        "RequestItem",
        UserId=_make_borrower(message, partner, agency),
        BibliographicId=[{"BibliographicRecordId": record}] if message.bib_id else [],
        ItemId=[item_id(message.item)] if message.item else [],
        RequestId=_our_request_id(message),
        RequestType=partner.request_type or LOAN,
        RequestScopeType=partner.request_scope_type or ("Item" if message.item else "Bibliographic Item"),
        ItemOptionalFields=_describe_item(message, volume),
        NeedBeforeDate=utc(dates.end_of(message.need_before)) if message.need_before else "",
        PickupLocation=message.pickup_location,
    )


def cancel_request_item(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Cancel our request at the lender."""
    borrower = _make_borrower(message, partner, agency)
    return _make_message(
        "CancelRequestItem", UserId=borrower, RequestId=theirs_or_ours(message), RequestType=partner.request_type or LOAN
    )


def item_received(message: PartnerMessage, _partner: Partner, _agency: str) -> NcipMessage:
    """Report that the item has arrived here, either the lender's item for our patron, or our own item after the loan."""
    return _make_message(
        "ItemReceived", **_item_fields(message), RequestId=_our_request_id(message), DateReceived=utc(message.at)
    )


def item_checked_out(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Report that our patron has borrowed the item, with the due date."""
    borrower = _make_borrower(message, partner, agency)
    return _make_message(
        "ItemCheckedOut", UserId=borrower, **_item_fields(message), RequestId=_our_request_id(message), **_due_fields(message)
    )


def item_renewed(message: PartnerMessage, _partner: Partner, _agency: str) -> NcipMessage:
    """Report that our patron has renewed the loan."""
    return _make_message("ItemRenewed", **_item_fields(message), **_due_fields(message), RenewalCount=str(message.renewals))


def renew_item(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Ask the lender to renew our patron's loan."""
    desired = utc(dates.end_of(message.due)) if message.due else ""
    return _make_message(
        "RenewItem", UserId=_make_borrower(message, partner, agency), **_item_fields(message), DesiredDateDue=desired
    )


def item_sent_home(message: PartnerMessage, partner: Partner, _agency: str) -> NcipMessage:
    """Report that the lender's item is on its way back."""
    return _make_shipment(message, partner.agency)


def item_claimed(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Report that our patron claims to have returned the item, so that the lender searches its shelves too."""
    return _make_report(message, partner, agency, ItemReportedReturned={"DateReportedReturned": utc(message.at)})


def item_lost(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Report that our patron has lost the item. Staff of both libraries agree on the charge."""
    return _make_report(message, partner, agency, ItemReportedLost=True)


def item_shipped(message: PartnerMessage, partner: Partner, _agency: str) -> NcipMessage:
    """Report that our item is on its way to the borrower, with the date on which we expect the item back."""
    shipped = _make_shipment(message, message.pickup_location or partner.agency)
    return _make_message("ItemShipped", **shipped.fields, ItemOptionalFields=_describe_item(message, _due_fields(message)))


def item_request_cancelled(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Decline the request. The CirculationStatus encodes a published reason (R37)."""
    borrower = user_id(agency, partner.institutional_card or INSTITUTION.format(partner.agency))
    row = LENDER_REASONS.get(message.reason)
    state: Fields = {"CirculationStatus": row.decline.status} if row and row.decline else {}
    return _make_message(
        "ItemRequestCancelled",
        UserId=borrower,
        RequestId=_our_request_id(message),
        RequestType=LOAN,
        ItemOptionalFields=state,
    )


def item_recalled(message: PartnerMessage, _partner: Partner, _agency: str) -> NcipMessage:
    """Recall our item, to be returned by the due date."""
    return _make_message("ItemRecalled", **_item_fields(message), **_due_fields(message))


def item_recall_cancelled(message: PartnerMessage, _partner: Partner, _agency: str) -> NcipMessage:
    """Cancel the recall of our item."""
    return _make_message("ItemRecallCancelled", **_item_fields(message))


def nothing(_message: PartnerMessage, _partner: Partner, _agency: str) -> None:
    """Return None for a notification that the flow does not send."""


# fmt: off
DOCUMENTS: Final[Mapping[Notification, Document]] = MappingProxyType({
    Notification.ASK_LENDER:                     request_item,
    Notification.CANCEL_AT_LENDER:               cancel_request_item,
    Notification.TELL_LENDER_RECEIVED:           item_received,
    Notification.TELL_LENDER_ON_LOAN:            item_checked_out,
    Notification.TELL_LENDER_RENEWED:            item_renewed,
    Notification.ASK_LENDER_TO_RENEW:            renew_item,
    Notification.ASK_LENDER_LATER_DATE:          renew_item,
    Notification.TELL_LENDER_RETURNED:           nothing,            # TELL_LENDER_ON_ITS_WAY follows
    Notification.TELL_LENDER_ON_ITS_WAY:         item_sent_home,
    Notification.TELL_LENDER_CLAIMED:            item_claimed,
    Notification.TELL_LENDER_LOST:               item_lost,
    Notification.TELL_BORROWER_SHIPPED:          item_shipped,
    Notification.TELL_BORROWER_DECLINED:         item_request_cancelled,
    Notification.TELL_BORROWER_RECALLED:         item_recalled,
    Notification.TELL_BORROWER_RECALL_CANCELLED: item_recall_cancelled,
    Notification.TELL_BORROWER_HOME:             item_received,
})
# fmt: on


def user_id(agency: str, card: str) -> Fields:
    """Make the UserId for a library's card."""
    return {"AgencyId": agency, "UserIdentifierType": "Barcode Id", "UserIdentifierValue": card}


def item_id(item: ItemKey) -> Fields:
    """Make the ItemId for an item."""
    return {"AgencyId": item.agency, "ItemIdentifierType": BARCODE, "ItemIdentifierValue": item.barcode}


def request_id(agency: str, value: str) -> Fields:
    """Make the RequestId for the number `value` that `agency` assigned to a request."""
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def record_id(bib_id: str, local_bib_id: str, partner: Partner) -> Fields:
    """Make the record id of a title from the partner's own number if known, else from the union catalogue's number."""
    if local_bib_id:
        return {"BibliographicRecordIdentifier": local_bib_id, "AgencyId": partner.agency}
    return {"BibliographicRecordIdentifier": bib_id, "AgencyId": CATALOGUE}


def utc(when: datetime) -> str:
    """Format a time as xs:dateTime in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _make_message(service: str, **fields: Value) -> NcipMessage:
    """Make a message, omitting empty fields."""
    return NcipMessage(service=service, fields=_without_empty(**fields))


def _make_report(message: PartnerMessage, partner: Partner, agency: str, **what: Value) -> NcipMessage:
    borrower = _make_borrower(message, partner, agency)
    return _make_message("CirculationStatusChangeReported", **_item_fields(message), UserId=borrower, **what)


def _item_fields(message: PartnerMessage) -> dict[str, Value]:
    return {"ItemId": item_id(message.item)} if message.item else {}


def _due_fields(message: PartnerMessage) -> dict[str, Value]:
    return {"DateDue": utc(dates.end_of(message.due))} if message.due else {}


def _our_request_id(message: PartnerMessage) -> Fields:
    return request_id(message.wire_agency, message.wire_id) if message.wire_id else {}


def theirs_or_ours(message: PartnerMessage) -> Fields:
    """Make the RequestId from the lender's own number for the request if known, else from our number."""
    agency, _, value = message.their_number.partition(":")
    return request_id(agency, value) if value else _our_request_id(message)


def _make_borrower(message: PartnerMessage, partner: Partner, agency: str) -> Fields:
    if partner.user_sent == "patron" and message.patron:
        return user_id(agency, message.patron)
    return user_id(partner.agency, partner.our_user or INSTITUTION.format(agency))


def _describe_item(message: PartnerMessage, more: Fields) -> Fields:
    """Make ItemOptionalFields from a description of the item, which iNCIPit and lib-ncip-client use, and from `more`."""
    title = _without_empty(Author=message.author, Title=message.title)
    about = _without_empty(CallNumber=message.call_number, **more.get("ItemDescription", {}))  # type: ignore[arg-type]  # it is a mapping
    return {**more, **_without_empty(BibliographicDescription=title, ItemDescription=about)}


def _without_empty(**parts: Value) -> dict[str, Value]:
    return {name: value for name, value in parts.items() if value not in ("", [], {})}


def _make_shipment(message: PartnerMessage, address: str) -> NcipMessage:
    place: Fields = {"UnstructuredAddressType": "Newline-Delimited Text", "UnstructuredAddressData": address}
    to: Fields = {"PhysicalAddress": {"UnstructuredAddress": place, "PhysicalAddressType": "Street Address"}}
    shipped = utc(message.at)
    return _make_message(
        "ItemShipped", RequestId=_our_request_id(message), **_item_fields(message), DateShipped=shipped, ShippingInformation=to
    )

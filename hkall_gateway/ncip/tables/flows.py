"""One table per flow that maps each notification to the document to send.

A notification without a document in the partner's flow counts as delivered. Brokers get commands but no notifications, since
they track requests themselves. Only OpenRS is notified of an item's progress. INN-Reach's central server gets no
notifications, since it mirrors its own events to us. In the INN-Reach flow, requests to libraries are sent as NCIP 1.0 events.
Source: reference 6.1, 6.3; dcb-service for OpenRS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.tables.notifications import (
    DOCUMENTS,
    LOAN,
    Document,
    cancel_request_item,
    item_checked_out,
    item_id,
    item_recall_cancelled,
    item_recalled,
    item_received,
    item_request_cancelled,
    item_sent_home,
    item_shipped,
    nothing,
    renew_item,
    request_item,
)
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.xml.tree import Coded, Fields

P = Position
IN_PROCESS: Final = "In Process"
LABELS_SCHEME: Final = "urn:x-hkall:requeststatustype"
"""Scheme for the consortium's labels (HKALL REQUESTD, TRANSFERRED, HKALL RECVD)."""

# fmt: off
STATUS: Final[Mapping[Position, str]] = MappingProxyType({
    P.NEW:            IN_PROCESS,
    P.REQUESTED:      IN_PROCESS,
    P.CANCELLING:     IN_PROCESS,
    P.IN_TRANSIT:     IN_PROCESS,
    P.RECEIVED:       "Available For Pickup",
    P.ON_LOAN:        IN_PROCESS,
    P.TO_RETURN:      IN_PROCESS,
    P.UNFILLED:       "Cannot Fulfill Request",
    P.CANCELLED:      "Expired",
    P.PAGED:          IN_PROCESS,
    P.SHIPPED:        IN_PROCESS,
    P.AT_BORROWER:    IN_PROCESS,
    P.DECLINED:       "Cannot Fulfill Request",
    P.WITHDRAWN:      "Expired",
    P.RETURN_TRANSIT: IN_PROCESS,
    P.CLOSED:         IN_PROCESS,
})
"""Position -> RequestStatusType. Source: NCIP v1 schemes, requeststatustype."""
# fmt: on
UNCOLLECTED: Final = "Expired"


def status_of(position: Position, *, uncollected: bool = False) -> str:
    """Return NISO's word for a position. `uncollected` is true if the last day for pickup has passed (R14)."""
    return UNCOLLECTED if uncollected else STATUS.get(position, IN_PROCESS)


def request_status(position: Position, label: str, *, as_label: bool, uncollected: bool = False) -> Fields:
    """Build a RequestStatusType with NISO's value, and an Ext/RequestStatusType with `label`, the text in the patron's record.

    With `as_label`, put the label into the RequestStatusType itself. The element in the Ext has the same name because an Ext
    allows only declared elements (xs:any is strict). Source: HKALL rules R35.
    """
    if not label:
        return {"RequestStatusType": status_of(position, uncollected=uncollected)}
    word = Coded(label, LABELS_SCHEME)
    if as_label:
        return {"RequestStatusType": word}
    return {"RequestStatusType": status_of(position, uncollected=uncollected), "Ext": {"RequestStatusType": word}}


def page(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage | None:
    """Ask the lending system to put the item on its pull list. Return None if the broker itself placed the request."""
    if is_placed_by_partner(message, agency):
        return None
    request = request_item(message, partner, agency)
    kinds = {"RequestType": partner.request_type or "Page", "RequestScopeType": partner.request_scope_type or "Item"}
    return replace(request, fields={**request.fields, **kinds})


def unpage(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage | None:
    """Cancel the paging of the item. Return None if the broker itself placed the request."""
    return None if is_placed_by_partner(message, agency) else cancel_request_item(message, partner, agency)


def recall_item(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Recall our item, to be returned by the due date."""
    recall = item_recalled(message, partner, agency)
    due: Fields = {"DesiredDateDue": recall.fields["DateDue"]} if "DateDue" in recall.fields else {}
    return NcipMessage(service="RecallItem", fields={**{n: v for n, v in recall.fields.items() if n != "DateDue"}, **due})


def cancel_recall_item(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Cancel the recall of our item."""
    return NcipMessage(service="CancelRecallItem", fields=item_recall_cancelled(message, partner, agency).fields)


def item_requested(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage | None:
    """Ask the owner to put the item aside. Return None if the partner itself placed the request."""
    if is_placed_by_partner(message, agency):
        return None
    request = request_item(message, partner, agency)
    if message.item is None:
        return NcipMessage(service="ItemRequested", fields=request.fields)
    kept = {"UserId": request.fields["UserId"], "ItemId": item_id(message.item)}
    kept |= {name: value for name, value in request.fields.items() if name == "ItemOptionalFields"}
    return NcipMessage(service="ItemRequested", fields={**kept, "RequestType": LOAN, "RequestScopeType": "Item"})


def request_withdrawn(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage | None:
    """Withdraw the request to put the item aside. Return None if the partner itself placed the request."""
    if is_placed_by_partner(message, agency):
        return None
    cancellation = cancel_request_item(message, partner, agency)
    if message.item is None:
        return NcipMessage(service="ItemRequestCancelled", fields=cancellation.fields)
    user = cancellation.fields["UserId"]
    return NcipMessage(
        service="ItemRequestCancelled", fields={"UserId": user, "ItemId": item_id(message.item), "RequestType": LOAN}
    )


def is_placed_by_partner(message: PartnerMessage, agency: str) -> bool:
    """Check whether the partner itself placed the request under its own number, so that we need not send a request."""
    return message.wire_agency != agency


def cancelled_there(message: PartnerMessage, partner: Partner, agency: str) -> NcipMessage:
    """Decline the request with a CancelRequestItem, as OpenRS expects."""
    decline = item_request_cancelled(message, partner, agency)
    return NcipMessage(
        service="CancelRequestItem", fields={n: v for n, v in decline.fields.items() if n != "ItemOptionalFields"}
    )


_SILENT: Final[Mapping[Notification, Document]] = MappingProxyType(dict.fromkeys(DOCUMENTS, nothing))

# fmt: off
BROKER: Final[Mapping[Notification, Document]] = MappingProxyType({
    **_SILENT,
    Notification.ASK_LENDER:                     page,
    Notification.CANCEL_AT_LENDER:               unpage,
    Notification.ASK_LENDER_TO_RENEW:            renew_item,
    Notification.ASK_LENDER_LATER_DATE:          renew_item,
    Notification.TELL_BORROWER_RECALLED:         recall_item,
    Notification.TELL_BORROWER_RECALL_CANCELLED: cancel_recall_item,
})

INNREACH: Final[Mapping[Notification, Document]] = MappingProxyType({
    **_SILENT,
    Notification.ASK_LENDER:                     item_requested,
    Notification.CANCEL_AT_LENDER:               request_withdrawn,
    Notification.ASK_LENDER_TO_RENEW:            renew_item,
    Notification.ASK_LENDER_LATER_DATE:          renew_item,
})
OPENRS: Final[Mapping[Notification, Document]] = MappingProxyType({
    **_SILENT,
    Notification.TELL_LENDER_RECEIVED:           item_received,
    Notification.TELL_LENDER_ON_LOAN:            item_checked_out,
    Notification.TELL_LENDER_ON_ITS_WAY:         item_sent_home,
    Notification.TELL_BORROWER_SHIPPED:          item_shipped,
    Notification.TELL_BORROWER_DECLINED:         cancelled_there,
    Notification.TELL_BORROWER_HOME:             item_received,
})
# fmt: on

FLOWS: Final[Mapping[str, Mapping[Notification, Document]]] = MappingProxyType(
    {"direct": DOCUMENTS, "broker": BROKER, "innreach": INNREACH, "openrs": OPENRS}
)
"""Flow -> documents in that flow."""

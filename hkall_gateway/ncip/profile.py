"""The supported services and their callers: one row a service, with other handlers in the broker flows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.partner_notice import ItemCheckedIn, ItemCheckedOut, ItemReceived, ItemShipped, RequestCancelled
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled
from hkall_gateway.ncip import broker_flow, lookups, requests
from hkall_gateway.ncip.broker_flow import make_accept_handler, make_broker_handler, make_mirror_handler
from hkall_gateway.ncip.reply_payload import Payload
from hkall_gateway.ncip.requests import make_notice_handler
from hkall_gateway.ncip.service_request import DIRECT, Caller, Kind, NcipServices, ServiceRequest


@dataclass(frozen=True, slots=True)
class Service:
    """A supported service: the kinds of callers that may use it, and its handler."""

    who: frozenset[Kind]
    handle: Callable[[ServiceRequest], Awaitable[Payload]]


CLIENT: Final[frozenset[Kind]] = frozenset({"client"})
PARTNER: Final[frozenset[Kind]] = frozenset({"partner"})
BOTH: Final = CLIENT | PARTNER

_CHECKED_OUT: Final = make_notice_handler(ItemCheckedOut, "DateDue", "DesiredDateDue")
_CHECKED_IN: Final = make_notice_handler(ItemCheckedIn)
_RECALLED: Final = make_notice_handler(ItemRecalled, "DateDue", "DesiredDateDue", owner=True)
_RECALL_CANCELLED: Final = make_notice_handler(RecallCancelled, owner=True)

# fmt: off
HANDLERS: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":                      Service(CLIENT,  lookups.lookup_user),
    "LookupItem":                      Service(BOTH,    lookups.lookup_item),
    "LookupItemSet":                   Service(BOTH,    lookups.lookup_item_set),
    "LookupRequest":                   Service(BOTH,    lookups.lookup_request),
    "LookupAgency":                    Service(BOTH,    lookups.lookup_agency),
    "RequestItem":                     Service(BOTH,    requests.request_item),
    "ItemRequested":                   Service(BOTH,    requests.request_item),
    "CancelRequestItem":               Service(BOTH,    requests.cancel_request_item),
    "ItemRequestCancelled":            Service(PARTNER, make_notice_handler(RequestCancelled)),
    "UpdateRequestItem":               Service(BOTH,    requests.update_request_item),
    "ItemRequestUpdated":              Service(BOTH,    requests.update_request_item),
    "RenewItem":                       Service(BOTH,    requests.renew_item),
    "ItemRenewed":                     Service(PARTNER, requests.handle_renewal),
    "ItemShipped":                     Service(PARTNER, make_notice_handler(ItemShipped, "ItemOptionalFields/DateDue")),
    "AcceptItem":                      Service(PARTNER, make_notice_handler(ItemShipped, "DateForReturn")),
    "ItemReceived":                    Service(PARTNER, make_notice_handler(ItemReceived)),
    "CheckOutItem":                    Service(PARTNER, _CHECKED_OUT),
    "ItemCheckedOut":                  Service(PARTNER, _CHECKED_OUT),
    "CheckInItem":                     Service(PARTNER, _CHECKED_IN),
    "ItemCheckedIn":                   Service(PARTNER, _CHECKED_IN),
    "RecallItem":                      Service(PARTNER, _RECALLED),
    "ItemRecalled":                    Service(PARTNER, _RECALLED),
    "CancelRecallItem":                Service(PARTNER, _RECALL_CANCELLED),
    "ItemRecallCancelled":             Service(PARTNER, _RECALL_CANCELLED),
    "UpdateCirculationStatus":         Service(BOTH,    requests.set_circulation_status),
    "CirculationStatusUpdated":        Service(BOTH,    requests.set_circulation_status),
    "ReportCirculationStatusChange":   Service(BOTH,    requests.report_item),
    "CirculationStatusChangeReported": Service(BOTH,    requests.report_item),
    "CreateUserFiscalTransaction":     Service(CLIENT,  requests.record_fiscal_transaction),
    "UserFiscalTransactionCreated":    Service(CLIENT,  requests.record_fiscal_transaction),
    "UndoCheckOutItem":                Service(frozenset(), _CHECKED_OUT),
    "CreateItem":                      Service(frozenset(), make_broker_handler("announce")),
    "UpdateItem":                      Service(frozenset(), make_broker_handler("describe")),
    "DeleteItem":                      Service(frozenset(), make_broker_handler("delete")),
})
"""The services for partners in the direct flow and for our own systems. A row without callers is for brokers only."""

BROKER: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":                      Service(PARTNER, lookups.lookup_user),
    "AcceptItem":                      Service(PARTNER, make_accept_handler("accept")),
    "CheckOutItem":                    Service(PARTNER, make_broker_handler("check_out")),
    "ItemCheckedOut":                  Service(PARTNER, make_broker_handler("check_out")),
    "UndoCheckOutItem":                Service(PARTNER, make_broker_handler("undo_check_out")),
    "CheckInItem":                     Service(PARTNER, make_broker_handler("check_in")),
    "ItemCheckedIn":                   Service(PARTNER, make_broker_handler("check_in")),
    "CancelRequestItem":               Service(PARTNER, make_broker_handler("withdraw")),
    "ItemRequestCancelled":            Service(PARTNER, make_broker_handler("withdraw")),
    "RenewItem":                       Service(PARTNER, make_broker_handler("renew")),
    "RecallItem":                      Service(PARTNER, broker_flow.handle_recall),
    "ItemRecalled":                    Service(PARTNER, broker_flow.handle_recall),
    "CancelRecallItem":                Service(PARTNER, broker_flow.handle_recall_cancelled),
    "ItemRecallCancelled":             Service(PARTNER, broker_flow.handle_recall_cancelled),
    "CreateItem":                      Service(PARTNER, make_broker_handler("announce")),
    "UpdateItem":                      Service(PARTNER, make_broker_handler("describe")),
    "DeleteItem":                      Service(PARTNER, make_broker_handler("delete")),
    "CreateUserFiscalTransaction":     Service(PARTNER, requests.record_fiscal_transaction),
    "UserFiscalTransactionCreated":    Service(PARTNER, requests.record_fiscal_transaction),
})
"""The services that differ for a broker that drives us."""

OPENRS: Final[Mapping[str, Service]] = MappingProxyType({
    "AcceptItem":                      Service(PARTNER, make_accept_handler("expect")),
})
"""The services that differ for OpenRS: its AcceptItem comes when the lender is found, long before the book."""

INNREACH: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":                      Service(PARTNER, lookups.lookup_user),
    "RequestItem":                     Service(PARTNER, make_mirror_handler("mirror_request")),
    "ItemRequested":                   Service(PARTNER, make_mirror_handler("mirror_request")),
    "CancelRequestItem":               Service(PARTNER, make_mirror_handler("mirror_cancel")),
    "ItemRequestCancelled":            Service(PARTNER, make_mirror_handler("mirror_cancel")),
    "ItemShipped":                     Service(PARTNER, make_mirror_handler("mirror_shipped")),
    "AcceptItem":                      Service(PARTNER, make_mirror_handler("mirror_received")),
    "CheckOutItem":                    Service(PARTNER, make_mirror_handler("mirror_lent")),
    "ItemCheckedOut":                  Service(PARTNER, make_mirror_handler("mirror_lent")),
    "CheckInItem":                     Service(PARTNER, make_mirror_handler("mirror_taken_in")),
    "ItemCheckedIn":                   Service(PARTNER, make_mirror_handler("mirror_taken_in")),
    "ItemReceived":                    Service(PARTNER, make_mirror_handler("mirror_home")),
    "RenewItem":                       Service(PARTNER, make_mirror_handler("mirror_renewed")),
    "ItemRenewed":                     Service(PARTNER, make_mirror_handler("mirror_renewed")),
    "RecallItem":                      Service(PARTNER, make_mirror_handler("mirror_recalled")),
    "ItemRecalled":                    Service(PARTNER, make_mirror_handler("mirror_recalled")),
    "CancelRecallItem":                Service(PARTNER, make_mirror_handler("mirror_recall_cancelled")),
    "ItemRecallCancelled":             Service(PARTNER, make_mirror_handler("mirror_recall_cancelled")),
})
"""The services that differ for INN-Reach, which mirrors its events to us."""

FLOWS: Final[Mapping[str, Mapping[str, Service]]] = MappingProxyType({
    DIRECT:     HANDLERS,
    "broker":   MappingProxyType({**HANDLERS, **BROKER}),
    "innreach": MappingProxyType({**HANDLERS, **INNREACH}),
    "openrs":   MappingProxyType({**HANDLERS, **BROKER, **OPENRS}),
})
"""The services of each flow that a dialect may name."""
# fmt: on


def service_for(services: NcipServices, caller: Caller, name: str) -> Service | None:
    """Return the service in this caller's flow. None if it is not supported there. Clients use the direct flow."""
    flow = DIRECT if caller.kind == "client" else services.dialect(caller.agency).flow
    return FLOWS[flow].get(name)

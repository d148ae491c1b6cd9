"""The supported services, with the callers that may use each service, and the handler in each flow."""

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
from hkall_gateway.ncip.service_request import DIRECT, NcipServices, ServiceRequest
from hkall_gateway.peers.callers import Caller, Kind

Handle = Callable[[ServiceRequest], Awaitable[Payload]]


@dataclass(frozen=True, slots=True)
class Service:
    """A supported service: the kinds of callers that may use the service, and the handler."""

    who: frozenset[Kind]
    handle: Handle


CLIENT: Final[frozenset[Kind]] = frozenset({"client"})
PARTNER: Final[frozenset[Kind]] = frozenset({"partner"})
BOTH: Final = CLIENT | PARTNER


def _table(*rows: tuple[str, frozenset[Kind], Handle]) -> Mapping[str, Service]:
    """Return the services by name. A row may name a command and its notification, which share a handler."""
    return MappingProxyType({name: Service(who, handle) for names, who, handle in rows for name in names.split()})


_DUES: Final = ("DateDue", "DesiredDateDue")

# fmt: off
HANDLERS: Final = _table(
    ("LookupUser",                                                    CLIENT,      lookups.lookup_user),
    ("LookupItem",                                                    BOTH,        lookups.lookup_item),
    ("LookupItemSet",                                                 BOTH,        lookups.lookup_item_set),
    ("LookupRequest",                                                 BOTH,        lookups.lookup_request),
    ("LookupAgency",                                                  BOTH,        lookups.lookup_agency),
    ("RequestItem ItemRequested",                                     BOTH,        requests.request_item),
    ("CancelRequestItem",                                             BOTH,        requests.cancel_request_item),
    ("UpdateRequestItem ItemRequestUpdated",                          BOTH,        requests.update_request_item),
    ("RenewItem",                                                     BOTH,        requests.renew_item),
    ("ItemRenewed",                                                   PARTNER,     requests.handle_renewal),
    ("UpdateCirculationStatus CirculationStatusUpdated",              BOTH,        requests.set_circulation_status),
    ("ReportCirculationStatusChange CirculationStatusChangeReported", BOTH,        requests.report_item),
    ("CreateUserFiscalTransaction UserFiscalTransactionCreated",      CLIENT,      requests.record_fiscal_transaction),
    ("CreateItem",                                                    frozenset(), make_broker_handler("announce")),
    ("UpdateItem",                                                    frozenset(), make_broker_handler("describe")),
    ("DeleteItem",                                                    frozenset(), make_broker_handler("delete")),
    # Notices from partners.
    ("ItemRequestCancelled",                 PARTNER,     make_notice_handler(RequestCancelled)),
    ("ItemShipped",                          PARTNER,     make_notice_handler(ItemShipped, "ItemOptionalFields/DateDue")),
    ("AcceptItem",                           PARTNER,     make_notice_handler(ItemShipped, "DateForReturn")),
    ("ItemReceived",                         PARTNER,     make_notice_handler(ItemReceived)),
    ("CheckOutItem ItemCheckedOut",          PARTNER,     make_notice_handler(ItemCheckedOut, *_DUES)),
    ("UndoCheckOutItem",                     frozenset(), make_notice_handler(ItemCheckedOut, *_DUES)),
    ("CheckInItem ItemCheckedIn",            PARTNER,     make_notice_handler(ItemCheckedIn)),
    ("RecallItem ItemRecalled",              PARTNER,     make_notice_handler(ItemRecalled, *_DUES, owner=True)),
    ("CancelRecallItem ItemRecallCancelled", PARTNER,     make_notice_handler(RecallCancelled, owner=True)),
)
"""Services for clients, and for partners in the direct flow. A service without callers is only available in other flows."""

BROKER: Final = _table(
    ("LookupUser",                                               PARTNER, lookups.lookup_user),
    ("AcceptItem",                                               PARTNER, make_accept_handler("accept")),
    ("CheckOutItem ItemCheckedOut",                              PARTNER, make_broker_handler("check_out")),
    ("UndoCheckOutItem",                                         PARTNER, make_broker_handler("undo_check_out")),
    ("CheckInItem ItemCheckedIn",                                PARTNER, make_broker_handler("check_in")),
    ("CancelRequestItem ItemRequestCancelled",                   PARTNER, make_broker_handler("withdraw")),
    ("RenewItem",                                                PARTNER, make_broker_handler("renew")),
    ("RecallItem ItemRecalled",                                  PARTNER, broker_flow.handle_recall),
    ("CancelRecallItem ItemRecallCancelled",                     PARTNER, broker_flow.handle_recall_cancelled),
    ("CreateItem",                                               PARTNER, make_broker_handler("announce")),
    ("UpdateItem",                                               PARTNER, make_broker_handler("describe")),
    ("DeleteItem",                                               PARTNER, make_broker_handler("delete")),
    ("CreateUserFiscalTransaction UserFiscalTransactionCreated", PARTNER, requests.record_fiscal_transaction),
)
"""Services that differ for a broker that controls us."""

OPENRS: Final = _table(("AcceptItem", PARTNER, make_accept_handler("expect")))
"""Services that differ for OpenRS, which sends AcceptItem when a lender is found, long before the book arrives."""

INNREACH: Final = _table(
    ("LookupUser",                             PARTNER, lookups.lookup_user),
    ("RequestItem ItemRequested",              PARTNER, make_mirror_handler("mirror_request")),
    ("CancelRequestItem ItemRequestCancelled", PARTNER, make_mirror_handler("mirror_cancel")),
    ("ItemShipped",                            PARTNER, make_mirror_handler("mirror_shipped")),
    ("AcceptItem",                             PARTNER, make_mirror_handler("mirror_received")),
    ("CheckOutItem ItemCheckedOut",            PARTNER, make_mirror_handler("mirror_lent")),
    ("CheckInItem ItemCheckedIn",              PARTNER, make_mirror_handler("mirror_taken_in")),
    ("ItemReceived",                           PARTNER, make_mirror_handler("mirror_home")),
    ("RenewItem ItemRenewed",                  PARTNER, make_mirror_handler("mirror_renewed")),
    ("RecallItem ItemRecalled",                PARTNER, make_mirror_handler("mirror_recalled")),
    ("CancelRecallItem ItemRecallCancelled",   PARTNER, make_mirror_handler("mirror_recall_cancelled")),
)
"""Services that differ for INN-Reach, which mirrors its events to us."""

FLOWS: Final[Mapping[str, Mapping[str, Service]]] = MappingProxyType({
    DIRECT:     HANDLERS,
    "broker":   MappingProxyType({**HANDLERS, **BROKER}),
    "innreach": MappingProxyType({**HANDLERS, **INNREACH}),
    "openrs":   MappingProxyType({**HANDLERS, **BROKER, **OPENRS}),
})
"""Flow -> services in that flow."""
# fmt: on


def service_for(services: NcipServices, caller: Caller, name: str) -> Service | None:
    """Return the service `name` in the caller's flow, or None if unsupported. Clients use the direct flow."""
    flow = DIRECT if caller.kind == "client" else services.dialect(caller.agency).flow
    return FLOWS[flow].get(name)

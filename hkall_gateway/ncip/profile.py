"""The supported services, their callers and reasons: one row a service, with other handlers in the broker flows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip import broker_flow, lookups, requests
from hkall_gateway.ncip.broker_flow import accepts, mirrors, sends
from hkall_gateway.ncip.reply_payload import Payload
from hkall_gateway.ncip.service_request import DIRECT, Caller, Kind, NcipServices, ServiceRequest


@dataclass(frozen=True, slots=True)
class Service:
    """A supported service: the kinds of callers that may use it, and its handler."""

    who: frozenset[Kind]
    handle: Callable[[ServiceRequest], Awaitable[Payload]]


CLIENT: Final[frozenset[Kind]] = frozenset({"client"})
PARTNER: Final[frozenset[Kind]] = frozenset({"partner"})
BOTH: Final = CLIENT | PARTNER

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
    "ItemRequestCancelled":            Service(PARTNER, requests.item_request_cancelled),
    "UpdateRequestItem":               Service(BOTH,    requests.update_request_item),
    "ItemRequestUpdated":              Service(BOTH,    requests.update_request_item),
    "RenewItem":                       Service(BOTH,    requests.renew_item),
    "ItemRenewed":                     Service(PARTNER, requests.renewed),
    "ItemShipped":                     Service(PARTNER, requests.item_shipped),
    "AcceptItem":                      Service(PARTNER, requests.accept_item),
    "ItemReceived":                    Service(PARTNER, requests.item_received),
    "CheckOutItem":                    Service(PARTNER, requests.checked_out),
    "ItemCheckedOut":                  Service(PARTNER, requests.checked_out),
    "CheckInItem":                     Service(PARTNER, requests.checked_in),
    "ItemCheckedIn":                   Service(PARTNER, requests.checked_in),
    "RecallItem":                      Service(PARTNER, requests.recalled),
    "ItemRecalled":                    Service(PARTNER, requests.recalled),
    "CancelRecallItem":                Service(PARTNER, requests.recall_cancelled),
    "ItemRecallCancelled":             Service(PARTNER, requests.recall_cancelled),
    "UpdateCirculationStatus":         Service(BOTH,    requests.circulation_status),
    "CirculationStatusUpdated":        Service(BOTH,    requests.circulation_status),
    "ReportCirculationStatusChange":   Service(BOTH,    requests.reported),
    "CirculationStatusChangeReported": Service(BOTH,    requests.reported),
    "CreateUserFiscalTransaction":     Service(CLIENT,  requests.fiscal_transaction),
    "UserFiscalTransactionCreated":    Service(CLIENT,  requests.fiscal_transaction),
    "UndoCheckOutItem":                Service(frozenset(), requests.checked_out),
    "CreateItem":                      Service(frozenset(), sends("announce")),
    "UpdateItem":                      Service(frozenset(), sends("describe")),
    "DeleteItem":                      Service(frozenset(), sends("delete")),
})
"""The services for partners in the direct flow and for our own systems. A row without callers is for brokers only."""

BROKER: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":                      Service(PARTNER, lookups.lookup_user),
    "AcceptItem":                      Service(PARTNER, accepts("accept")),
    "CheckOutItem":                    Service(PARTNER, sends("check_out")),
    "ItemCheckedOut":                  Service(PARTNER, sends("check_out")),
    "UndoCheckOutItem":                Service(PARTNER, sends("undo_check_out")),
    "CheckInItem":                     Service(PARTNER, sends("check_in")),
    "ItemCheckedIn":                   Service(PARTNER, sends("check_in")),
    "CancelRequestItem":               Service(PARTNER, sends("withdraw")),
    "ItemRequestCancelled":            Service(PARTNER, sends("withdraw")),
    "RenewItem":                       Service(PARTNER, sends("renew")),
    "RecallItem":                      Service(PARTNER, broker_flow.recalled),
    "ItemRecalled":                    Service(PARTNER, broker_flow.recalled),
    "CancelRecallItem":                Service(PARTNER, broker_flow.recall_cancelled),
    "ItemRecallCancelled":             Service(PARTNER, broker_flow.recall_cancelled),
    "CreateItem":                      Service(PARTNER, sends("announce")),
    "UpdateItem":                      Service(PARTNER, sends("describe")),
    "DeleteItem":                      Service(PARTNER, sends("delete")),
    "CreateUserFiscalTransaction":     Service(PARTNER, requests.fiscal_transaction),
    "UserFiscalTransactionCreated":    Service(PARTNER, requests.fiscal_transaction),
})
"""The services that differ for a broker that drives us."""

OPENRS: Final[Mapping[str, Service]] = MappingProxyType({
    "AcceptItem":                      Service(PARTNER, accepts("expect")),
})
"""The services that differ for OpenRS: its AcceptItem comes when the lender is found, long before the book."""

INNREACH: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":                      Service(PARTNER, lookups.lookup_user),
    "RequestItem":                     Service(PARTNER, mirrors("mirror_request")),
    "ItemRequested":                   Service(PARTNER, mirrors("mirror_request")),
    "CancelRequestItem":               Service(PARTNER, mirrors("mirror_cancel")),
    "ItemRequestCancelled":            Service(PARTNER, mirrors("mirror_cancel")),
    "ItemShipped":                     Service(PARTNER, mirrors("mirror_shipped")),
    "AcceptItem":                      Service(PARTNER, mirrors("mirror_received")),
    "CheckOutItem":                    Service(PARTNER, mirrors("mirror_lent")),
    "ItemCheckedOut":                  Service(PARTNER, mirrors("mirror_lent")),
    "CheckInItem":                     Service(PARTNER, mirrors("mirror_taken_in")),
    "ItemCheckedIn":                   Service(PARTNER, mirrors("mirror_taken_in")),
    "ItemReceived":                    Service(PARTNER, mirrors("mirror_home")),
    "RenewItem":                       Service(PARTNER, mirrors("mirror_renewed")),
    "ItemRenewed":                     Service(PARTNER, mirrors("mirror_renewed")),
    "RecallItem":                      Service(PARTNER, mirrors("mirror_recalled")),
    "ItemRecalled":                    Service(PARTNER, mirrors("mirror_recalled")),
    "CancelRecallItem":                Service(PARTNER, mirrors("mirror_recall_cancelled")),
    "ItemRecallCancelled":             Service(PARTNER, mirrors("mirror_recall_cancelled")),
})
"""The services that differ for INN-Reach, which mirrors its events to us."""

FLOWS: Final[Mapping[str, Mapping[str, Service]]] = MappingProxyType({
    DIRECT:     HANDLERS,
    "broker":   MappingProxyType({**HANDLERS, **BROKER}),
    "innreach": MappingProxyType({**HANDLERS, **INNREACH}),
    "openrs":   MappingProxyType({**HANDLERS, **BROKER, **OPENRS}),
})
"""The services of each flow that a dialect may name."""

WHY: Final[Mapping[str, str]] = MappingProxyType({
    "LookupUser":                      "a patron's loans, requests and debts, as far as requested; not for partners",
    "LookupItem":                      "the circulation status of a copy, by copy or by request; never its borrower",
    "LookupItemSet":                   "copies of titles, page by page: all libraries' for our systems, ours for partners",
    "LookupRequest":                   "the state of a request, for its two libraries and the system that placed it",
    "LookupAgency":                    "our name, our consortium and the flows that we support",
    "LookupVersion":                   "the supported versions and services, for every caller",
    "RequestItem":                     "a client places a patron's request; a partner borrows from us",
    "ItemRequested":                   "the same as RequestItem, reported afterwards",
    "CancelRequestItem":               "a patron cancels; a partner withdraws or declines",
    "ItemRequestCancelled":            "the lender declines, the borrower withdraws",
    "UpdateRequestItem":               "another pickup location or last day; no other part of a request can change",
    "ItemRequestUpdated":              "the same as UpdateRequestItem, reported afterwards",
    "RenewItem":                       "a patron, or the borrower of our copy, renews the loan",
    "ItemRenewed":                     "the owner grants a renewal, or the borrower takes it",
    "ItemShipped":                     "both ways: to the borrower and home",
    "AcceptItem":                      "a lender hands its copy over; from a broker: the book is here, for this patron",
    "ItemReceived":                    "both ways: the borrower has it, the lender has it back",
    "CheckOutItem":                    "a lender charges us, a borrower's reader has it; from a broker: lend or ship it",
    "ItemCheckedOut":                  "the same as CheckOutItem, reported afterwards",
    "UndoCheckOutItem":                "a broker takes a loan to our patron back; a shipment stays",
    "CheckInItem":                     "the book is back at its owner, or on its way there",
    "ItemCheckedIn":                   "the same as CheckInItem, reported afterwards",
    "RecallItem":                      "the owner of a borrowed book recalls it (R23 to R26)",
    "ItemRecalled":                    "the same as RecallItem, reported afterwards",
    "CancelRecallItem":                "the owner cancels the recall",
    "ItemRecallCancelled":             "the same as CancelRecallItem, reported afterwards",
    "CreateItem":                      "a broker announces a book; the gateway keeps no catalogue",
    "UpdateItem":                      "a broker's title of its own book; the gateway keeps no catalogue",
    "DeleteItem":                      "a broker's book has gone home",
    "UpdateCirculationStatus":         "a library's status of its own copy replaces the loaded one",
    "CirculationStatusUpdated":        "the same as UpdateCirculationStatus, reported afterwards",
    "ReportCirculationStatusChange":   "claimed as returned, or lost, by the library that has it",
    "CirculationStatusChangeReported": "the same as ReportCirculationStatusChange, reported afterwards",
    "CreateUserFiscalTransaction":     "a broker's fee, or a payment taken elsewhere; a lender's price comes from its row",
    "UserFiscalTransactionCreated":    "the same as CreateUserFiscalTransaction, reported afterwards",
    "CreateUser":                      "users are created in the library's own system",
    "UpdateUser":                      "users are changed in the library's own system",
    "DeleteUser":                      "users are deleted in the library's own system",
    "UserCreated":                     "users of other libraries are not kept here",
    "UserUpdated":                     "users of other libraries are not kept here",
    "CreateAgency":                    "libraries are set in the configuration",
    "UpdateAgency":                    "libraries are set in the configuration",
    "AgencyCreated":                   "libraries are set in the configuration",
    "AgencyUpdated":                   "libraries are set in the configuration",
    "ItemCreated":                     "holdings of others are loaded from the union catalogue",
    "ItemUpdated":                     "holdings of others are loaded from the union catalogue",
    "SendUserNotice":                  "the gateway writes its own letters to patrons",
    "UserNoticeSent":                  "letters of other systems are not kept here",
})
"""The purpose of each supported service, or the reason that it is not supported. LookupVersion is outside NCIPMessage and
has no row above."""
# fmt: on


def service_for(services: NcipServices, caller: Caller, name: str) -> Service | None:
    """The service in this caller's flow; None if it is not supported there. Clients use the direct flow."""
    flow = DIRECT if caller.kind == "client" else services.dialect(caller.agency).flow
    return FLOWS[flow].get(name)


def callers_of(flow: str, name: str) -> str:
    """The kinds of callers of a service in a flow, as text for the documentation page."""
    row = FLOWS[flow].get(name)
    who = row.who if row else frozenset[Kind]()
    return ", ".join(kind for kind in ("partner", "client") if kind in who and (flow == DIRECT or kind == "partner"))

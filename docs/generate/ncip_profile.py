"""The use of every NCIP service by the gateway, in one sentence each, for docs/profile.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip.profile import FLOWS
from hkall_gateway.ncip.service_request import DIRECT
from hkall_gateway.peers.callers import Kind

# fmt: off
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
"""The purpose of each supported service, or why it is not supported. LookupVersion is outside NCIPMessage and FLOWS."""
# fmt: on


def callers_of(flow: str, name: str) -> str:
    """Return the kinds of callers that may use a service in a flow, as text for the page."""
    row = FLOWS[flow].get(name)
    who = row.who if row else frozenset[Kind]()
    return ", ".join(kind for kind in ("partner", "client") if kind in who and (flow == DIRECT or kind == "partner"))

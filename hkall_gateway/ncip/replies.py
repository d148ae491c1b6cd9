"""Converts command results to reply fields. Uses only data in the result, so that a repeated reply is identical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.borrowing import Cancelled, Requested
from hkall_gateway.circulation.fines import ChargeEntry
from hkall_gateway.circulation.lending import Paged
from hkall_gateway.circulation.queries import ItemSeen, LoanEntry, PatronSeen
from hkall_gateway.circulation.results import CheckedOut, Noted, Renewed
from hkall_gateway.ncip.codec.messages import stamp
from hkall_gateway.ncip.tables.flows import request_status
from hkall_gateway.ncip.tables.notifications import CATALOGUE, LOAN, NameOrder, item_id, request_id, user_id
from hkall_gateway.rules import dates
from hkall_gateway.rules.positions import STILL_WANTED
from hkall_gateway.rules.vendor_words.availability import UNDEFINED, circulation_status
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.xml.tree import Fields, Value

P = Position
CURRENCY: Final = "HKD"
LANGUAGES: Final[Mapping[str, str]] = MappingProxyType({"en": "eng", "zh-Hant": "chi"})
BLOCKS: Final = ("Block Request Item", "Block Check Out")
NO_RENEWAL: Final = "Block Renewal"

SERVICE: Final = "Service Charge"
CHARGES: Final = (
    *("Book Replacement Charge", "Card Replacement Charge", "Fine", "Interlibrary Loan Fee", "Reminder Charge"),
    *("Renewal Fee", "Rental", "Reservation Charge", SERVICE),
)
TRANSACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {name.casefold(): name for name in CHARGES} | {"overdue": "Fine", "replacement": "Book Replacement Charge"}
)
"""Our or a broker's kind of charge -> FiscalTransactionType, SERVICE if not listed. Source: NCIP v1, fiscaltransactiontype."""

# fmt: off
STATUS: Final[Mapping[Position, str]] = MappingProxyType({
    P.IN_TRANSIT:     "In Transit Between Library Locations",
    P.RECEIVED:       "Available For Pickup",
    P.ON_LOAN:        "On Loan",
    P.TO_RETURN:      "In Process",
    P.RETURN_TRANSIT: "In Transit Between Library Locations",
    P.PAGED:          "In Process",
    P.SHIPPED:        "In Transit Between Library Locations",
    P.AT_BORROWER:    "On Loan",
})
"""Request position -> the item's CirculationStatus. In any other position, the owning library's status is used."""
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The data that a reply needs in addition to the command's result.

    Attributes:
        institution: UserId to return to a partner, which is the user in the message, or else the institutional card.
        labels: Whether the caller expects our own status labels in RequestStatusType.
        described: Whether the caller requested a description of the item.
        request_type: RequestType for the reply.
        name_order: Position of the surname in a name without a comma, or "" to leave such names undivided.
        closed: (record number, volume) of titles that no patron can request at the moment.
    """

    agency: str
    zone: tzinfo
    institution: Fields
    labels: bool = False
    described: bool = False
    request_type: str = LOAN
    name_order: NameOrder = ""
    closed: frozenset[tuple[str, str]] = frozenset()


Plain = Requested | Paged | Cancelled | Renewed | Noted


def make_fields(outcome: Plain, frame: Frame) -> Fields:
    """Make the reply payload for `outcome`, without the header."""
    match outcome:
        case Requested():
            return {
                "RequestId": _request_id_of_asker(outcome.placed_by, outcome.placed_id, outcome.request, frame),
                "UserId": user_id(frame.agency, outcome.patron),
                "RequestType": frame.request_type,
                "RequestScopeType": "Bibliographic Item",
            }
        case Paged():
            return {
                "RequestId": request_id(outcome.wire_agency, outcome.wire_id),
                "ItemId": item_id(outcome.item),
                "UserId": frame.institution,
                "RequestType": frame.request_type,
                "RequestScopeType": "Item",
                **(make_item_description(outcome) if frame.described else {}),
            }
        case Cancelled():
            number = _request_id_of_asker(outcome.placed_by, outcome.placed_id, outcome.request, frame)
            return {"RequestId": number, "UserId": user_id(frame.agency, outcome.patron)}
        case Renewed(pending=True):
            return {"Pending": {}}
        case Renewed():
            user: Fields = {"UserId": user_id(frame.agency, outcome.card)} if outcome.card else {}
            due: Fields = {"DateDue": stamp_last_second(outcome.due, frame)} if outcome.due else {}
            return {"ItemId": item_id(outcome.item), **user, **due, "RenewalCount": str(outcome.renewals)}
        case Noted():
            copy: Fields = {"ItemId": item_id(outcome.item)} if outcome.item else {}
            number = request_id(outcome.wire_agency or frame.agency, outcome.wire_id or outcome.request)
            return {"RequestId": number, **copy, "UserId": frame.institution}


def make_item_description(outcome: Paged | CheckedOut) -> Fields:
    """Make ItemOptionalFields that describe the item. CopyNumber is the barcode, since crosslink expects the barcode there."""
    title = {"Author": outcome.author, "Title": outcome.title}
    about = {"CallNumber": outcome.call_number, "CopyNumber": outcome.item.barcode}
    return {"ItemOptionalFields": {"BibliographicDescription": title, "ItemDescription": about}}


def _request_id_of_asker(placed_by: str, placed_id: str, ours: str, frame: Frame) -> Fields:
    """Return the RequestId from the caller that placed the request, or our own RequestId if the caller sent none."""
    return request_id(placed_by, placed_id) if placed_id else request_id(frame.agency, ours)


def stamp_last_second(day: date, frame: Frame) -> str:
    """Format the last second of a day in Hong Kong, with the offset of our time zone."""
    return _last_second(day, frame.zone)


@lru_cache(maxsize=1024)
def _last_second(day: date, zone: tzinfo) -> str:
    return stamp(dates.end_of(day), zone)


def make_patron_fields(
    seen: PatronSeen, wanted: frozenset[str], flags: frozenset[str], frame: Frame, fixed: frozenset[str] = frozenset()
) -> Fields:
    """Make the requested parts of a patron's record.

    `wanted` holds the requested UserElementTypes in lower case, `flags` the names of the …Desired elements in the request, and
    `fixed` the request ids of loans that cannot be renewed at the moment.
    """
    loans = [
        _make_loaned_item(line, frame, fixed=line.request.id in fixed)
        for line in seen.lines
        if line.request.position is P.ON_LOAN
    ]
    waits = [_make_requested_item(line, frame) for line in seen.lines if line.request.position in STILL_WANTED]
    charges = [_make_account_details(line, frame) for line in seen.charges]
    account: Fields = {"AccountBalance": _make_amount(seen.owed_cents), "AccountDetails": charges}
    more = {name: value for element, part in _PERSON.items() if element in wanted for name, value in part(seen, frame).items()}
    return {
        "UserId": user_id(frame.agency, seen.card),
        "UserFiscalAccount": [account] if "UserFiscalAccountDesired" in flags else [],
        "LoanedItem": loans if "LoanedItemsDesired" in flags else [],
        "RequestedItem": waits if "RequestedItemsDesired" in flags else [],
        **({"UserOptionalFields": more} if more else {}),
    }


def _make_loaned_item(line: LoanEntry, frame: Frame, *, fixed: bool) -> Fields:
    """Make a LoanedItem. VuFind's XCNCIP2 driver (10.0) offers to renew every loan without RenewalNotPermitted in the Ext."""
    loan, item = line.request, line.request.item
    more: Fields = {"BibliographicDescription": _make_description(loan.bib_id, loan.full_title)} if loan.bib_id else {}
    more = {**more, **({"RenewalNotPermitted": True} if fixed else {})}
    return {
        "ItemId": item_id(item) if item else {"ItemIdentifierValue": loan.id},
        "BibliographicId": _make_bib_ids(loan.bib_id),
        "ReminderLevel": "1" if line.overdue else "0",
        **({"DateDue": stamp_last_second(loan.due, frame)} if loan.due else {"IndeterminateLoanPeriodFlag": True}),
        "Amount": _make_amount(line.fine_cents),
        "Title": loan.full_title,
        **({"Ext": more} if more else {}),
    }


def _make_account_details(line: ChargeEntry, frame: Frame) -> Fields:
    title = _make_description(line.bib_id, line.full_title)
    about: Fields = {"ItemId": item_id(line.item), "BibliographicDescription": title} if line.item else {}
    transaction: Fields = {
        "FiscalActionType": "Assess",
        "FiscalTransactionReferenceId": {"AgencyId": frame.agency, "FiscalTransactionIdentifierValue": str(line.fine)},
        "FiscalTransactionType": TRANSACTIONS.get(line.kind.casefold(), SERVICE),
        "Amount": _make_amount(line.left_cents),
        **({"FiscalTransactionDescription": line.full_title} if line.title else {}),
        **({"ItemDetails": about} if about else {}),
    }
    return {"AccrualDate": stamp(line.at, frame.zone), "FiscalTransactionInformation": transaction}


def _make_description(bib: str, title: str) -> Fields:
    """Describe a title, with the record number with which discovery systems link to their own record."""
    record: Fields = {"BibliographicRecordId": [make_record_id(bib)]} if bib else {}
    return {**record, "Title": title}


def _make_requested_item(line: LoanEntry, frame: Frame) -> Fields:
    wait, item = line.request, line.request.item
    placed = {"DatePlaced": stamp(wait.placed_at, frame.zone)} if wait.placed_at else {}
    expiry = {"PickupExpiryDate": stamp_last_second(wait.pickup_last, frame)} if wait.pickup_last else {}
    return {
        "RequestId": _request_id_of_asker(wait.placed_by, wait.placed_id, wait.id, frame),
        **({"ItemId": item_id(item)} if item else {}),
        "BibliographicId": _make_bib_ids(wait.bib_id),
        "RequestType": frame.request_type,
        **request_status(wait.position, line.label, as_label=frame.labels, uncollected=line.uncollected),
        **placed,
        "PickupLocation": wait.pickup_location,
        **expiry,
        "Title": wait.full_title,
    }


def _make_bib_ids(bib: str) -> Value:
    return [{"BibliographicRecordId": make_record_id(bib)}] if bib else []


def make_record_id(bib: str) -> Fields:
    """Make the BibliographicRecordId for a union catalogue number."""
    return {"BibliographicRecordIdentifier": bib, "AgencyId": CATALOGUE}


def _make_amount(cents: int) -> Fields:
    """Make an Amount element from cents. Positive amounts are owed."""
    return {"CurrencyCode": CURRENCY, "MonetaryValue": str(cents)}


def _make_name(seen: PatronSeen, frame: Frame) -> Fields:
    name, name_zh = seen.name.reveal(), seen.name_zh.reveal()
    whole = " ".join(filter(None, [name, name_zh]))
    names: Fields = {
        "StructuredPersonalUserName": _divide_name(name or name_zh, frame.name_order),
        "UnstructuredPersonalUserName": whole,
    }
    return {"NameInformation": {"PersonalNameInformation": names}} if whole else {}


def _divide_name(name: str, order: NameOrder) -> Fields:
    """Divide a name into GivenName and Surname. Use a name that cannot be divided as the Surname, which is required."""
    surname, given = name, ""
    if "," in name:
        surname, _, given = name.partition(",")
    elif order == "surname_first":
        surname, _, given = name.partition(" ")
    elif order == "given_first":
        given, _, surname = name.rpartition(" ")
    given, surname = given.strip(), surname.strip()
    return {"GivenName": given, "Surname": surname} if given and surname else {"Surname": name}


def _make_address(seen: PatronSeen, _frame: Frame) -> Fields:
    address: Fields = {"ElectronicAddressType": "mailto", "ElectronicAddressData": seen.email.reveal()}
    return {"UserAddressInformation": [{"UserAddressRoleType": "Notice", "ElectronicAddress": address}]} if seen.email else {}


def _make_language(seen: PatronSeen, _frame: Frame) -> Fields:
    return {"UserLanguage": [LANGUAGES[seen.language]]} if seen.language in LANGUAGES else {}


def _make_privileges(seen: PatronSeen, frame: Frame) -> Fields:
    """Make the UserPrivilege elements, with the key as type and the value as status, as resource-sharing systems expect."""
    facts = {"STATUS": "OK" if seen.valid else "BLOCKED", "PROFILE": seen.category, "LIBRARY": frame.agency}
    ends: Fields = {"ValidToDate": stamp_last_second(seen.expires, frame)} if seen.expires else {}
    rows: list[Value] = [
        {
            "AgencyId": frame.agency,
            "AgencyUserPrivilegeType": key,
            **(ends if key == "STATUS" else {}),
            "UserPrivilegeStatus": {"UserPrivilegeStatusType": value},
        }
        for key, value in facts.items()
        if value
    ]
    return {"UserPrivilege": rows}


def _make_blocks(seen: PatronSeen, frame: Frame) -> Fields:
    names = () if seen.valid else BLOCKS if seen.may_renew else (*BLOCKS, NO_RENEWAL)
    blocks: list[Value] = [{"AgencyId": frame.agency, "BlockOrTrapType": name} for name in names]
    return {"BlockOrTrap": blocks} if blocks else {}


def _make_user_ids(seen: PatronSeen, frame: Frame) -> Fields:
    return {"UserId": [user_id(frame.agency, seen.card)]}


_PERSON: Final = MappingProxyType(
    {
        "name information": _make_name,
        "user address information": _make_address,
        "user language": _make_language,
        "user privilege": _make_privileges,
        "block or trap": _make_blocks,
        "user id": _make_user_ids,
        "visible user id": _make_user_ids,
    }
)
"""UserElementType -> function that makes part of UserOptionalFields. We have no data on birth dates and former cards."""


def make_copy_fields(seen: ItemSeen, wanted: frozenset[str], number: Fields, frame: Frame) -> Fields:
    """Make the reply about an item's state.

    `wanted` holds the requested ItemElementTypes in lower case; if empty, all are included. `number` is the RequestId if the
    caller looked up the item by its request, else empty.
    """
    parts: dict[str, Value] = {"CirculationStatus": find_circulation_status(seen)}
    if not wanted or "bibliographic description" in wanted:
        parts["BibliographicDescription"] = {**_make_description(seen.bib_id, seen.title), "Author": seen.author}
    if (not wanted or "item description" in wanted) and (seen.call_number or seen.volume):
        number_on_spine: Fields = {"CallNumber": seen.call_number} if seen.call_number else {}
        volume: Fields = {"HoldingsInformation": {"UnstructuredHoldingsData": seen.volume}} if seen.volume else {}
        parts["ItemDescription"] = {**number_on_spine, **volume}
    if seen.due:
        parts["DateDue"] = stamp_last_second(seen.due, frame)
    if (seen.bib_id, seen.volume) in frame.closed:  # VuFind's XCNCIP2 driver (10.0) offers a hold on all other items
        parts["ItemUseRestrictionType"] = ["Not For Loan"]
    return {
        **({"RequestId": number} if number else {}),
        "ItemId": item_id(seen.item),
        **({"HoldPickupDate": stamp_last_second(seen.pickup_last, frame)} if seen.pickup_last else {}),
        **({"DateRecalled": stamp(dates.start_of(seen.recalled_on), frame.zone)} if seen.recalled_on else {}),
        "ItemOptionalFields": parts,
    }


def find_circulation_status(seen: ItemSeen) -> str:
    """Return an item's CirculationStatus. Source: NCIP v1 schemes, circulationstatus."""
    if seen.lost:
        return "Lost"
    if seen.claimed:
        return "Claimed Returned Or Never Borrowed"
    if seen.recalled_on and seen.position in {P.ON_LOAN, P.AT_BORROWER}:
        return "Recalled"
    by_position = STATUS.get(seen.position) if seen.position else None
    return by_position or circulation_status(seen.status) or UNDEFINED

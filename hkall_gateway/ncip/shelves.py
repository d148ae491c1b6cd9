"""Makes and reads the look-ups that check a lender's shelf. Makes replies about requests, item sets and our agency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from hkall_gateway.circulation.partners.partner_queries import RequestSeen, ShelvesSeen, TitleCopies
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import NcipMessage, stamp
from hkall_gateway.ncip.replies import Frame, make_copy_fields, make_record_id, stamp_last_second
from hkall_gateway.ncip.tables.flows import request_status
from hkall_gateway.ncip.tables.notifications import CATALOGUE, item_id, record_id, user_id
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vendor_words.availability import UNDEFINED, Availability, availability, circulation_status
from hkall_gateway.rules.vocabulary import Holding, ItemKey
from hkall_gateway.xml.tree import Fields

STATUS: Final = "Circulation Status"
UNKNOWN_ITEM: Final = "Unknown Item"
MOST_COPIES: Final = 5
"""Maximum number of a title's items to look up individually."""


class ShelfResult(StrEnum):
    """The result of a shelf check. The values are texts for the journal."""

    HERE = "on the shelf"
    ANOTHER = "another copy is on the shelf"
    NONE = "none on the shelf"
    UNKNOWN = "the shelf could not be seen"


@dataclass(frozen=True, slots=True)
class ShelfCheck:
    """The result of a shelf check, and the item to request."""

    shelf: ShelfResult
    item: ItemKey | None = None


UNSEEN: Final = ShelfCheck(ShelfResult.UNKNOWN)


@dataclass(frozen=True, slots=True)
class LookUp:
    """The service and the fields of a look-up to send."""

    service: str
    fields: Fields


def is_asked_by_copy(partner: Partner) -> bool:
    """Check whether to look up a partner's items individually, by configuration or because NCIP 1 lacks LookupItemSet."""
    return partner.lookup_by_copy or DIALECTS[partner.dialect].minor is None


def make_copy_lookup(item: ItemKey) -> LookUp:
    """Make the look-up for one item."""
    return LookUp("LookupItem", {"ItemId": item_id(item), "ItemElementType": [STATUS]})


def make_title_lookup(record: Fields) -> LookUp:
    """Make the look-up for all items with a BibliographicRecordId."""
    return LookUp("LookupItemSet", {"BibliographicId": [{"BibliographicRecordId": record}], "ItemElementType": [STATUS]})


def make_shelf_lookup(message: PartnerMessage, partner: Partner) -> LookUp | None:
    """Make the shelf check for a request, or None if the partner needs an item and the request names no item."""
    if is_asked_by_copy(partner):
        return make_copy_lookup(message.item) if message.item else None
    return make_title_lookup(record_id(message.bib_id, message.local_bib_id, partner))


def make_title_lookups(bib_id: str, copies: Sequence[Holding], partner: Partner) -> tuple[LookUp, ...]:
    """Make the look-ups for a partner's items of a title: one LookupItemSet, or up to MOST_COPIES LookupItems."""
    if is_asked_by_copy(partner):
        return tuple(make_copy_lookup(copy.key) for copy in copies[:MOST_COPIES])
    local = next((copy.local_bib_id for copy in copies if copy.local_bib_id), "")
    return (make_title_lookup(record_id(bib_id, local, partner)),)


def read_shelf_check(reply: NcipMessage, message: PartnerMessage, partner: Partner, statuses: tuple[str, ...]) -> ShelfCheck:
    """Read the reply to a shelf check. `statuses` are the policy's words for an available item.

    Accept another item of the title, unless the request is for a volume (R8). If no item is available, return UNSEEN for an
    incomplete list, for missing or unknown statuses, and for a Problem other than Unknown Item.
    """
    if reply.has("Problem"):
        return ShelfCheck(ShelfResult.NONE) if _problem_types(reply) == {UNKNOWN_ITEM} else UNSEEN
    unseen = [_problem_types(one) for one in reply.each("BibInformation") if one.has("Problem")]
    copies = read_copies(reply)
    free = [code for code, status in copies.items() if availability(status, statuses) is Availability.AVAILABLE]
    if message.item and message.item.barcode in free:
        return ShelfCheck(ShelfResult.HERE, message.item)
    if free and not message.volume:
        return ShelfCheck(ShelfResult.ANOTHER, ItemKey(partner.agency, min(free)))
    says_so = all(_is_known_status(status) for status in copies.values()) and all(one == {UNKNOWN_ITEM} for one in unseen)
    whole = bool(copies or unseen) and not reply.has("NextItemToken")
    return ShelfCheck(ShelfResult.NONE) if says_so and whole else UNSEEN


def _problem_types(message: NcipMessage) -> set[str]:
    return {one.text("ProblemType") for one in message.each("Problem")}


def _is_known_status(status: str) -> bool:
    return bool(status) and circulation_status(status) != UNDEFINED


def read_statuses(reply: NcipMessage) -> dict[str, str] | None:
    """Return barcode -> CirculationStatus for items with a known status. Empty for Unknown Item, None for other Problems."""
    if reply.has("Problem"):
        return {} if _problem_types(reply) == {UNKNOWN_ITEM} else None
    return {barcode: status for barcode, status in read_copies(reply).items() if barcode and _is_known_status(status)}


def read_copies(reply: NcipMessage) -> dict[str, str]:
    """Return barcode -> CirculationStatus for all items in a reply, with "" for an item without a status."""
    found = [*reply.each("BibInformation/HoldingsSet/ItemInformation"), *([reply] if reply.has("ItemId") else [])]
    return {one.text("ItemId/ItemIdentifierValue"): one.text("ItemOptionalFields/CirculationStatus") for one in found}


SCHEME: Final = "Permanent Location"
PROFILES: Final = ("HKALL direct", "HKALL broker", "INN-Reach DCB")


def make_request_fields(seen: RequestSeen, number: Fields, wanted: frozenset[str], frame: Frame) -> Fields:
    """Make the reply about a request. `wanted` holds the requested RequestElementTypes in lower case; empty means all."""
    parts: dict[str, Fields] = {
        "user id": {"UserId": user_id(frame.agency, seen.patron) if seen.patron else frame.institution},
        "request type": {"RequestType": frame.request_type},
        "request scope type": {"RequestScopeType": "Item" if seen.item else "Bibliographic Item"},
        "request status type": request_status(seen.position, seen.label, as_label=frame.labels, uncollected=seen.uncollected),
        "pickup location": {"PickupLocation": seen.pickup_location},
        "need before date": {"NeedBeforeDate": stamp_last_second(seen.need_before, frame)} if seen.need_before else {},
        "pickup expiry date": {"PickupExpiryDate": stamp_last_second(seen.pickup_last, frame)} if seen.pickup_last else {},
        "date of user request": {"DateOfUserRequest": stamp(seen.placed_at, frame.zone)} if seen.placed_at else {},
    }
    chosen = {name: value for kind, part in parts.items() if not wanted or kind in wanted for name, value in part.items()}
    title: Fields = {"BibliographicDescription": {"Title": seen.title}}
    more = make_copy_fields(seen.copy, frozenset(), {}, frame)["ItemOptionalFields"] if seen.copy else title
    return {"RequestId": number, **({"ItemId": item_id(seen.item)} if seen.item else {}), **chosen, "ItemOptionalFields": more}


def make_item_set_fields(seen: ShelvesSeen, wanted: frozenset[str], frame: Frame) -> Fields:
    """Make one BibInformation per title, with one HoldingsSet per library. Put a Problem into it if the title is unknown."""
    groups = groupby(seen.shelves, key=lambda shelf: (shelf.bib_id, shelf.unknown, shelf.wanted))
    titles = [_make_bib_information(list(group), wanted, frame) for _, group in groups]
    return {"BibInformation": titles, **({"NextItemToken": seen.token} if seen.token else {})}


def _make_bib_information(group: list[TitleCopies], wanted: frozenset[str], frame: Frame) -> Fields:
    first = group[0]
    number: Fields = {"BibliographicId": {"BibliographicRecordId": make_record_id(first.bib_id)}} if first.bib_id else {}
    if first.unknown:
        element, value = ("ItemId", first.wanted.barcode) if first.wanted else ("BibliographicId", first.bib_id)
        problem: Fields = {"ProblemType": UNKNOWN_ITEM, "ProblemElement": element, "ProblemValue": value}
        return {**number, "Problem": [problem]}
    about = first.copies[0]
    description: Fields = {"Author": about.author, "Title": about.title}
    return {
        **number,
        "BibliographicDescription": description,
        "HoldingsSet": [_make_holdings_set(s, wanted, frame) for s in group],
    }


def _make_holdings_set(shelf: TitleCopies, wanted: frozenset[str], frame: Frame) -> Fields:
    place: Fields = {"LocationNameLevel": "1", "LocationNameValue": shelf.agency}
    return {
        "HoldingsSetId": f"{shelf.bib_id}@{shelf.agency}" if shelf.bib_id else shelf.agency,
        "Location": {"LocationType": SCHEME, "LocationName": {"LocationNameInstance": [place]}},
        "ItemInformation": [make_copy_fields(one, wanted, {}, frame) for one in shelf.copies],
    }


def make_place_fields(names: tuple[str, ...]) -> Fields:
    """List our pickup locations, numbered from 1, in the Ext where VuFind's XCNCIP2 driver (10.0) expects the list."""
    instances = [{"LocationNameLevel": str(number), "LocationNameValue": name} for number, name in enumerate(names, 1)]
    return {"Ext": {"LocationName": {"LocationNameInstance": instances}}}


def make_agency_fields(code: str, name: str, wanted: frozenset[str]) -> Fields:
    """Make the reply about our agency. `wanted` holds the requested AgencyElementTypes in lower case."""
    parts: dict[str, Fields] = {
        "organization name information": {
            "OrganizationNameInformation": [{"OrganizationNameType": "Official Name", "OrganizationName": name}]
        },
        "application profile supported type": {"ApplicationProfileSupportedType": list(PROFILES)},
        "consortium agreement": {"ConsortiumAgreement": [CATALOGUE]},
    }
    chosen = {element: value for kind, part in parts.items() if kind in wanted for element, value in part.items()}
    return {"AgencyId": code, **chosen}

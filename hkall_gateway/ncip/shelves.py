"""Converts the desk's views of requests, shelves and our agency to the fields of a reply."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from hkall_gateway.circulation.messages.partner_commands import RequestSeen, ShelvesSeen, TitleCopies
from hkall_gateway.ncip.codec.messages import Fields, Value, stamp
from hkall_gateway.ncip.replies import Frame, copy, until
from hkall_gateway.ncip.tables.notifications import CATALOGUE, item_id, user_id
from hkall_gateway.ncip.tables.status_words import request_status

SCHEME: Final = "Permanent Location"
PROFILES: Final = ("HKALL direct", "HKALL broker", "INN-Reach DCB")


# ---- a request


def request(seen: RequestSeen, number: Fields, wanted: frozenset[str], frame: Frame) -> Fields:
    """A request's state: `wanted` are RequestElementTypes in lower case, all if there are none."""
    parts = {"user id": _user(seen, frame), **_kinds(seen, frame), **_times(seen, frame)}
    told = {name: value for kind, part in parts.items() if not wanted or kind in wanted for name, value in part.items()}
    more = copy(seen.copy, frozenset(), {}, frame)["ItemOptionalFields"] if seen.copy else _title(seen.title)
    return {"RequestId": number, **({"ItemId": item_id(seen.item)} if seen.item else {}), **told, "ItemOptionalFields": more}


def _user(seen: RequestSeen, frame: Frame) -> Fields:
    return {"UserId": user_id(frame.agency, seen.patron) if seen.patron else frame.institution}


def _kinds(seen: RequestSeen, frame: Frame) -> dict[str, Fields]:
    return {
        "request type": {"RequestType": frame.request_type},
        "request scope type": {"RequestScopeType": "Item" if seen.item else "Bibliographic Item"},
        "request status type": request_status(seen.position, seen.label, as_label=frame.labels, uncollected=seen.uncollected),
        "pickup location": {"PickupLocation": seen.pickup_location},
    }


def _times(seen: RequestSeen, frame: Frame) -> dict[str, Fields]:
    return {
        "need before date": {"NeedBeforeDate": until(seen.need_before, frame)} if seen.need_before else {},
        "pickup expiry date": {"PickupExpiryDate": until(seen.pickup_last, frame)} if seen.pickup_last else {},
        "date of user request": {"DateOfUserRequest": stamp(seen.placed_at, frame.zone)} if seen.placed_at else {},
    }


def _title(title: str) -> Fields:
    return {"BibliographicDescription": {"Title": title}}


# ---- shelves


def item_set(seen: ShelvesSeen, wanted: frozenset[str], frame: Frame) -> Fields:
    """The shelves by title, one HoldingsSet a library. Unknown ones carry a Problem in their own place."""
    titles = [
        _bib(list(group), wanted, frame) for _, group in groupby(seen.shelves, key=lambda s: (s.bib_id, s.unknown, s.wanted))
    ]
    return {"BibInformation": titles, **({"NextItemToken": seen.token} if seen.token else {})}


def _bib(group: list[TitleCopies], wanted: frozenset[str], frame: Frame) -> Fields:
    first = group[0]
    number: Fields = {"BibliographicId": bib(first.bib_id)} if first.bib_id else {}
    if first.unknown:
        return {**number, "Problem": [_unknown(first)]}
    about = first.copies[0]
    description: Fields = {"Author": about.author, "Title": about.title}
    return {**number, "BibliographicDescription": description, "HoldingsSet": [_holdings(s, wanted, frame) for s in group]}


def _unknown(shelf: TitleCopies) -> Fields:
    element, value = ("ItemId", shelf.wanted.barcode) if shelf.wanted else ("BibliographicId", shelf.bib_id)
    return {"ProblemType": "Unknown Item", "ProblemElement": element, "ProblemValue": value}


def _holdings(shelf: TitleCopies, wanted: frozenset[str], frame: Frame) -> Fields:
    place: Fields = {"LocationNameLevel": "1", "LocationNameValue": shelf.agency}
    return {
        "HoldingsSetId": f"{shelf.bib_id}@{shelf.agency}" if shelf.bib_id else shelf.agency,
        "Location": {"LocationType": SCHEME, "LocationName": {"LocationNameInstance": [place]}},
        "ItemInformation": [_information(copy(one, wanted, {}, frame)) for one in shelf.copies],
    }


def _information(said: Fields) -> Fields:
    return {name: value for name, value in said.items() if name != "RequestId"}


def bib(number: str) -> Fields:
    """A title by the union catalogue's number."""
    record: dict[str, Value] = {"BibliographicRecordIdentifier": number, "AgencyId": CATALOGUE}
    return {"BibliographicRecordId": record}


# ---- ourselves


def places(names: tuple[str, ...]) -> Fields:
    """Our pickup locations, where VuFind's XCNCIP2 driver (10.0) reads them: numbered from 1, in an Ext of the reply."""
    instances = [{"LocationNameLevel": str(number), "LocationNameValue": name} for number, name in enumerate(names, 1)]
    return {"Ext": {"LocationName": {"LocationNameInstance": instances}}}


def agency(code: str, name: str, wanted: frozenset[str]) -> Fields:
    """Our agency's details: `wanted` are AgencyElementTypes in lower case."""
    parts: dict[str, Fields] = {
        "organization name information": {
            "OrganizationNameInformation": [{"OrganizationNameType": "Official Name", "OrganizationName": name}]
        },
        "application profile supported type": {"ApplicationProfileSupportedType": list(PROFILES)},
        "consortium agreement": {"ConsortiumAgreement": [CATALOGUE]},
    }
    told = {element: value for kind, part in parts.items() if kind in wanted for element, value in part.items()}
    return {"AgencyId": code, **told}

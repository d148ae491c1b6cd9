"""Handlers for the read-only services: LookupUser, LookupItem, LookupRequest, LookupItemSet, LookupAgency, LookupVersion."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hkall_gateway.circulation.loans import FindFixedLoans
from hkall_gateway.circulation.partners.partner_queries import FindInstitution, SeeCopyOf, SeeRequest, SeeShelves, ServesPatron
from hkall_gateway.circulation.queries import PatronSeen, SeeItem
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.titles import FindClosedVolumes
from hkall_gateway.ncip import replies, shelves
from hkall_gateway.ncip.callers import find_patron, identify_patron, read_credentials
from hkall_gateway.ncip.codec.dialects import SUPPORTED
from hkall_gateway.ncip.reply_payload import Payload, make_frame
from hkall_gateway.ncip.service_request import ServiceRequest, make_refusal, read_item, read_request_id
from hkall_gateway.ncip.tables.notifications import request_id as written_request
from hkall_gateway.ncip.tables.problems import UNKNOWN_AGENCY, Problem
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey, Position, Sensitive
from hkall_gateway.xml.tree import Fields

DESIRED: Final = ("LoanedItemsDesired", "RequestedItemsDesired", "UserFiscalAccountDesired")
BLOCKS: Final = "block or trap"
RESTRICTION: Final = "item use restriction type"
ELIGIBILITY: Final = frozenset({"user privilege", BLOCKS, "user id"})
"""UserElementTypes that tell whether a patron may borrow, without personal data."""
MOST_COPIES: Final = 100
"""Maximum number of items in a reply. The caller sends the reply's NextItemToken to get the next items."""


async def lookup_user(call: ServiceRequest) -> Payload:
    """Return the requested data about one of our patrons. If a PIN is sent, answer an unknown card like a wrong PIN."""
    found = read_credentials(call)
    if isinstance(found, Refused | Problem):
        return found
    card, pin = found
    partner = None if call.from_client else await call.services.circulation.execute(FindInstitution(card))
    if partner is not None:  # a partner's institutional card has the partner's name, and is never blocked
        nothing, name = Sensitive(""), Sensitive(partner.name)
        record = PatronSeen(
            card=partner.institutional_card,
            name=name,
            name_zh=nothing,
            email=nothing,
            language="",
            category="",
            valid=True,
            refusal=None,
            pin_ok=None,
            lines=(),
            loans_limit=0,
            owed_cents=0,
            expires=None,
        )
        return replies.make_patron_fields(record, find_desired_types(call, "UserElementType"), frozenset(), make_frame(call))
    seen = await find_patron(call, card, pin)
    if isinstance(seen, Refused):
        return seen
    if seen.refusal and seen.refusal.why is Reason.TRY_AGAIN:
        return seen.refusal
    if pin is not None and not seen.pin_ok:
        return make_refusal(Reason.WRONG_PIN)
    if seen.refusal and seen.refusal.why in {Reason.UNKNOWN_BORROWER, Reason.CARD_REPLACED}:
        return seen.refusal
    if pin is None and call.caller.pin == "blocks":
        # The schema requires a UserId, but VuFind treats a reply with a UserId as a successful login. VuFind's XCNCIP2 driver
        # omits a PIN that PHP considers empty, such as `0`, and queries blocks without a PIN. Seen on 2026-11-29.
        return _without_user_id(replies.make_patron_fields(seen, frozenset({BLOCKS}), frozenset(), make_frame(call)))
    return await _make_user_fields(call, seen)


def _without_user_id(reply: Fields) -> Fields:
    """Remove the UserId from a reply."""
    return {name: value for name, value in reply.items() if name != "UserId"}


async def _make_user_fields(call: ServiceRequest, seen: PatronSeen) -> Fields:
    """Make the reply about a patron.

    Clients get all requested elements. A broker gets only eligibility and blocks, unless the broker sends the PIN, has an open
    request for the patron, or is configured with `sees_patrons`.
    """
    wanted, flags = find_desired_types(call, "UserElementType"), frozenset(name for name in DESIRED if call.message.has(name))
    access = call.caller.access
    whole = isinstance(access, Client) or bool(access.sees_patrons) or bool(seen.pin_ok)
    whole = whole or await call.services.circulation.execute(ServesPatron(partner=call.caller.agency, card=seen.card))
    call.services.metrics.patron_lookups.labels(call.caller.agency, "whole" if whole else "eligibility").inc()
    if not whole:
        wanted, flags = wanted & ELIGIBILITY, frozenset()
    lent = (
        call.from_client
        and "LoanedItemsDesired" in flags
        and any(one.request.position is Position.ON_LOAN for one in seen.lines)
    )
    fixed = await call.services.circulation.execute(FindFixedLoans(seen.card)) if lent else frozenset()
    return replies.make_patron_fields(seen, wanted, flags, make_frame(call), fixed)


async def lookup_item(call: ServiceRequest) -> Payload:
    """Return an item's status. The reply never names the borrower."""
    agency, value = read_request_id(call)
    wanted, execute = read_item(call, ""), call.services.circulation.execute
    if wanted is None:
        seen = await execute(SeeCopyOf(seen_by(call)))
    else:
        seen = await execute(SeeItem(by=call.by, barcode=wanted.barcode, agency=wanted.agency))
        unknown = isinstance(seen, Refused) and seen.why is Reason.UNKNOWN_ITEM
        if unknown and call.from_client and wanted.agency == call.services.agency:
            # Clients send our AgencyId for every item. Find an item borrowed from another library by the barcode alone.
            seen = await execute(SeeItem(by=call.by, barcode=wanted.barcode, agency=""))
    if isinstance(seen, Refused):
        return seen
    number = written_request(agency, value) if value else {}
    return replies.make_copy_fields(seen, find_desired_types(call, "ItemElementType"), number, make_frame(call))


async def lookup_request(call: ServiceRequest) -> Payload:
    """Return a request's state, to the system that placed the request or to the partner library.

    For a client with `pin = "blocks"`, the reply names the patron only if the client sent that patron's PIN.
    """
    agency, value = read_request_id(call)
    card: str | Refused | Problem | None = None
    if call.caller.pin == "blocks":
        found = read_credentials(call) if call.message.has("AuthenticationInput") else ("", None)
        if isinstance(found, Refused | Problem):
            return found
        card = await identify_patron(call) if found[1] is not None else ""
    if isinstance(card, Refused | Problem):
        return card
    seen = await call.services.circulation.execute(seen_by(call))
    if isinstance(seen, Refused):
        return seen
    number = written_request(agency, value) if value else written_request(call.services.agency, seen.request)
    reply = shelves.make_request_fields(seen, number, find_desired_types(call, "RequestElementType"), make_frame(call))
    return reply if card in {None, seen.patron} else _without_user_id(reply)


def seen_by(call: ServiceRequest) -> SeeRequest:
    """Make the query for the request named in a message, restricted to the requests that the caller may see."""
    agency, value = read_request_id(call)
    card = call.message.text("UserId/UserIdentifierValue")
    return SeeRequest(
        by=call.by,
        agency=agency,
        value=value,
        caller=call.caller.agency,
        client=call.from_client,
        card=card,
        item=read_item(call, ""),
    )


def find_desired_types(call: ServiceRequest, element: str) -> frozenset[str]:
    """Return the requested element types in lower case. `element` is the name of the repeated element."""
    return frozenset(text.casefold() for text in call.message.texts(element))


async def lookup_item_set(call: ServiceRequest) -> Payload:
    """Return the named items, or the items of the named titles. Clients get items of all libraries, partners only ours."""
    message, limit = call.message, whole_number(call.message.text("MaximumItemsCount"))
    # Titles are named by record numbers, or by one of our HoldingsSetIds, in which the record number precedes the `@`.
    records = message.texts("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier")
    numbers = message.texts("BibliographicId/BibliographicItemId/BibliographicItemIdentifier")
    named = ((one.text("AgencyId"), one.text("ItemIdentifierValue")) for one in message.each("ItemId"))
    query = SeeShelves(
        by=call.by,
        titles=(*records, *numbers, *(text.rpartition("@")[0] or text for text in message.texts("HoldingsSetId"))),
        items=tuple(ItemKey(agency or call.services.agency, value) for agency, value in named if value),
        ours_only=not call.from_client,
        limit=MOST_COPIES if limit is None else min(max(limit, 1), MOST_COPIES),
        token=call.message.text("NextItemToken"),
    )
    seen = await call.services.circulation.execute(query)
    if isinstance(seen, Refused):
        return Problem(problem="Element Rule Violated", detail="this token is none of ours", element="NextItemToken")
    wanted = find_desired_types(call, "ItemElementType")
    bibs = {shelf.bib_id for shelf in seen.shelves} - {""} if call.from_client and RESTRICTION in wanted else set()
    closed = await call.services.circulation.execute(FindClosedVolumes(frozenset(bibs))) if bibs else frozenset()
    return shelves.make_item_set_fields(seen, wanted, replace(make_frame(call), closed=closed))


async def lookup_agency(call: ServiceRequest) -> Payload:
    """Return our name, consortium and profiles. Answer a query for another agency with a Problem."""
    named = call.message.text("AgencyId")
    if named.casefold() != call.services.agency.casefold():
        return Problem(problem=UNKNOWN_AGENCY, detail="only this library is known here", element="AgencyId", value=named)
    reply = shelves.make_agency_fields(
        call.services.agency, call.services.circulation.library.name, find_desired_types(call, "AgencyElementType")
    )
    if not (call.from_client and call.services.places):
        return reply
    return {**reply, **shelves.make_place_fields(tuple(call.services.places.values()))}


def make_version_fields(services: tuple[str, ...]) -> Fields:
    """Make a LookupVersionResponse with the supported versions and services. Callers need no authentication."""
    return {"VersionSupported": list(SUPPORTED), "ServiceSupported": sorted(services)}

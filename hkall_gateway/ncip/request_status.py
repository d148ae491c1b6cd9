"""The position of a request at a partner, read from its reply to a look-up by inverting our reply tables. Pure."""

from __future__ import annotations

from typing import Final

from hkall_gateway.ncip import replies
from hkall_gateway.ncip.codec.messages import Fields, NcipMessage
from hkall_gateway.ncip.tables.notifications import item_id, request_id
from hkall_gateway.ncip.tables.status_words import IN_PROCESS, STATUS, status_of
from hkall_gateway.rules.lifecycle import FINAL, LENDING
from hkall_gateway.rules.vocabulary import Partner, Position, Request, Side

P = Position
SHELF: Final = "Available On Shelf"
KNOWN_WORDS: Final = frozenset({IN_PROCESS, SHELF, *STATUS.values(), *replies.STATUS.values()})
"""The status words in our tables; a partner's other words are ignored."""

BORROWING: Final = frozenset(P) - LENDING | {P.RETURN_TRANSIT, P.CLOSED}


def question(request: Request, partner: Partner, number: str = "") -> tuple[str, Fields] | None:
    """The look-up of a request that a partner supports, as service and fields; None if it supports none.

    `number` is the partner's own number of the request, AGENCY:VALUE; "" if it uses ours.
    """
    if partner.can_lookup_request:
        agency, _, value = (number or f"{request.wire_agency}:{request.wire_id}").partition(":")
        return "LookupRequest", {"RequestId": request_id(agency, value), "RequestElementType": ["Request Status Type"]}
    if partner.can_lookup_items and request.item and request.side is Side.BORROWING:
        return "LookupItem", {"ItemId": item_id(request.item), "ItemElementType": ["Circulation Status"]}
    return None


def positions(reply: NcipMessage, ours: Side) -> tuple[str, ...] | None:
    """The positions of the partner's side that fit its reply; empty for an unknown request, None for an unusable reply.

    If the reply has a known status of the copy, only open positions are returned, as far as any fits. `ours` is our side of
    the request.
    """
    problems = {one.text("ProblemType") for one in reply.each("Problem")}
    if problems:
        return () if problems == {"Unknown Request"} else None
    status, copy = reply.text("RequestStatusType"), reply.text("ItemOptionalFields/CirculationStatus")
    said = status if status in KNOWN_WORDS else "", copy if copy in KNOWN_WORDS else ""
    if said == ("", ""):
        return None
    theirs = LENDING if ours is Side.BORROWING else BORROWING
    fits = [position for position in P if position in theirs and _fits(position, *said)]
    still = [position for position in fits if position not in FINAL] if said[1] else []
    return tuple(position.value for position in still or fits)


def _fits(position: Position, status: str, copy: str) -> bool:
    usual = replies.STATUS.get(position)
    about_copy = copy == usual if usual else position in FINAL or copy in {"", SHELF}
    return status in {"", status_of(position)} and (not copy or about_copy)

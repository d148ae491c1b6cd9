"""Makes reply payloads from command outcomes, restricted to the elements that the response may contain.

The command and the notification for one event share a handler. The response to a notification has no payload elements, since
an empty response means success.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from hkall_gateway.circulation.command import Command
from hkall_gateway.circulation.fines import Paid, Waived
from hkall_gateway.circulation.partners.partner_reports import Billed, Changed, StatusSet
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Done, Noted, Refused, Renewed
from hkall_gateway.circulation.returning import Arrival, CheckedIn
from hkall_gateway.ncip import replies
from hkall_gateway.ncip.codec.dialects import Dtd
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.replies import Frame
from hkall_gateway.ncip.service_request import ServiceRequest
from hkall_gateway.ncip.tables.flows import IN_PROCESS, STATUS, status_of
from hkall_gateway.ncip.tables.notifications import BARCODE, INSTITUTION, LOAN, item_id, request_id, user_id
from hkall_gateway.ncip.tables.problems import Problem
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import BORROWING, FINAL, LENDING
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side
from hkall_gateway.xml.tree import Fields, Value

P = Position
SHELF: Final = "Available On Shelf"
KNOWN_WORDS: Final = frozenset({IN_PROCESS, SHELF, *STATUS.values(), *replies.STATUS.values()})
"""Status words in our tables. Any other word in a partner's reply is ignored."""


def make_request_lookup(request: Request, partner: Partner, number: str = "") -> tuple[str, Fields] | None:
    """Make a look-up for a request, as (service, fields), or None if the partner supports no suitable look-up.

    `number` is the partner's own number for the request, as AGENCY:VALUE, or "" if the partner uses our number.
    """
    if partner.can_lookup_request:
        agency, _, value = (number or f"{request.wire_agency}:{request.wire_id}").partition(":")
        return "LookupRequest", {"RequestId": request_id(agency, value), "RequestElementType": ["Request Status Type"]}
    if partner.can_lookup_items and request.item and request.side is Side.BORROWING:
        return "LookupItem", {"ItemId": item_id(request.item), "ItemElementType": ["Circulation Status"]}
    return None


def read_positions(reply: NcipMessage, ours: Side) -> tuple[str, ...] | None:
    """Return the positions on the partner's side that are consistent with the reply. `ours` is our side of the request.

    Return an empty tuple if the partner does not know the request, and None if the reply is unusable. If the reply has a known
    item status, include final positions only if no open position is consistent.
    """
    problems = {one.text("ProblemType") for one in reply.each("Problem")}
    if problems:
        return () if problems == {"Unknown Request"} else None
    status, copy = reply.text("RequestStatusType"), reply.text("ItemOptionalFields/CirculationStatus")
    status, copy = status if status in KNOWN_WORDS else "", copy if copy in KNOWN_WORDS else ""
    if not status and not copy:
        return None
    other_side = LENDING if ours is Side.BORROWING else BORROWING
    fits = list[Position]()
    for position in (one for one in P if one in other_side and status in {"", status_of(one)}):
        usual = replies.STATUS.get(position)
        if not copy or (copy == usual if usual else position in FINAL or copy == SHELF):
            fits.append(position)
    still = [position for position in fits if position not in FINAL] if copy else []
    return tuple(position.value for position in still or fits)


Payload = Fields | Refused | Problem
"""Result of a handler: the reply's payload, a refusal by the circulation service, or a Problem from the handler."""

Answerable = CheckedOut | CheckedIn | Recalled | Done | Changed | StatusSet | Billed | Paid | Waived | replies.Plain
"""Command results, apart from refusals."""

Facts = TypeVar("Facts")
Result = TypeVar("Result", bound=Answerable)

KEPT: Final = "ILL Request Id"
"""ItemIdentifierType for our request number, which takes the place of the ItemId until an item has been chosen."""


class Belief(StrEnum):
    """Whether a partner's message was believed, in the words of the reply's Ext."""

    APPLIED = "applied"
    KNOWN = "known already"
    LATE = "late"
    HELD = "held for staff"


def make_belief_fields(message: NcipMessage, belief: Belief) -> Fields:
    """Make the Ext that says whether a message was believed. NCIP 1 has no place for it.

    A response to a notification has no other place either. ItemNote is free text, which no system known to us interprets, and
    an Ext allows only declared elements (xs:any is strict).
    """
    return {} if isinstance(message.version, Dtd) else {"Ext": {"ItemNote": belief.value}}


def find_belief(outcome: Answerable) -> Belief | None:
    """Return whether a partner's message was believed, or None if it asked for something instead of reporting an event."""
    match outcome:
        case Renewed(held=True):
            return Belief.HELD
        case Noted(late=True) | Recalled(late=True) | Renewed(late=True):
            return Belief.LATE
        case Noted(again=True) | Recalled(again=True) | Renewed(again=True) | CheckedOut(again=True) | Done(again=True):
            return Belief.KNOWN
        case StatusSet(again=True) | CheckedIn(what=Arrival.AGAIN):
            return Belief.KNOWN
        case Noted() | Recalled() | Renewed() | CheckedOut() | Done() | StatusSet() | CheckedIn():
            return Belief.APPLIED
    return None


def make_payload(call: ServiceRequest, outcome: Answerable | Refused) -> Payload:
    """Make a reply's payload from the allowed elements, with ids as the caller wrote them. Return a refusal unchanged."""
    if isinstance(outcome, Refused):
        return outcome
    places = ELEMENTS[SHAPES[call.message.service].reply].children
    belief = None if call.from_client else find_belief(outcome)
    found = {
        **_OPEN_END.get(call.message.service, {}),
        **make_outcome_fields(outcome, make_frame(call)),
        **(make_belief_fields(call.message, belief) if belief else {}),
    }
    allowed = {name: value for name, value in found.items() if name in places and not (name == _OPEN and "DateDue" in found)}
    return {name: _as_caller_wrote(call, name, value) for name, value in allowed.items()}


async def execute_command(call: ServiceRequest, command: Command[Facts, Result]) -> Payload:
    """Execute a command and build the reply payload. A repeated document gets the stored reply."""
    return make_payload(call, await call.services.circulation.execute(command, inbox=call.inbox))


def make_frame(call: ServiceRequest) -> Frame:
    """Make the frame for a reply from the caller and our settings.

    A reply to a partner has the user in the message, or else the partner's institutional card, and repeats the message's
    RequestType. A reply to a client has the RequestType from the client's configuration.
    """
    named = call.message.text("UserId/UserIdentifierValue")
    agency = call.message.text("UserId/AgencyId") or call.services.agency
    institution = user_id(agency, named) if named else user_id(call.services.agency, INSTITUTION.format(call.caller.agency))
    described = call.message.has("ItemElementType")
    us, access = call.services, call.caller.access
    if isinstance(access, Client):
        request_type, labels = access.request_type, access.request_status == "label"
    else:
        request_type, labels = call.message.text("RequestType") or LOAN, False
    return Frame(
        agency=us.agency,
        zone=us.timezone,
        institution=institution,
        labels=labels,
        described=described,
        request_type=request_type,
        name_order=us.name_order,
    )


def make_outcome_fields(outcome: Answerable, frame: Frame) -> Fields:
    """Make all fields for an outcome, including fields that the response may not contain."""
    match outcome:
        case CheckedOut():
            due: Mapping[str, Value] = _make_due_fields(outcome, frame) or {"IndeterminateLoanPeriodFlag": True}
            described = replies.make_item_description(outcome) if frame.described else {}
            lent: Fields = {"ItemId": item_id(outcome.item), "UserId": frame.institution}
            return {**lent, **_make_user_fields(outcome.card, frame), **due, **described}
        case CheckedIn():
            return {"ItemId": item_id(outcome.item), **_make_user_fields(outcome.card, frame)}
        case Recalled():
            return {**_make_item_fields(outcome.item), **_make_due_fields(outcome, frame)}
        case Done():
            return {**_make_item_fields(outcome.item), "UserId": frame.institution, **_make_due_fields(outcome, frame)}
        case Changed():
            kept: Fields = {"AgencyId": frame.agency, "ItemIdentifierType": KEPT, "ItemIdentifierValue": outcome.request}
            user = _make_user_fields(outcome.patron, frame) or {"UserId": frame.institution}
            kinds: Fields = {"RequestType": frame.request_type, "RequestScopeType": "Bibliographic Item"}
            return {"ItemId": kept, **_make_item_fields(outcome.item), **user, **kinds}
        case StatusSet():
            return {"ItemId": item_id(outcome.item)}
        case Billed():
            return _make_transaction_fields(outcome.card, outcome.reference, frame)
        case Paid():
            return _make_transaction_fields(outcome.card, outcome.transaction_id, frame)
        case Waived():
            return {}
    return replies.make_fields(outcome, frame)


def _make_transaction_fields(card: str, reference: str, frame: Frame) -> Fields:
    number: Fields = {"AgencyId": frame.agency, "FiscalTransactionIdentifierValue": reference}
    return {"UserId": user_id(frame.agency, card), "FiscalTransactionReferenceId": number}


def _make_item_fields(item: ItemKey | None) -> Mapping[str, Value]:
    return {"ItemId": item_id(item)} if item else {}


def _make_user_fields(card: str, frame: Frame) -> Mapping[str, Value]:
    return {"UserId": user_id(frame.agency, card)} if card else {}


def _make_due_fields(outcome: CheckedOut | Recalled | Done, frame: Frame) -> Mapping[str, Value]:
    return {"DateDue": replies.stamp_last_second(outcome.due, frame)} if outcome.due else {}


_OPEN: Final = "IndeterminateLoanPeriodFlag"
_OPEN_END: Final[Mapping[str, Fields]] = {"CheckOutItem": {_OPEN: True}}
"""Service -> elements that replace the due date if the outcome has no due date."""

_VALUES: Final = {
    "ItemId": "ItemIdentifierValue",
    "RequestId": "RequestIdentifierValue",
    "FiscalTransactionReferenceId": "FiscalTransactionIdentifierValue",
}
_ASKED_AT: Final = {"FiscalTransactionReferenceId": "FiscalTransactionInformation/FiscalTransactionReferenceId"}


def _as_caller_wrote(call: ServiceRequest, name: str, value: Value) -> Value:
    """Return an id as the caller wrote it, with agency and type, if the value is equal. Return any other field unchanged.

    A partner always gets back the RequestId in its message, since the partner's number for a request may differ from ours.
    """
    partner = call.caller.partner
    sent = next(iter(call.message.each(_ASKED_AT.get(name, name))), None) if name in _VALUES else None
    if name == "ItemId" and isinstance(value, Mapping) and value.get("ItemIdentifierType") == BARCODE and partner:
        value = {**value, "ItemIdentifierType": partner.item_id_type}
    named = sent.text(_VALUES[name]) if sent is not None else ""
    if sent is None or not named or not isinstance(value, Mapping):
        return value
    if named != value.get(_VALUES[name]) and (name != "RequestId" or call.from_client):
        return value
    return {**value, **{part: text for part, text in sent.fields.items() if part != "Ext"}}

"""Compare our open requests with a partner's list, and name the action that would reconcile each pair of positions.

The partner reports the position on its own side: as the lender of requests with which we borrow, as the borrower of requests
with which it borrows from us. "" means that the partner has no such request. A differing pair without a row is left to staff.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hkall_gateway.circulation import lending
from hkall_gateway.circulation.command import Command, Context, long_question, question
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.partners import lender_notices
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request, Side

P = Position
Mend = Callable[[Context, PartnerNotice, Request], Noted | Refused]


@dataclass(frozen=True, slots=True)
class PartnerState:
    """The partner's view of one request: RequestId as AGENCY:VALUE, possible positions, and the copy.

    A partner's list gives one position. The answer to a look-up gives all positions that match it. If there is no position, the
    partner has no such request.
    """

    wire_id: str
    positions: tuple[str, ...]
    barcode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionPair:
    """The positions of a request on our side and on the partner's. `mend` is the reconciling action, or ""."""

    request: str
    wire_id: str
    side: str
    ours: str
    theirs: str
    mend: str


def compare(unit: UnitOfWork, partner: str, theirs: Mapping[str, PartnerState]) -> tuple[PositionPair, ...]:
    """Compare all requests with a partner that are open here or in its list, and return the differing pairs."""
    ours = {named(request): request for request in unit.requests.open_list("", partner)}
    pairs = [_compare_positions(request, theirs.get(number, PartnerState(number, ()))) for number, request in ours.items()]
    known = [pair for pair in pairs if pair.mend != AGREED]
    only = [line for number, line in theirs.items() if number not in ours and line.positions]
    return (*known, *(_compare_ended(unit, partner, line) for line in only if FINAL.isdisjoint(line.positions)))


def their_number(unit: UnitOfWork, request: Request) -> str:
    """Return the lender's own number for a request as AGENCY:VALUE, or "" if the lender uses our number."""
    attempt = unit.requests.find_by_wire_id(request.wire_id) if request.side is Side.BORROWING else None
    return attempt[1].their_number if attempt else ""


def translate_numbers(
    unit: UnitOfWork, partner: str, theirs: Mapping[str, PartnerState], agency: str
) -> dict[str, PartnerState]:
    """Replace the partner's own numbers in its list by our numbers (`agency` is our AgencyId)."""
    lines = [_under_our_number(unit, partner, line, agency) for line in theirs.values()]
    return {line.wire_id: line for line in lines}


def _under_our_number(unit: UnitOfWork, partner: str, line: PartnerState, agency: str) -> PartnerState:
    attempt = unit.requests.find_by_lender_number(partner, line.wire_id)
    borrows = unit.requests.find_lent(*line.wire_id.split(":", 1))  # the number may be the partner's own request to us
    return replace(line, wire_id=f"{agency}:{attempt[1].wire_id}") if attempt and borrows is None else line


def named(request: Request) -> str:
    """Format a RequestId as AGENCY:VALUE."""
    return f"{request.wire_agency}:{request.wire_id}"


def _compare_positions(request: Request, theirs: PartnerState) -> PositionPair:
    """Compare both sides' positions. They agree if any of the partner's does. `mend` is the only possible action, or ""."""
    mends = {MENDS.get((request.side, request.position, position), NOTHING) for position in theirs.positions or ("",)}
    mends.discard(NOTHING)
    mend = AGREED if AGREED in mends else mends.pop() if len(mends) == 1 else NOTHING
    return PositionPair(
        request=request.id,
        wire_id=named(request),
        side=request.side,
        ours=request.position,
        theirs=_positions_text(theirs),
        mend=mend,
    )


def _positions_text(theirs: PartnerState) -> str:
    return "/".join(theirs.positions) or "unknown"


def _compare_ended(unit: UnitOfWork, partner: str, line: PartnerState) -> PositionPair:
    """Compare a request that is open only at the partner. Our request with this number has ended, or has never existed."""
    agency, _, value = line.wire_id.partition(":")
    attempt = unit.requests.find_by_wire_id(value) if agency != partner else None
    found = attempt[0] if attempt else unit.requests.find_lent(agency, value)
    if found and (found.partner, found.wire_id) == (partner, value):
        return _compare_positions(found, line)
    return PositionPair(
        request=found.id if found else "",
        wire_id=line.wire_id,
        side=found.side.value if found else "",
        ours=found.position.value if found else "unknown",
        theirs=_positions_text(line),
        mend=NOTHING,
    )


@long_question
def differences(context: Context, partner: str, theirs: Mapping[str, PartnerState]) -> tuple[PositionPair, ...]:
    """Return the requests whose positions here and in the partner's list do not fit."""
    return compare(context.unit, partner, theirs)


@question
def under_our_numbers(context: Context, partner: str, theirs: Mapping[str, PartnerState]) -> dict[str, PartnerState]:
    """Replace the partner's own numbers in its list by our numbers."""
    return translate_numbers(context.unit, partner, theirs, context.library.agency)


@question
def their_numbers(context: Context, requests: Sequence[Request]) -> Mapping[str, str]:
    """Return the lender's own number of each request as AGENCY:VALUE, or "" if the lender uses our number."""
    return {request.id: their_number(context.unit, request) for request in requests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct(Command[None, Noted]):
    """Apply the action that reconciles a pair of positions. `theirs` is the partner's view of the request."""

    by: Actor
    pair: PositionPair
    theirs: PartnerState
    reason: str


def correct(context: Context, command: Correct) -> Noted | Refused:
    """Apply the action that reconciles a pair. Refuse if there is no action, or if the request has moved meanwhile.

    The journal keeps the pair, the action and the reason. The reason is required.
    """
    pair, theirs, reason, by = command.pair, command.theirs, command.reason, command.by
    request = context.unit.requests.find(pair.request)
    if not reason.strip():
        return context.refuse(Reason.REASON_NEEDED, by, request)
    if request is None or request.position != pair.ours or pair.mend not in HOW:
        return context.refuse(Reason.WRONG_POSITION, by, request)
    facts = {"theirs": pair.theirs, "mend": pair.mend, "reason": reason}
    context.unit.note(request, "RECONCILED", facts, context.now, by)
    item = request.item or (ItemKey(request.partner, theirs.barcode) if theirs.barcode else None)
    ask = PartnerNotice(
        by=by,
        partner=request.partner,
        wire_agency=request.wire_agency,
        wire_id=request.wire_id,
        item=item,
        reason=f"reconciled: {reason}",
        judged=True,
    )
    return HOW[pair.mend](context, ask, request)


def _apply_notice(work: Callable[[Context, PartnerNotice], Noted | Refused]) -> Mend:
    """Create the action that applies a partner's notice as if it had arrived."""
    return lambda context, ask, _request: work(context, ask)


def _send_again(send: Notification) -> Mend:
    """Create the action that sends our message again."""

    def do(context: Context, notice: PartnerNotice, request: Request) -> Noted | Refused:
        context.unit.enqueue(send, request, context.now, notice.by)
        return Noted(
            request=request.id, wire_agency=request.wire_agency, wire_id=request.wire_id, item=request.item, note="told again"
        )

    return do


AGREED, NOTHING = "agreed", ""

# fmt: off
HOW: Mapping[str, Mend] = {
    "take it as shipped":         _apply_notice(lender_notices.apply_shipped),
    "take it as declined":        _apply_notice(lender_notices.apply_declined),
    "take it as home again":      _apply_notice(lender_notices.apply_home),
    "take it as withdrawn":       _apply_notice(lending.notice_handler(Event.WITHDRAW)),
    "take it as received there":  _apply_notice(lending.notice_handler(Event.BORROWER_HAS_IT)),
    "take it as coming home":     _apply_notice(lending.notice_handler(Event.COMING_HOME)),
    "ask again":                  _send_again(Notification.ASK_LENDER),
    "withdraw it again":          _send_again(Notification.CANCEL_AT_LENDER),
    "tell it again: received":    _send_again(Notification.TELL_LENDER_RECEIVED),
    "tell it again: on its way":  _send_again(Notification.TELL_LENDER_ON_ITS_WAY),
    "tell it again: shipped":     _send_again(Notification.TELL_BORROWER_SHIPPED),
    "tell it again: declined":    _send_again(Notification.TELL_BORROWER_DECLINED),
    "tell it again: home":        _send_again(Notification.TELL_BORROWER_HOME),
}

_BORROWED: tuple[tuple[Position, str, str], ...] = (
    # ours             the lender's            action
    (P.REQUESTED,      "PAGED",                AGREED),
    (P.REQUESTED,      "",                     "ask again"),
    (P.REQUESTED,      "SHIPPED",              "take it as shipped"),
    (P.REQUESTED,      "DECLINED",             "take it as declined"),
    (P.REQUESTED,      "WITHDRAWN",            "take it as declined"),
    (P.REQUESTED,      "CLOSED",               "take it as declined"),
    (P.CANCELLING,     "PAGED",                "withdraw it again"),
    (P.CANCELLING,     "",                     "take it as declined"),
    (P.CANCELLING,     "WITHDRAWN",            "take it as declined"),
    (P.CANCELLING,     "DECLINED",             "take it as declined"),
    (P.CANCELLING,     "CLOSED",               "take it as declined"),
    (P.CANCELLING,     "SHIPPED",              "take it as shipped"),
    (P.IN_TRANSIT,     "SHIPPED",              AGREED),
    (P.IN_TRANSIT,     "CLOSED",               "take it as home again"),
    (P.IN_TRANSIT,     "DECLINED",             "take it as home again"),
    (P.RECEIVED,       "AT_BORROWER",          AGREED),
    (P.RECEIVED,       "SHIPPED",              "tell it again: received"),
    (P.RECEIVED,       "PAGED",                "tell it again: received"),
    (P.RECEIVED,       "CLOSED",               "take it as home again"),
    (P.ON_LOAN,        "AT_BORROWER",          AGREED),
    (P.ON_LOAN,        "SHIPPED",              "tell it again: received"),
    (P.ON_LOAN,        "PAGED",                "tell it again: received"),
    (P.ON_LOAN,        "CLOSED",               "take it as home again"),
    (P.TO_RETURN,      "AT_BORROWER",          AGREED),
    (P.TO_RETURN,      "SHIPPED",              AGREED),
    (P.TO_RETURN,      "CLOSED",               "take it as home again"),
    (P.RETURN_TRANSIT, "RETURN_TRANSIT",       AGREED),
    (P.RETURN_TRANSIT, "AT_BORROWER",          "tell it again: on its way"),
    (P.RETURN_TRANSIT, "SHIPPED",              "tell it again: on its way"),
    (P.RETURN_TRANSIT, "CLOSED",               "take it as home again"),
    # ended here, open at the partner
    (P.CANCELLED,      "PAGED",                "withdraw it again"),
    (P.CANCELLED,      "SHIPPED",              "take it as shipped"),
    (P.UNFILLED,       "PAGED",                "withdraw it again"),
    (P.UNFILLED,       "SHIPPED",              "take it as shipped"),
    (P.CLOSED,         "SHIPPED",              "tell it again: on its way"),
    (P.CLOSED,         "AT_BORROWER",          "tell it again: on its way"),
)
_LENT: tuple[tuple[Position, str, str], ...] = (
    # ours             the borrower's          action
    (P.PAGED,          "NEW",                  AGREED),
    (P.PAGED,          "REQUESTED",            AGREED),
    (P.PAGED,          "CANCELLING",           "take it as withdrawn"),
    (P.PAGED,          "CANCELLED",            "take it as withdrawn"),
    (P.PAGED,          "UNFILLED",             "take it as withdrawn"),
    (P.PAGED,          "",                     "take it as withdrawn"),
    (P.PAGED,          "RECEIVED",             "take it as received there"),
    (P.PAGED,          "ON_LOAN",              "take it as received there"),
    (P.SHIPPED,        "IN_TRANSIT",           AGREED),
    (P.SHIPPED,        "REQUESTED",            "tell it again: shipped"),
    (P.SHIPPED,        "CANCELLING",           "tell it again: shipped"),
    (P.SHIPPED,        "CANCELLED",            "tell it again: shipped"),
    (P.SHIPPED,        "UNFILLED",             "tell it again: shipped"),
    (P.SHIPPED,        "RECEIVED",             "take it as received there"),
    (P.SHIPPED,        "ON_LOAN",              "take it as received there"),
    (P.SHIPPED,        "TO_RETURN",            "take it as received there"),
    (P.SHIPPED,        "RETURN_TRANSIT",       "take it as coming home"),
    (P.AT_BORROWER,    "RECEIVED",             AGREED),
    (P.AT_BORROWER,    "ON_LOAN",              AGREED),
    (P.AT_BORROWER,    "TO_RETURN",            AGREED),
    (P.AT_BORROWER,    "RETURN_TRANSIT",       "take it as coming home"),
    (P.RETURN_TRANSIT, "RETURN_TRANSIT",       AGREED),
    # ended here, open at the partner
    (P.DECLINED,       "REQUESTED",            "tell it again: declined"),
    (P.WITHDRAWN,      "REQUESTED",            "tell it again: declined"),
    (P.CLOSED,         "REQUESTED",            "tell it again: declined"),
    (P.CLOSED,         "IN_TRANSIT",           "tell it again: home"),
    (P.CLOSED,         "RECEIVED",             "tell it again: home"),
    (P.CLOSED,         "ON_LOAN",              "tell it again: home"),
    (P.CLOSED,         "TO_RETURN",            "tell it again: home"),
    (P.CLOSED,         "RETURN_TRANSIT",       "tell it again: home"),
)
# fmt: on

MENDS: Mapping[tuple[Side, Position, str], str] = {
    **{(Side.BORROWING, ours, theirs): mend for ours, theirs, mend in _BORROWED},
    **{(Side.LENDING, ours, theirs): mend for ours, theirs, mend in _LENT},
}


ANYWHERE: tuple[str, ...] = tuple(position.value for position in Position)
"""All position names of a partner's list. An answer that matches all of them tells nothing about the position."""

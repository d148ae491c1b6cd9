"""Decides whether the effect of a kept outcome still holds; if not, the same document is a new request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.desk.messages.results import Cancelled, CheckedIn, CheckedOut, Paged, Renewed, Requested
from hkall_gateway.rules.lifecycle import TAKES_QUOTA
from hkall_gateway.rules.renewals import is_out, renewal_stands
from hkall_gateway.rules.vocabulary import Position, Request, Side

P = Position

# fmt: off
TAKEN_IN: Final[Mapping[str, frozenset[Position]]] = MappingProxyType({
    "received":    frozenset({P.RECEIVED}),
    "returned":    frozenset({P.TO_RETURN, P.RETURN_TRANSIT, P.CLOSED}),
    "unwanted":    frozenset({P.TO_RETURN, P.RETURN_TRANSIT, P.CLOSED}),
    "uncollected": frozenset({P.TO_RETURN, P.RETURN_TRANSIT, P.CLOSED}),
    "paged":       frozenset({P.PAGED}),
    "home":        frozenset({P.CLOSED}),
    "undone":      frozenset({P.ON_LOAN}),
})
"""Positions after a check-in, by its `what`; `again` is missing: its document is decided anew."""
# fmt: on


def request_of(outcome: object) -> str:
    """The number of the request that an outcome is about; "" for outcomes that have no checked effect."""
    looked_at = isinstance(outcome, Requested | Cancelled | Renewed | CheckedOut | CheckedIn | Paged)
    return outcome.request if looked_at else ""  # type: ignore[attr-defined]  # each of them has one


def stands(outcome: object, request: Request) -> bool:
    """Whether the effect of `outcome` on this request still holds, with no later change to it."""
    match outcome:
        case Requested():
            return request.position in TAKES_QUOTA and not request.unwanted
        case Cancelled():
            return request.position in {P.CANCELLING, P.CANCELLED} or request.unwanted
        case Paged():
            return request.position not in {P.DECLINED, P.WITHDRAWN}
        case Renewed():
            return renewal_stands(request) and (outcome.due, outcome.renewals) == (_due(request), request.renewals)
        case CheckedOut():
            recalled = request.recalled_on is not None
            return is_out(request) and outcome.due == _due(request) and outcome.recalled is recalled
        case CheckedIn():
            return request.position in TAKEN_IN.get(outcome.what, ())
    return True


def _due(request: Request) -> object:
    return request.due if request.side is Side.BORROWING else request.lender_due

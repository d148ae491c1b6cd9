"""Limits of the time that a request may stay in one position before staff look at it.

Source: the limits of BONUS+, OhioLINK and MOBIUS.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from hkall_gateway.rules.dates import calendar
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.vocabulary import Position, Request, Side

P = Position

KEYS: Final[Mapping[Position, str]] = MappingProxyType(
    {
        P.NEW: "new_days",
        P.REQUESTED: "requested_days",
        P.CANCELLING: "cancelling_days",
        P.IN_TRANSIT: "in_transit_days",
        P.RECEIVED: "received_days",
        P.TO_RETURN: "to_return_days",
        P.RETURN_TRANSIT: "return_transit_days",
        P.PAGED: "paged_days",
        P.SHIPPED: "shipped_days",
    }
)
"""The key of `[waits]` for each position with a limit. A loan has its due date instead."""

ON_A_WAY: Final = frozenset({P.IN_TRANSIT, P.RETURN_TRANSIT, P.SHIPPED})


def limit(position: Position, courier_days: int, waits: Waits) -> timedelta:
    """Return how long a request may stay in a position of KEYS."""
    days: int = getattr(waits, KEYS[position])
    return timedelta(days=days + (courier_days if position in ON_A_WAY else 0))


def stands_still(request: Request, courier_days: int, waits: Waits, now: datetime) -> bool:
    """Return whether staff should look at this request at `now` (aware): stalled too long, or our book long overdue."""
    if request.position in KEYS and request.moved_at is not None:
        return now - request.moved_at > limit(request.position, courier_days, waits)
    return long_overdue(request, waits, now)


def long_overdue(request: Request, waits: Waits, now: datetime) -> bool:
    """Return whether a book of ours should have been sent back by its borrower `lender_overdue_days` days ago (R19)."""
    ours = request.side is Side.LENDING and request.position is P.AT_BORROWER
    due = request.lender_due if ours else None
    return due is not None and calendar.civil(now) > calendar.after(due, waits.lender_overdue_days)

"""Finds requests that stand still, for the daily list at nine o'clock and for the round that notes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.rules import dates
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.vocabulary import Request

NOTED: Final = "STANDS_STILL"
"""The journal event, written once for each time that a request stands still."""


def stalled(unit: Queries, limits: Waits, now: datetime, after: str = "", most: int = cli_lists.MOST) -> tuple[Request, ...]:
    """Up to `most` open requests with a number after `after` that may stand still, by number; `still` filters them."""
    since = {position: now - dates.limit(position, 0, limits) for position in dates.KEYS}
    due_before = dates.civil(now) - timedelta(days=limits.lender_overdue_days)
    return cli_lists.stalled(unit, since, due_before, after, most)


def still(unit: Queries, found: tuple[Request, ...], limits: Waits, now: datetime) -> tuple[Request, ...]:
    """The requests that stand still, with allowance for the days of each partner's courier."""
    travel = {agency: _courier_days(unit, agency) for agency in {request.partner for request in found}}
    return tuple(request for request in found if dates.stands_still(request, travel[request.partner], limits, now))


def is_noted(unit: Queries, request: Request) -> bool:
    """Whether the journal has this event already for the request's present position."""
    noted = unit.last_noted(request.id, NOTED)
    return noted is not None and request.moved_at is not None and noted >= request.moved_at


def _courier_days(unit: Queries, agency: str) -> int:
    partner = unit.partner(agency) if agency else None
    return partner.courier_days if partner else 0

"""The reasons against a renewal, as a list in the order in which they are checked."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from hkall_gateway.rules.dates import after
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Position, Refusal, Request

OUT: Final = frozenset({Position.ON_LOAN, Position.SHIPPED, Position.AT_BORROWER})


def renewal_refused(request: Request, due: date, policy: Policy, today: date, staff: bool) -> Refusal | None:
    """Return the first reason against a renewal today, or None. Source: HKALL rules R27 to R29."""
    if request.recalled_on is not None:
        return Refusal(Reason.RECALLED, {"due": request.due}, {"recalled_on": request.recalled_on})
    if request.lost_on is not None or request.claimed_on is not None:
        facts = {"lost_on": request.lost_on, "claimed_on": request.claimed_on}
        return Refusal(Reason.RENEWAL_DENIED, {"due": request.due}, facts)
    if request.renewal_sync == RenewalSync.DENIED and not staff:
        return Refusal(Reason.RENEWAL_DENIED, {"due": request.due}, {"renewal_sync": RenewalSync.DENIED.value})
    most, late = policy.renewal.max_count, policy.renewal.overdue
    if request.renewals >= most:
        return Refusal(Reason.RENEWAL_LIMIT, {"limit": most, "due": request.due})
    opens = after(due, -policy.renewal.window_days)
    if today < opens:
        return Refusal(Reason.RENEWAL_TOO_SOON, {"from": opens, "due": due})
    allowed = late == "allow" or (late == "staff_only" and staff)
    return Refusal(Reason.RENEWAL_OVERDUE, {"due": due}) if today > due and not allowed else None


def is_repetition(request: Request, policy: Policy, now: datetime) -> bool:
    """Return whether the same renewal asked again is a repetition: within the window, while the renewal is in force.

    Source: HKALL rules R27, R28.
    """
    renewed_at = request.renewed_at
    within = renewed_at is not None and now - renewed_at < timedelta(seconds=policy.renewal.repeat_window_s)
    return within and renewal_stands(request)


def renewal_stands(request: Request) -> bool:
    """Return whether a loan is unchanged since its last renewal: still out, not returned in between, not recalled."""
    renewed_at, moved_at = request.renewed_at, request.moved_at
    moved = renewed_at is not None and moved_at is not None and moved_at > renewed_at
    return is_out(request) and not moved and request.recalled_on is None


def is_out(request: Request) -> bool:
    """Return whether a copy is with a patron, or with a partner of ours, and neither lost nor claimed to be returned."""
    return request.position in OUT and request.lost_on is None and request.claimed_on is None

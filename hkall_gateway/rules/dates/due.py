"""Date arithmetic of loans: the due dates that a checkout, a renewal and a recall give. Permission is checked elsewhere."""

from __future__ import annotations

from datetime import date, datetime

from hkall_gateway.rules.dates.calendar import ALWAYS_OPEN, Closures, after, civil, roll
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Position, Request, Side


def lent_until(
    request: Request, days: int, policy: Policy, today: date, closures: Closures, card_expires: date | None = None
) -> date:
    """Return the due date of a loan that begins today, which is day 0; a recall that came before it shortens it.

    The published period is the patron's. If the policy caps it to the lender's date, the days of minimum use stay.
    Source: HKALL rules R19, R25, R33.
    """
    latest = _earliest(_lender(request, today, policy), _card(card_expires, policy))
    full = max(today, roll(after(today, days), closures, policy.due.on_closure, latest))
    if request.recalled_on is None:
        return full
    return recalled_until(full, today, request.recalled_on, policy, closures)


def renewed_until(request: Request, policy: Policy, today: date, closures: Closures, card_expires: date | None = None) -> date:
    """Return the due date after a renewal today: the loan's own period again, capped, and never earlier than it was.

    `request` is on loan, so `due` is set. Source: HKALL rules R32, due date on a closure.
    """
    due = request.due or today
    base = today if policy.renewal.base == "renewal_date" else due
    latest = _earliest(*_caps(request, policy), _card(card_expires, policy))
    return max(due, roll(after(base, request.loan_days), closures, policy.due.on_closure, latest))


def recalled_until(
    due: date, first_checkout: date, recalled_on: date, policy: Policy, closures: Closures, lender_says: date | None = None
) -> date:
    """Return the due date after a recall: the later of minimum use and time to return, and never later than `due`.

    A date that the lender names counts if it is later than ours. Source: HKALL rules R25, R26, R33.
    """
    minimum = after(first_checkout, policy.recall.min_use_days)
    ours = max(minimum, after(recalled_on, policy.recall.return_days))
    wanted = ours if lender_says is None else max(lender_says, ours)
    if wanted >= due:
        return due
    rolled = roll(wanted, closures, policy.due.on_closure, latest=due)
    # Rolling back may cut into the days of minimum use; then the closed day stays.
    return rolled if rolled >= minimum else wanted


def recall_due(
    request: Request, policy: Policy, now: datetime, lender_says: date | None = None, closures: Closures = ALWAYS_OPEN
) -> date:
    """Return the due date of a loan that its owner recalls now; `lender_says` is the date that the owner names.

    `request` is on loan: a loan without dates raises ValueError. Source: HKALL rules R25, R26.
    """
    if request.due is None or request.first_checkout is None:
        raise ValueError(f"request {request.id} is not on loan")
    return recalled_until(request.due, request.first_checkout, civil(now), policy, closures, lender_says)


def restored_due(request: Request, policy: Policy) -> date | None:
    """Return the due date after the owner cancels a recall: the one before it, if that is later. Source: HKALL rules R26."""
    before = request.due_before_recall
    if before is None or request.due is None or not policy.recall.restore_on_cancel:
        return request.due
    return max(before, request.due)


def next_open(request: Request, closures: Closures) -> date | None:
    """Return the open day to which a date on a closed day moves: a loan's due date, or the last day to collect.

    None if it stays: it is open, or a recall leaves no further day. The lender's date does not count.
    Source: HKALL rules R14, R19.
    """
    held = request.position is Position.RECEIVED
    day = request.pickup_last if held else request.due
    until = roll(day, closures, "roll_forward", None if held else request.due_before_recall) if day else None
    return until if day and until and until > day else None


def past_lender(request: Request) -> bool:
    """Return whether a loan that we borrow runs past the date on which its lender expects the book.

    Source: HKALL rules R19, R32.
    """
    on_loan = request.side is Side.BORROWING and request.position is Position.ON_LOAN
    return on_loan and request.due is not None and request.lender_due is not None and request.due > request.lender_due


def _lender(request: Request, today: date, policy: Policy) -> date | None:
    """Return the lender's date as a cap on a loan that begins today; None if there is no cap."""
    if request.lender_due is None or not policy.due.cap_to_lender_due:
        return None
    return max(request.lender_due, after(request.first_checkout or today, policy.recall.min_use_days))


def _caps(request: Request, policy: Policy) -> tuple[date | None, date | None]:
    lender = request.lender_due if policy.renewal.cap_to_lender_due else None
    most = policy.renewal.max_total_days
    return lender, None if most is None or request.first_checkout is None else after(request.first_checkout, most)


def _card(expires: date | None, policy: Policy) -> date | None:
    return expires if policy.due.cap_to_patron_expiry else None


def _earliest(*days: date | None) -> date | None:
    return min((day for day in days if day is not None), default=None)

"""Counts of a borrower's requests, loans and fines, read inside the unit of work that decides."""

from __future__ import annotations

from datetime import date

from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.common.library import Library
from hkall_gateway.rules import overdue_fine, policy
from hkall_gateway.rules.dates.calendar import Closures
from hkall_gateway.rules.policy import Counts, quota_positions
from hkall_gateway.rules.vocabulary import Borrower, Position, Request, RequestEntry
from hkall_gateway.store.unit import Unit


def counts(unit: Unit, borrower: Borrower, library: Library, without: str = "") -> Counts:
    """The borrower's counts against quotas, the request `without` left out (R20, R21)."""
    return Counts(
        hkall_used=unit.quota_used(borrower.barcode, quota_positions(library.policy), without),
        local_loans=borrower.local_loans,
        total_quota=borrower.total_quota,
        ils_counts_hkall=library.policy.quota.ils_counts_hkall,
    )


def fine_cents(request: Request, day: date, library: Library, closures: Closures) -> int:
    """The total fine of a loan that comes back on `day`, in cents, including charges already made (R40, R41).

    A cancelled recall counts only for its own days.
    """
    if request.due is None:
        return 0
    return overdue_fine.fine(
        request.due,
        day,
        request.recalled_on or request.recall_was_on,
        request.due_before_recall is not None and request.due_before_recall != request.due,
        library.policy,
        closures,
        recall_cancelled_on=None if request.recalled_on else request.recall_cancelled_on,
        stopped_on=overdue_fine.stopped_on(request, library.policy),
    )


def waited_too_long(context: Context, request: Request | RequestEntry) -> bool:
    """Whether a book on the hold shelf was not collected in time (R14, R15).

    Closed days only make the last day later, so the calendar is not asked about a book that has time without them.
    """
    if request.position is not Position.RECEIVED or not policy.waited_too_long(request, context.library.policy, context.now):
        return False
    settled = request.expired_pickup or request.pickup_last is not None
    return settled or policy.waited_too_long(
        request, context.library.policy, context.now, closed_days(context.unit, context.library)
    )


def closed_days(unit: Unit, library: Library) -> Closures:
    """The days on which our own counter is closed."""
    return unit.closed_days(library.agency)

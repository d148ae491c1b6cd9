"""Counts of a borrower's requests, loans and fines, read inside the unit of work that decides."""

from __future__ import annotations

from hkall_gateway.circulation.common.context import Context, Library
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import policy
from hkall_gateway.rules.dates import Closures
from hkall_gateway.rules.policy import Counts, quota_positions
from hkall_gateway.rules.vocabulary import Borrower, Position, Request, RequestEntry


def counts(unit: Unit, borrower: Borrower, library: Library, without: str = "") -> Counts:
    """The borrower's counts against quotas, the request `without` left out (R20, R21)."""
    return Counts(
        hkall_used=unit.quota_used(borrower.barcode, quota_positions(library.policy), without),
        local_loans=borrower.local_loans,
        total_quota=borrower.total_quota,
        ils_counts_hkall=library.policy.quota.ils_counts_hkall,
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

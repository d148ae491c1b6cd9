"""The fine for an overdue book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from hkall_gateway.rules.dates import ALWAYS_OPEN, Closures, days_after
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Request

CURRENCY: Final = "HKD"
"""The currency of fines. Source: HKALL rules R40."""


@dataclass(frozen=True, slots=True)
class RecallFacts:
    """The recall of a loan, for its fine: its date, whether it shortened the due date, the date of its cancellation."""

    recalled_on: date | None = None
    shortened: bool = False
    cancelled_on: date | None = None


def fine(
    due: date,
    returned_on: date,
    recalled_on: date | None,
    recall_shortened: bool,
    policy: Policy,
    closures: Closures = ALWAYS_OPEN,
    *,
    recall_cancelled_on: date | None = None,
    stopped_on: date | None = None,
) -> int:
    """Return the fine in cents of Hong Kong dollars for the days after `due`, up to and including `returned_on` (today, if
    out).

    `stopped_on`: the day on which the fine stopped (see the function of that name); later days cost no more. Never negative.
    Source: HKALL rules R40, R41.
    """
    last = returned_on if stopped_on is None else min(returned_on, stopped_on)
    recall = RecallFacts(recalled_on, recall_shortened, recall_cancelled_on)
    # A recall that came after the book was back, or after accrual stopped, does not count.
    counted = recall if recalled_on is not None and recalled_on <= last else RecallFacts()
    total = sum(rate(day, counted, policy) for day in days_after(due, last) if costs(day, policy, closures))
    most = policy.fine.max_per_item_cents
    return total if most is None else min(total, most)


def fine_for(request: Request, returned_on: date, policy: Policy, closures: Closures = ALWAYS_OPEN) -> int:
    """Return the fine in cents for a request's own dates, charges already made included; 0 if it was never on loan.

    `returned_on` is today for a book that is still out. A cancelled recall counts only for its own days.
    Source: HKALL rules R40, R41.
    """
    if request.due is None:
        return 0
    recall = _recall_facts(request)
    return fine(
        request.due,
        returned_on,
        recall.recalled_on,
        recall.shortened,
        policy,
        closures,
        recall_cancelled_on=recall.cancelled_on,
        stopped_on=stopped_on(request, policy),
    )


def stopped_on(request: Request, policy: Policy) -> date | None:
    """Return the last chargeable day of a loan that was lost or claimed, or, if the policy says so, put into the book drop.

    None while the fine runs on. Source: HKALL rules R17, R41.
    """
    dropped_on = request.dropped_on if policy.bookdrop.fine == "until_drop" else None
    return min((day for day in (request.claimed_on, request.lost_on, dropped_on) if day), default=None)


def rate(day: date, recall: RecallFacts, policy: Policy) -> int:
    """Return the cents for one overdue day. Source: HKALL rules R40, R41."""
    return policy.fine.recalled_cents if _recalled(day, recall, policy) else policy.fine.overdue_cents


def rate_for(request: Request, day: date, policy: Policy) -> int:
    """Return the cents for one overdue day of a loan, if it is still out then. Source: HKALL rules R40, R41."""
    return rate(day, _recall_facts(request), policy)


def _recall_facts(request: Request) -> RecallFacts:
    """Return the facts of the recall in force, else of a cancelled one, which counts only for its own days."""
    before, due = request.due_before_recall, request.due
    shortened = before is not None and due is not None and before > due
    cancelled_on = None if request.recalled_on else request.recall_cancelled_on
    return RecallFacts(request.recalled_on or request.recall_was_on, shortened, cancelled_on)


def costs(day: date, policy: Policy, closures: Closures = ALWAYS_OPEN) -> bool:
    """Return whether an overdue day is charged at all. Source: HKALL rules R40, fine-free dates."""
    free = any(span.start <= day <= span.end for span in policy.fine_free)
    return not free and (policy.fine.count_closed_days or day not in closures)


def _recalled(day: date, recall: RecallFacts, policy: Policy) -> bool:
    if recall.recalled_on is None or (policy.fine.recalled_requires_shortening and not recall.shortened):
        return False
    if recall.cancelled_on is not None and day >= recall.cancelled_on:
        return False
    return policy.fine.recall_scope == "whole_period" or day > recall.recalled_on

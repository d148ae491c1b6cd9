"""Computes the fine for an overdue book."""

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
    """The recall of a loan: when it came, whether it shortened the due date, and when it was cancelled."""

    recalled_on: date | None = None
    shortened: bool = False
    cancelled_on: date | None = None


def fine_for(request: Request, returned_on: date, policy: Policy, closures: Closures = ALWAYS_OPEN) -> int:
    """Return the total fine for a loan in cents, including amounts already charged; 0 if the loan has no due date.

    The days after `due` are charged, up to and including `returned_on`, which is today for a book that is still on loan. Days
    after `stopped_on` are free. A cancelled recall raises the rate until the cancellation. Source: HKALL rules R40, R41.
    """
    if request.due is None:
        return 0
    stopped, recall = stopped_on(request, policy), _recall_facts(request)
    last = returned_on if stopped is None else min(returned_on, stopped)
    # A recall after the return, or after the fine stopped accruing, does not count.
    counted = recall if recall.recalled_on is not None and recall.recalled_on <= last else RecallFacts()
    total = sum(
        _daily_rate(day, counted, policy) for day in days_after(request.due, last) if _is_charged(day, policy, closures)
    )
    most = policy.fine.max_per_item_cents
    return total if most is None else min(total, most)


def stopped_on(request: Request, policy: Policy) -> date | None:
    """Return the last chargeable day of a loan, or None while the fine accrues.

    A fine stops when the book is lost, claimed returned, or, if the policy says so, put into the book drop.
    Source: HKALL rules R17, R41.
    """
    dropped_on = request.dropped_on if policy.bookdrop.fine == "until_drop" else None
    return min((day for day in (request.claimed_on, request.lost_on, dropped_on) if day), default=None)


def rate_for(request: Request, day: date, policy: Policy) -> int:
    """Return the fine in cents for one overdue day of a loan. Source: HKALL rules R40, R41."""
    return _daily_rate(day, _recall_facts(request), policy)


def _recall_facts(request: Request) -> RecallFacts:
    """Return the facts about the recall in force or the last cancelled recall."""
    before, due = request.due_before_recall, request.due
    shortened = before is not None and due is not None and before > due
    cancelled_on = None if request.recalled_on else request.recall_cancelled_on
    return RecallFacts(request.recalled_on or request.recall_was_on, shortened, cancelled_on)


def _is_charged(day: date, policy: Policy, closures: Closures) -> bool:
    free = any(span.start <= day <= span.end for span in policy.fine_free)
    return not free and (policy.fine.count_closed_days or day not in closures)


def _daily_rate(day: date, recall: RecallFacts, policy: Policy) -> int:
    rules = policy.fine
    if recall.recalled_on is None or (rules.recalled_requires_shortening and not recall.shortened):
        return rules.overdue_cents
    if recall.cancelled_on is not None and day >= recall.cancelled_on:
        return rules.overdue_cents
    counts = rules.recall_scope == "whole_period" or day > recall.recalled_on
    return rules.recalled_cents if counts else rules.overdue_cents

"""Eligibility: whether a borrower may use the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Category, Policy
from hkall_gateway.rules.vendor_words.study_modes import study_mode_of
from hkall_gateway.rules.vocabulary import Borrower, Grant, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBlocks:
    """A borrower's debt in Hong Kong cents and numbers of overdue books, which are compared with the library's thresholds."""

    owed_cents: int = 0
    overdue_recalls: int = 0
    long_overdue: int = 0


NO_BLOCKS = LocalBlocks()


def category_of(borrower: Borrower, policy: Policy) -> Category | None:
    """Find a borrower's category by key or group code; None if not eligible. Source: HKALL rules R2, R18."""
    group = borrower.category
    for category in policy.categories if group else ():
        if group == category.key or group in category.ils_groups:
            return category
    return None


def may_use(borrower: Borrower, policy: Policy, now: datetime, blocks: LocalBlocks = NO_BLOCKS) -> Grant | Refusal:
    """Decide whether a borrower may use the service at all. `Grant.facts` names the category. Source: HKALL rules R2."""
    category = category_of(borrower, policy)
    if category is None:
        return Refusal(Reason.NOT_ELIGIBLE, facts={"category": borrower.category})
    if refusal := _study_mode(borrower, category, policy):
        return refusal
    if borrower.expires is not None and borrower.expires < civil(now):
        return Refusal(Reason.PATRON_EXPIRED, detail={"expires": borrower.expires})
    if borrower.blocked:
        return _blocked_by("local system")
    most_cents = policy.block.max_debt_cents
    if most_cents is not None and blocks.owed_cents > most_cents:
        sums = {"owed": _dollars(blocks.owed_cents), "limit": _dollars(most_cents)}
        return Refusal(Reason.PATRON_OWES, detail=sums, facts={"block": "debt"})
    if policy.block.on_overdue_recall and blocks.overdue_recalls > 0:
        return _blocked_by("overdue recall")
    most_books = policy.block.max_long_overdue
    if most_books is not None and blocks.long_overdue > most_books:
        return _blocked_by("long overdue")
    return Grant(facts={"category": category.key})


def _blocked_by(block: str) -> Refusal:
    return Refusal(Reason.PATRON_BLOCKED, facts={"block": block})


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _study_mode(borrower: Borrower, category: Category, policy: Policy) -> Refusal | None:
    # Part-time tutors are staff. Only categories that require a study mode may refuse part-time borrowers.
    needed = category.study_mode_required
    if not needed:
        return None
    mode = study_mode_of(borrower.study_mode, policy.study_modes)
    if mode == needed:
        return None
    if mode:
        return Refusal(Reason.NOT_ELIGIBLE_PART_TIME_SPACE, facts={"study_mode": mode.value})
    if policy.unknown_study_mode == "allow":
        return None
    return Refusal(Reason.ELIGIBILITY_UNKNOWN, facts={"study_mode": borrower.study_mode})

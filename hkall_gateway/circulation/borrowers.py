"""Borrower data for decisions: quota counts, unpaid charges, overdue books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.db.loads.former_cards import present_card
from hkall_gateway.db.loads.loading import loaded_at
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import policy
from hkall_gateway.rules.dates import Closures, civil
from hkall_gateway.rules.eligibility import NO_BLOCKS, LocalBlocks
from hkall_gateway.rules.policy import Counts, quota_positions
from hkall_gateway.rules.settings import Block
from hkall_gateway.rules.vocabulary import Borrower, Position, Request, RequestEntry


def counts(context: Context, borrower: Borrower, without: str = "") -> Counts:
    """Count a borrower's loans and requests against the quotas, excluding the request `without` (R20, R21)."""
    return Counts(
        hkall_used=context.unit.requests.quota_used(borrower.barcode, quota_positions(context.library.policy), without),
        local_loans=borrower.local_loans,
        total_quota=borrower.total_quota,
        ils_counts_hkall=context.library.policy.quota.ils_counts_hkall,
    )


def waited_too_long(context: Context, request: Request | RequestEntry) -> bool:
    """Check whether a book has stayed on the hold shelf past its pickup deadline (R14, R15).

    Closed days can only postpone the deadline, so the calendar is read only if the book is late without them.
    """
    if request.position is not Position.RECEIVED or not policy.waited_too_long(request, context.library.policy, context.now):
        return False
    settled = request.expired_pickup or request.pickup_last is not None
    return settled or policy.waited_too_long(request, context.library.policy, context.now, closed_days(context))


def closed_days(context: Context) -> Closures:
    """Return the days on which our own counter is closed."""
    return context.unit.partners.closed_days(context.library.agency)


def patron_blocks(context: Context, card: str) -> LocalBlocks:
    """Count the borrower's unpaid charges, overdue recalls and long-overdue books (R2).

    All counts are zero if the policy sets no threshold. Lost books and books claimed returned do not count as overdue.
    """
    if not _in_force(context.library.policy.block):
        return NO_BLOCKS
    return blocks_of(context, context.unit.requests.open_of_patron(card), context.unit.patrons.owed_cents(card))


def blocks_of(context: Context, has: Sequence[Request | RequestEntry], owed_cents: int) -> LocalBlocks:
    """Compute `patron_blocks` from open requests and a debt that the caller has already read."""
    block = context.library.policy.block
    if not _in_force(block):
        return NO_BLOCKS
    days = [(r, _days_late(r, context.now)) for r in has]
    return LocalBlocks(
        owed_cents=max(0, owed_cents),
        overdue_recalls=sum(late > 0 and r.recalled_on is not None for r, late in days),
        long_overdue=sum(late >= block.long_overdue_days for _, late in days),
    )


_BLOCKS: Final = {option.name: option.default for option in fields(Block) if option.default in (None, False)}
"""The options that switch a block on, with their values while it is off. The other options only qualify one of them."""


def _in_force(block: Block) -> bool:
    return any(getattr(block, name) != off for name, off in _BLOCKS.items())


def _days_late(request: Request | RequestEntry, now: datetime) -> int:
    kept = request.position is Position.ON_LOAN and request.lost_on is None and request.claimed_on is None
    return (civil(now) - request.due).days if kept and request.due else 0


LOADED: Final = "snapshot"
"""Value of `BorrowerFacts.source` for data from the loaded patron file."""


def loaded_facts(unit: UnitOfWork, card: str) -> BorrowerFacts:
    """Read the borrower from the loaded patron file."""
    borrower = unit.patrons.find(card)
    return BorrowerFacts(borrower=borrower, source=LOADED, replaced=borrower is None and bool(present_card(unit, card)))


def known_since(unit: UnitOfWork, facts: BorrowerFacts) -> datetime | None:
    """Return when the facts were current: the time of the local system's answer, or of the last load of patrons."""
    return loaded_at(unit, "patrons") if facts.source == LOADED else facts.as_of

"""A borrower's debts and overdue books: the facts behind the library's own thresholds (R2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hkall_gateway.circulation.common.context import Context, Library
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.eligibility import NO_BLOCKS, LocalBlocks
from hkall_gateway.rules.settings import Block
from hkall_gateway.rules.vocabulary import Position, Request, RequestEntry


def patron_blocks(context: Context, card: str) -> LocalBlocks:
    """The borrower's unpaid charges, overdue recalls and long-overdue books; all zero where no threshold is set.

    Lost books and books claimed to be returned do not count as overdue: they are charged, or searched for.
    """
    if not _in_force(context.library.policy.block):
        return NO_BLOCKS
    return blocks_of(context.unit.open_requests(card), context.unit.owed_cents(card), context.library, context.now)


def blocks_of(has: Sequence[Request | RequestEntry], owed_cents: int, library: Library, now: datetime) -> LocalBlocks:
    """The same, from open requests and a sum of charges that are already read."""
    block = library.policy.block
    if not _in_force(block):
        return NO_BLOCKS
    days = [(r, _days_late(r, now)) for r in has]
    return LocalBlocks(
        owed_cents=max(0, owed_cents),
        overdue_recalls=sum(late > 0 and r.recalled_on is not None for r, late in days),
        long_overdue=sum(late >= block.long_overdue_days for _, late in days),
    )


def _in_force(block: Block) -> bool:
    return block.on_overdue_recall or block.max_debt_cents is not None or block.max_long_overdue is not None


def _days_late(request: Request | RequestEntry, now: datetime) -> int:
    kept = request.position is Position.ON_LOAN and request.lost_on is None and request.claimed_on is None
    return (civil(now) - request.due).days if kept and request.due else 0

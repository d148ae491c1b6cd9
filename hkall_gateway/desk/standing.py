"""What a borrower owes and keeps too long: the facts behind the library's own thresholds (R2)."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk.house import House
from hkall_gateway.rules.calendar import civil
from hkall_gateway.rules.eligibility import GOOD_STANDING, Standing
from hkall_gateway.rules.settings import Block
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.store.unit import Unit


def standing(unit: Unit, card: str, house: House, now: datetime) -> Standing:
    """Charges not paid, recalled books over their date, long-overdue books; nothing is counted where no threshold is set.

    A lost book and one that is claimed to be returned are not kept too long: they are charged, or looked for.
    """
    block = house.policy.block
    if not _in_force(block):
        return GOOD_STANDING
    days = [(r, _days_late(r, now)) for r in unit.open_requests(card)]
    return Standing(
        owed_cents=max(0, unit.owed_cents(card)),
        overdue_recalls=sum(late > 0 and r.recalled_on is not None for r, late in days),
        long_overdue=sum(late >= block.long_overdue_days for _, late in days),
    )


def _in_force(block: Block) -> bool:
    return block.on_overdue_recall or block.max_debt_cents is not None or block.max_long_overdue is not None


def _days_late(request: Request, now: datetime) -> int:
    kept = request.position is Position.ON_LOAN and request.lost_on is None and request.claimed_on is None
    return (civil(now) - request.due).days if kept and request.due else 0

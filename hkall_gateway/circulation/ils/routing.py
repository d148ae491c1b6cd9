"""Routes a terminal's message to HKALL, to the local system, or to both. Queries only."""

from __future__ import annotations

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.find_request import AwaitedCopy, awaited, owned_elsewhere
from hkall_gateway.circulation.fines import charge_lines
from hkall_gateway.circulation.messages.commands import FindCopySystem, SeeRecord
from hkall_gateway.circulation.queries import loan_line
from hkall_gateway.circulation.results import CopySystem, HkallRecord
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey, Side


def copy(context: Context, query: FindCopySystem) -> CopySystem:
    """The system that holds a copy with this barcode; `arriving`: also match copies without a shipped message.

    Our own copy that is on its way to a partner, or with one, concerns both. Where the terminal names its owner as the
    `institution`, that decides. Else, where a `card` is named, it is HKALL's only if it came for that patron: no other patron
    can have it in hand, and a book of our own may have the same barcode.
    """
    unit, library, barcode, card = context.unit, context.library, query.barcode, query.card
    held = unit.requests_with(barcode)
    if any(request.side is Side.LENDING for request in held):
        return CopySystem.LENT
    coming = awaited(unit, barcode, "", library) if query.arriving and not held else Reason.UNKNOWN_ITEM
    if not held and not isinstance(coming, AwaitedCopy) and coming is not Reason.AMBIGUOUS_ITEM:
        elsewhere = owned_elsewhere(unit, barcode, "", library) if query.arriving else None
        return CopySystem.NOT_FOR_CARD if elsewhere else CopySystem.THEIRS
    if any(request.item_agency == query.institution for request in held):
        return CopySystem.OURS
    for_another = bool(card) and all(request.patron != card for request in held)
    if unit.holding(ItemKey(library.agency, barcode)) is None:
        return CopySystem.NOT_FOR_CARD if for_another else CopySystem.OURS
    return CopySystem.THEIRS if for_another else CopySystem.EITHER


def had(context: Context, query: SeeRecord) -> HkallRecord:
    """The loans, requests and charges of a card here; empty for an unknown card."""
    lines = tuple(loan_line(context, line) for line in context.unit.open_lines(query.card))
    return HkallRecord(lines, charge_lines(context.unit, context.unit.charges(query.card)))

"""Whose business a terminal's line is: HKALL's, the local system's, or both. Looks that decide nothing."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk.awaited import Awaited, awaited
from hkall_gateway.desk.fines import charge_lines
from hkall_gateway.desk.house import House
from hkall_gateway.desk.outcomes import Had, Whose
from hkall_gateway.desk.seeing import loan_line
from hkall_gateway.rules.vocabulary import ItemKey, Side, Why
from hkall_gateway.store.unit import Unit


def copy(unit: Unit, barcode: str, card: str, arriving: bool, house: House) -> Whose:
    """Who has a copy with this barcode; `arriving`: it may also be one that nobody has announced.

    Our own copy that is on its way to a partner, or with one, concerns both. Where a book of our own has the same barcode
    and a `card` is named, it is HKALL's only if it came for that reader: nobody else can have it in hand.
    """
    held = unit.requests_with(barcode)
    if any(request.side is Side.LENDING for request in held):
        return Whose.LENT
    coming = awaited(unit, barcode, "", house) if arriving and not held else Why.UNKNOWN_ITEM
    if not held and not isinstance(coming, Awaited) and coming is not Why.AMBIGUOUS_ITEM:
        return Whose.THEIRS
    if unit.holding(ItemKey(house.agency, barcode)) is None:
        return Whose.OURS
    theirs = card and all(request.patron != card for request in held)
    return Whose.THEIRS if theirs else Whose.EITHER


def had(unit: Unit, card: str, house: House, now: datetime) -> Had:
    """What a card has and owes here; nothing for one that nobody knows."""
    lines = tuple(loan_line(unit, line, house, now) for line in unit.open_lines(card))
    return Had(lines, charge_lines(unit, unit.charges(card)))

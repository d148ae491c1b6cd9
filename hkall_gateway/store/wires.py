"""Which request another system means: by the number that it gave it, or by a copy of which it knows only the barcode."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import Request, Side
from hkall_gateway.store.tables import REQUESTS
from hkall_gateway.store.unit import Unit

STRAY = "stray"
"""The kind of a request that is a copy which nobody waits for."""


def strays_under(unit: Unit, wire_agency: str, wire_id: str) -> list[Request]:
    """The copies that came under this RequestId after the wish that it was had ended, on their way or home, oldest first."""
    c = REQUESTS.c
    return _all(unit, c.wire_agency == wire_agency, c.wire_id == wire_id, c.kind == STRAY)


def borrowed_under(unit: Unit, partner: str, wire_id: str) -> Request | None:
    """What we borrow under a number of the partner's own: the open request, else the newest that has ended."""
    c = REQUESTS.c
    named = (c.wire_agency == partner, c.wire_id == wire_id, c.partner == partner, c.side == Side.BORROWING)
    return _open_first(_all(unit, *named)) if wire_id else None


def held_with(unit: Unit, partner: str, barcode: str, agency: str = "") -> Request | None:
    """The request with this partner that holds the copy, or held it last; None where the barcode fits two of them."""
    c = REQUESTS.c
    named = [c.item_barcode == barcode, c.partner == partner, *([c.item_agency == agency] if agency else [])]
    found = _all(unit, *named) if barcode else []
    held = [r for r in found if r.position not in FINAL]
    return None if len(held) > 1 else _open_first(found)


def _all(unit: Unit, *where: Any) -> list[Request]:
    numbers = unit.execute(select(REQUESTS.c.id).where(*where).order_by(REQUESTS.c.placed_at, REQUESTS.c.id)).scalars()
    found = (unit.request(number) for number in list(numbers))
    return [request for request in found if request is not None]


def _open_first(found: list[Request]) -> Request | None:
    held = [r for r in found if r.position not in FINAL]
    return next(reversed(held or found), None)

"""The copies of a title that are in use: held by an open request of ours, or being asked for by one."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import and_, bindparam, select, text

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, IS_IN_HAND, REQUESTS
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.lenders import InUse
from hkall_gateway.rules.vocabulary import ItemKey, Position

H, R, C = HOLDINGS.c, REQUESTS.c, CANDIDATES.c
_WAS_ASKED = text("candidates.wire_id <> ''")  # the literal condition of the partial index, which a bound value would not match

_HELD = CompiledStatement(
    select(H.agency, H.barcode, R.id, R.position)
    .select_from(HOLDINGS.join(REQUESTS, and_(R.item_barcode == H.barcode, R.item_agency == H.agency)))
    .where(H.bib_id == bindparam("bib"), IS_IN_HAND)
)
_ASKED = CompiledStatement(
    select(H.agency, H.barcode, R.id)
    .select_from(
        HOLDINGS.join(CANDIDATES, and_(C.barcode == H.barcode, C.agency == H.agency)).join(
            REQUESTS, and_(R.id == C.request, R.wire_id == C.wire_id)
        )
    )
    # Not plain `position = …`: the database would scan all requests that are asked, instead of the title's copies.
    .where(H.bib_id == bindparam("bib"), _WAS_ASKED, R.position + "" == Position.REQUESTED.value)
)


def copies_in_use(unit: Unit, bib_id: str, request: str = "") -> InUse:
    """Return the copies of the title held by open requests (by us or by a borrower of ours), and those asked for by other
    requests.

    `request` is the one that asks: the copies that it has asked for itself do not count.
    """
    held, asked = _held(unit, bib_id), _ASKED.cells(unit.connection, bib=bib_id)
    return InUse(held, frozenset(ItemKey(agency, barcode) for agency, barcode, number in asked if number != request))


def _held(unit: Unit, bib_id: str) -> Mapping[ItemKey, str]:
    rows = _HELD.cells(unit.connection, bib=bib_id)
    return {ItemKey(agency, barcode): f"{position}, {number}" for agency, barcode, number, position in rows}

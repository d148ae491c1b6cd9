"""The copies of all libraries, as their catalogues were loaded."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import bindparam, or_, select

from hkall_gateway.db.engine.compiled import CompiledStatement, update_row
from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.vocabulary import Holding, ItemKey


class HoldingRepository(Repository):
    """The copies."""

    def find(self, item: ItemKey) -> Holding | None:
        """Return the copy with this identity."""
        rows = _HOLDING.cells(self._connection, agency=item.agency, barcode=item.barcode)
        return Holding(*rows[0]) if rows else None

    def of_title(self, bib_id: str, agency: str = "") -> tuple[Holding, ...]:
        """Return all copies of a title by the union catalogue's number, or by the number that `agency` itself uses."""
        own = {"agency": agency} if agency else {}
        return tuple(
            Holding(*cells) for cells in (_OWN_COPIES if agency else _COPIES).cells(self._connection, bib=bib_id, **own)
        )

    def set_status(self, item: ItemKey, status: str) -> None:
        """Store a copy's circulation status."""
        update_row(self._connection, HOLDINGS, {"agency": item.agency, "barcode": item.barcode}, {"status": status})


_HELD = tuple(HOLDINGS.c[f.name] for f in fields(Holding))
_HOLDING = CompiledStatement(
    select(*_HELD).where(HOLDINGS.c.agency == bindparam("agency"), HOLDINGS.c.barcode == bindparam("barcode"))
)
_COPIES = CompiledStatement(
    select(*_HELD).where(HOLDINGS.c.bib_id == bindparam("bib")).order_by(HOLDINGS.c.agency, HOLDINGS.c.barcode)
)
_OWN_COPIES = CompiledStatement(
    select(*_HELD)
    .where(
        HOLDINGS.c.agency == bindparam("agency"),
        or_(HOLDINGS.c.bib_id == bindparam("bib"), HOLDINGS.c.local_bib_id == bindparam("bib")),
    )
    .order_by(HOLDINGS.c.barcode)
)

"""Repository of all libraries' copies, as loaded from their catalogues."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from sqlalchemy import and_, bindparam, literal_column, or_, select, text, union_all

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, update_row
from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, IS_IN_HAND, REQUESTS, TITLES
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.lenders import InUse
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Position, full_title


class HoldingRepository(Repository):
    """Reads copies from the catalogue and updates their circulation status."""

    def find(self, item: ItemKey) -> Holding | None:
        """Return the copy with this agency and barcode."""
        row = _HOLDING.first(self._connection, agency=item.agency, barcode=item.barcode)
        return Holding(**row) if row else None

    def of_title(self, bib_id: str, agency: str = "") -> tuple[Holding, ...]:
        """Return the copies of a title by its union number or, if `agency` is set, by its union or local number there."""
        if agency:
            found = _OWN_COPIES.rows(self._connection, bib=bib_id, agency=agency)
        elif bib_id in self._transaction.ahead.copies:
            found = self._transaction.ahead.copies[bib_id]
        else:
            found = COPIES.rows(self._connection, [bib_id])
        copies = []
        for row in found:
            facts = dict(row)
            self._transaction.ahead.linked[row["bib_id"]] = facts.pop(_LINKED_NAME) or ""
            copies.append(Holding(**facts))
        return tuple(copies)

    def linked_title(self, bib_id: str) -> str:
        """Return a title in the original script, or "" if the catalogue has none. `of_title` has read it with the copies."""
        known = self._transaction.ahead.linked
        if bib_id not in known:
            known[bib_id] = next((linked for (linked,) in _LINKED_TITLE.cells(self._connection, bib=bib_id)), "")
        return known[bib_id]

    def full_title(self, copy: Holding) -> str:
        """Return the title of a copy in both scripts."""
        return full_title(copy.title, self.linked_title(copy.bib_id))

    def in_use(self, bib_id: str, request: str = "") -> InUse:
        """Find the copies of a title that open requests hold, and the copies that requests other than `request` wait for."""
        held, asked = dict[ItemKey, str](), set[ItemKey]()
        if (found := self._transaction.ahead.in_use.get(bib_id)) is None:
            found = IN_USE.cells(self._connection, [bib_id])
        for _, agency, barcode, number, position in found:
            if position:
                held[ItemKey(agency, barcode)] = f"{position}, {number}"
            elif number != request:
                asked.add(ItemKey(agency, barcode))
        return InUse(held, frozenset(asked))

    def set_status(self, item: ItemKey, status: str) -> None:
        """Store a copy's circulation status."""
        self._transaction.ahead.copies.clear()
        update_row(self._connection, HOLDINGS, {"agency": item.agency, "barcode": item.barcode}, {"status": status})


H, R, C = HOLDINGS.c, REQUESTS.c, CANDIDATES.c
_HELD = tuple(H[f.name] for f in fields(Holding))
_HOLDING = CompiledStatement(select(*_HELD).where(H.agency == bindparam("agency"), H.barcode == bindparam("barcode")))
_LINKED_NAME: Final = "linked_title"
_LINKED = select(TITLES.c.linked_title).where(TITLES.c.bib_id == H.bib_id).scalar_subquery().label(_LINKED_NAME)
COPIES = StatementAmong(select(*_HELD, _LINKED).order_by(H.agency, H.barcode), H.bib_id)
_LINKED_TITLE = CompiledStatement(select(TITLES.c.linked_title).where(TITLES.c.bib_id == bindparam("bib")))
_OWN_COPIES = CompiledStatement(
    select(*_HELD, _LINKED)
    .where(H.agency == bindparam("agency"), or_(H.bib_id == bindparam("bib"), H.local_bib_id == bindparam("bib")))
    .order_by(H.barcode)
)

_WAS_ASKED = text("candidates.wire_id <> ''")  # the literal condition of the partial index, which a bound value would not match

_HELD_COPIES = (
    select(H.bib_id, H.agency, H.barcode, R.id, R.position)
    .select_from(HOLDINGS.join(REQUESTS, and_(R.item_barcode == H.barcode, R.item_agency == H.agency)))
    .where(IS_IN_HAND)
)
_ASKED_COPIES = (
    select(H.bib_id, H.agency, H.barcode, R.id, literal_column("''"))
    .select_from(
        HOLDINGS.join(CANDIDATES, and_(C.barcode == H.barcode, C.agency == H.agency)).join(
            REQUESTS, and_(R.id == C.request, R.wire_id == C.wire_id)
        )
    )
    # With plain `position = …` the database would scan all requests in that position, instead of the title's copies.
    .where(_WAS_ASKED, R.position + "" == Position.REQUESTED.value)
)
_BOTH = union_all(_HELD_COPIES, _ASKED_COPIES).subquery()
IN_USE = StatementAmong(select(_BOTH), _BOTH.c.bib_id)

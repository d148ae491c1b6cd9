"""Reads ahead what the units of a group declare by their locks: a fixed number of queries for any number of units."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Final, TypeVar

from sqlalchemy import Connection, select

from hkall_gateway.db import patrons
from hkall_gateway.db.engine.compiled import AMONG, ONE, VALUES, CompiledStatement, Of
from hkall_gateway.db.request_rows import oldest_first, request_of
from hkall_gateway.db.tables import HAS_CARD, IS_OPEN, LINKS, REQUESTS
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import Borrower, Partner, Position, Request

Row = TypeVar("Row")
Counted = tuple[Position, bool]
"""What a quota asks of an open request: its position, and whether it is `unwanted`."""


@dataclass(slots=True)
class Prefetched:
    """Rows as the transaction of a group sees them, for names that were read already; about other names it says nothing.

    `borrowers` and `card_partners` (rows of the directory, as text) by card, None for an unknown card. `held`: open requests by
    the barcode of their copy, then by number. `counted`: open requests of a card, by number. `closed` days and `partners` by
    agency.
    """

    borrowers: dict[str, Borrower | None] = field(default_factory=dict)
    card_partners: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, dict[str, Request]] = field(default_factory=dict)
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)
    closed: dict[str, frozenset[date]] = field(default_factory=dict)
    partners: dict[str, Partner | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Forget everything, after a change that `changed` is not told of."""
        for each in fields(self):
            getattr(self, each.name).clear()

    def changed(self, before: Request, after: Request) -> None:
        """Take note of a changed request; of a new one with `before` the same."""
        _move(self.held, before.item_barcode, after.item_barcode, after, after)
        _move(self.counted, before.patron, after.patron, after, (after.position, after.unwanted))


def _move(rows: dict[str, dict[str, Row]], source: str, target: str, after: Request, row: Row) -> None:
    """Move a request's row from one name to another, if they were read ahead; a closed request has none."""
    if source in rows:
        rows[source].pop(after.id, None)
    if target in rows and after.position not in FINAL:
        rows[target][after.id] = row


def read_ahead(connection: Connection, cards: Collection[str], barcodes: Collection[str]) -> Prefetched:
    """Read the owners and open requests of these cards, and the open requests that hold copies with these barcodes."""
    found = Prefetched(dict.fromkeys(cards), dict.fromkeys(cards), {one: {} for one in barcodes}, {one: {} for one in cards})
    if cards:
        how = ONE if len(cards) == 1 else connection.dialect.name
        asked, given = _ASKED[how], VALUES[how](cards)
        for cells in asked.borrowers.cells(connection, cards=given):
            found.borrowers[cells[0]] = patrons.borrower_of(cells)
        for card, partner in asked.partners.cells(connection, cards=given):
            found.card_partners[card] = partner
        for card, number, position, unwanted in asked.counted.cells(connection, cards=given):
            found.counted[card][number] = (patrons.POSITIONS[position], unwanted)
    if barcodes:
        how = ONE if len(barcodes) == 1 else connection.dialect.name
        for request in map(request_of, _ASKED[how].held.cells(connection, barcodes=VALUES[how](barcodes))):
            found.held[request.item_barcode][request.id] = request
    return found


def held_by(connection: Connection, barcode: str) -> list[Request]:
    """Return the open requests that hold a copy with this barcode, oldest first: the query of `read_ahead` for one barcode."""
    return list(map(request_of, _ASKED[ONE].held.cells(connection, barcodes=barcode)))


@dataclass(frozen=True, slots=True)
class _Asked:
    borrowers: CompiledStatement
    partners: CompiledStatement
    held: CompiledStatement
    counted: CompiledStatement


def _asked(of_cards: Of, of_barcodes: Of) -> _Asked:
    r = REQUESTS.c
    partners = select(LINKS.c.card, LINKS.c.partner).where(of_cards(LINKS.c.card), HAS_CARD).order_by(LINKS.c.agency.desc())
    return _Asked(
        borrowers=patrons.patrons_of(of_cards),
        partners=CompiledStatement(partners),  # of several with one card the first by name is read last, and counts
        held=CompiledStatement(oldest_first(of_barcodes(r.item_barcode), IS_OPEN)),
        counted=CompiledStatement(select(r.patron, r.id, r.position, r.unwanted).where(of_cards(r.patron), IS_OPEN)),
    )


_ASKED: Final[Mapping[str, _Asked]] = {how: _asked(among("cards"), among("barcodes")) for how, among in AMONG.items()}

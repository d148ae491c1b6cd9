"""Repository of patrons with their requests, loans and charges, for one patron or for many at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select, update

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, insert_or_leave
from hkall_gateway.db.tables import CARD_BLOCKS, FINES, IS_OPEN, NOTICES, PATRON_CHOICES, PATRONS, REQUESTS
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.vocabulary import Borrower, Position, RequestEntry, Sensitive


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A charge. `cents` is negative if we owe the patron money. `due` is the date from which an overdue fine counts."""

    id: int
    request: str
    patron: str
    kind: str
    cents: int
    paid_cents: int
    waived_cents: int
    currency: str
    at: datetime
    reason: str
    due: date | None

    @property
    def left_cents(self) -> int:
        """The unpaid amount in cents."""
        return self.cents - self.paid_cents - self.waived_cents


@dataclass(slots=True)
class CardRecord:
    """All data for one card, with the oldest requests and charges first. `borrower` is None if the card is unknown."""

    borrower: Borrower | None = None
    lines: list[RequestEntry] = field(default_factory=list)
    charges: list[Charged] = field(default_factory=list)


def named(connection: Connection, words: str, most: int) -> tuple[Borrower, ...]:
    """Return at most `most` patrons with all these words in one of their names, sorted by name. Scans the whole table."""
    parts = words.split()
    if not parts:
        return ()
    names = (PATRONS.c.name, PATRONS.c.name_zh)
    like = or_(*(and_(*(name.icontains(part, autoescape=True) for part in parts)) for name in names))
    rows = connection.execute(select(*_BY_NAME).where(like).order_by(PATRONS.c.name, PATRONS.c.barcode).limit(most))
    return tuple(borrower_of(dict(row)) for row in rows.mappings())


def known(connection: Connection, cards: Collection[str]) -> Mapping[str, CardRecord]:
    """Read all data for these cards with three queries."""
    found = {card: CardRecord() for card in cards}
    for row in BORROWERS.rows(connection, cards):
        borrower = borrower_of(row)
        found[borrower.barcode].borrower = borrower
    for row in _LINES.rows(connection, cards):
        found[row.pop("patron")].lines.append(_request_entry(row))
    for row in _CHARGES.rows(connection, cards):
        charge = Charged(**row)
        found[charge.patron].charges.append(charge)
    return found


class PatronRepository(Repository):
    """Reads patrons, their open requests and their charges."""

    _known: Mapping[str, CardRecord] = MappingProxyType({})

    def look_ahead(self, cards: Sequence[str]) -> None:
        """Prefetch the data of patrons, for a transaction that queries each of these cards and does not write."""
        if len(cards) > 1 or (cards and self._transaction.dialect != "sqlite"):
            self._known = known(self._connection, {*cards})

    def find(self, card: str) -> Borrower | None:
        """Return the patron with this card, as last loaded. The patron is also blocked if a terminal has blocked the card."""
        if card in self._transaction.ahead.borrowers:
            return self._transaction.ahead.borrowers[card]
        card_record = self._known.get(card)
        if card_record:
            return card_record.borrower
        return next(map(borrower_of, BORROWERS.rows(self._connection, [card])), None)

    def open_lines(self, card: str) -> tuple[RequestEntry, ...]:
        """Return a patron's open requests and loans, oldest first, with only the columns of RequestEntry."""
        card_record = self._known.get(card)
        if card_record:
            return tuple(card_record.lines)
        entries = []
        for row in _LINES.rows(self._connection, [card]):
            del row["patron"]
            entries.append(_request_entry(row))
        return tuple(entries)

    def charges(self, card: str) -> tuple[Charged, ...]:
        """Return all charges of a patron, oldest first."""
        card_record = self._known.get(card)
        if card_record:
            return tuple(card_record.charges)
        return tuple(Charged(**row) for row in _CHARGES.rows(self._connection, [card]))

    def history_since(self, card: str) -> datetime | None:
        """Return the time since which a patron keeps a history, or None for a patron who keeps none."""
        return next((since for (since,) in _HISTORY.cells(self._connection, card=card)), None)

    def keep_history(self, card: str, since: datetime) -> None:
        """Keep past loans and letters for a patron. A patron who already keeps them changes nothing."""
        values = {"patron": card, "history_since": since}
        self._connection.execute(insert_or_leave(PATRON_CHOICES, self._transaction.dialect), values)

    def forget_history(self, card: str) -> None:
        """Stop keeping past loans for a patron, and delete the texts of letters."""
        self._connection.execute(delete(PATRON_CHOICES).where(PATRON_CHOICES.c.patron == card))
        self._connection.execute(update(NOTICES).where(NOTICES.c.patron == card).values(text=""))

    def owed_cents(self, card: str) -> int:
        """Return a patron's debt in cents, which is negative if we owe the patron for a book that was found again."""
        ((owed,),) = _OWED.cells(self._connection, card=card)
        return owed or 0


_BORROWER: Final = tuple(f.name for f in fields(Borrower))
_HUSHED: Final = ("name", "name_zh", "email", "pin_hash")
POSITIONS: Final = {position.value: position for position in Position}
"""Positions by their stored text."""

# A card is blocked by its library, as last loaded, or by a terminal here.
_BLOCKED_HERE: Final = select(CARD_BLOCKS.c.card).where(CARD_BLOCKS.c.card == PATRONS.c.barcode).exists()
_BLOCKED: Final = or_(PATRONS.c.blocked, _BLOCKED_HERE).label("blocked")


_BY_NAME: Final = tuple(_BLOCKED if name == "blocked" else PATRONS.c[name] for name in _BORROWER)
_OPEN: Final = select(REQUESTS.c.patron, *(REQUESTS.c[f.name] for f in fields(RequestEntry))).where(IS_OPEN)
_CHARGED: Final = select(*(FINES.c[f.name] for f in fields(Charged))).order_by(FINES.c.id)

BORROWERS: Final = StatementAmong(select(*_BY_NAME), PATRONS.c.barcode)
"""Patrons by card, with the columns that `borrower_of` reads."""
_LINES: Final = StatementAmong(_OPEN.order_by(REQUESTS.c.placed_at, REQUESTS.c.id), REQUESTS.c.patron)
_CHARGES: Final = StatementAmong(_CHARGED, FINES.c.patron)


def borrower_of(row: dict[str, Any]) -> Borrower:
    """Build a Borrower from a row of BORROWERS."""
    for name in _HUSHED:
        row[name] = Sensitive(row[name])
    return Borrower(**row)


def _request_entry(row: dict[str, Any]) -> RequestEntry:
    row["position"] = POSITIONS[row["position"]]
    return RequestEntry(**row)


_HISTORY = CompiledStatement(select(PATRON_CHOICES.c.history_since).where(PATRON_CHOICES.c.patron == bindparam("card")))
_LEFT = FINES.c.cents - FINES.c.paid_cents - FINES.c.waived_cents
_OWED = CompiledStatement(select(func.sum(_LEFT)).where(FINES.c.patron == bindparam("card")))

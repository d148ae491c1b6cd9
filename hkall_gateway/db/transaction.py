"""The transaction that the repositories of a unit of work share, with prefetched rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.sql.selectable import TypedReturnsRows

from hkall_gateway.db.engine.locks import SNAPSHOT
from hkall_gateway.rules.circuit import CircuitState
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.vocabulary import Borrower, Position, Request

Row = TypeVar("Row")
Ts = TypeVarTuple("Ts")
Rows = Mapping[str, object] | Sequence[Mapping[str, object]] | None
"""The parameters of a statement, for one row or for several rows."""
Counted = tuple[Position, bool, str]
"""The fields of an open request that matter for another one: its position, whether it is `unwanted`, and its title."""


@dataclass(slots=True)
class Prefetched:
    """Rows that the transaction of a group has already read, kept up to date with its own changes.

    Attributes:
        borrowers: Patrons by card, None for an unknown card.
        card_partners: Directory entries of partners as text, by the partner's card, None for an unknown card.
        held: Open requests by the barcode of the copy that they hold, then by number.
        counted: Open requests by card, then by number.
        closed: Closed days by agency.
        closed_soon: The closed days among a day and the next day, by (agency, day).
        links: Partners and their channels, by agency.
        placed: Requests by (agency, value) of the placing system's RequestId, None for a new RequestId.
        copies: Rows of the copies of a title, by title.
        linked: Titles in the original script, by `bib_id`, or "".
        in_use: Rows of the copies of a title that open requests hold or wait for, by title.
        documents: Recorded (outcome, time until which it is kept) by (agency, digest) of a document, None for a new document.
    """

    borrowers: dict[str, Borrower | None] = field(default_factory=dict)
    card_partners: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, dict[str, Request]] = field(default_factory=dict)
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)
    closed: dict[str, frozenset[date]] = field(default_factory=dict)
    closed_soon: dict[tuple[str, date], frozenset[date]] = field(default_factory=dict)
    links: dict[str, tuple[Partner | None, CircuitState]] = field(default_factory=dict)
    placed: dict[tuple[str, str], Request | None] = field(default_factory=dict)
    copies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    in_use: dict[str, list[list[str]]] = field(default_factory=dict)
    documents: dict[tuple[str, str], tuple[str, datetime] | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Discard all rows, after a change that `changed` does not cover."""
        for each in fields(self):
            getattr(self, each.name).clear()

    def changed(self, before: Request, after: Request) -> None:
        """Update the rows for a changed request. For a new request, `before` equals `after`."""
        _move_row(self.held, before.item_barcode, after.item_barcode, after, after)
        _move_row(self.counted, before.patron, after.patron, after, (after.position, after.unwanted, after.bib_id))
        self.placed.pop((before.placed_by, before.placed_id), None)
        if before.position is Position.NEW:  # a new request asks only for copies of its own title
            self.in_use.pop(after.bib_id, None)
        else:
            self.in_use.clear()


def _move_row(rows: dict[str, dict[str, Row]], source: str, target: str, after: Request, row: Row) -> None:
    """Move a request's row from the key `source` to `target`, if they were prefetched. Drop the row of a closed request."""
    if source in rows:
        rows[source].pop(after.id, None)
    if target in rows and after.position not in FINAL:
        rows[target][after.id] = row


class Transaction:
    """An open transaction. `ahead` has prefetched rows, which the units of a group share."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.dialect = connection, connection.dialect.name
        self.ahead = Prefetched()

    @property
    def locks_rows(self) -> bool:
        """Whether a query may lock its rows. SQLite has no row locks, and a snapshot refuses them."""
        return self.dialect == "postgresql" and not self.connection.info.get(SNAPSHOT)

    @overload
    def execute(self, statement: TypedReturnsRows[*Ts], values: Rows = None) -> CursorResult[*Ts]: ...

    @overload
    def execute(self, statement: Executable, values: Rows = None) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(self, statement: Executable, values: Rows = None) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement. A change discards all prefetched rows."""
        if statement.is_dml:
            self.ahead.forget()
        return self.connection.execute(statement, values)


class Repository:
    """Base class for repositories. Each repository has the statements about one subject, run in a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction, self._connection = transaction, transaction.connection

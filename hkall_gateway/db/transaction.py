"""The transaction that the repositories of a unit of work share, with rows that it has read already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.sql.selectable import TypedReturnsRows

from hkall_gateway.db.engine.locks import SNAPSHOT
from hkall_gateway.rules.circuit import CircuitState
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Borrower, Position, Request

Row = TypeVar("Row")
Ts = TypeVarTuple("Ts")
Rows = Mapping[str, object] | Sequence[Mapping[str, object]] | None
"""The parameters of a statement, of one row or of several."""
Counted = tuple[Position, bool]
"""The fields of an open request on which a quota depends: its position, and whether it is `unwanted`."""


@dataclass(slots=True)
class Prefetched:
    """Rows as the transaction of a group sees them, by the names that were read already.

    `borrowers` and `card_partners` (rows of the directory, as text) by card, None for an unknown card. `held`: open requests by
    the barcode of their copy, then by number. `counted`: open requests of a card, by number. `closed` days and `links` (a
    partner and the channel to it) by agency. `closed_soon`: of a day and the next, those on which a library is closed.
    """

    borrowers: dict[str, Borrower | None] = field(default_factory=dict)
    card_partners: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, dict[str, Request]] = field(default_factory=dict)
    counted: dict[str, dict[str, Counted]] = field(default_factory=dict)
    closed: dict[str, frozenset[date]] = field(default_factory=dict)
    closed_soon: dict[tuple[str, date], frozenset[date]] = field(default_factory=dict)
    links: dict[str, tuple[Partner | None, CircuitState]] = field(default_factory=dict)

    def forget(self) -> None:
        """Forget everything after a change of other rows."""
        for each in fields(self):
            getattr(self, each.name).clear()

    def changed(self, before: Request, after: Request) -> None:
        """Take note of a changed request, or of a new one, with `before` the same."""
        _move_row(self.held, before.item_barcode, after.item_barcode, after, after)
        _move_row(self.counted, before.patron, after.patron, after, (after.position, after.unwanted))


def _move_row(rows: dict[str, dict[str, Row]], source: str, target: str, after: Request, row: Row) -> None:
    """Move a request's row from one name to another, if they were read ahead. Drop that of a closed request."""
    if source in rows:
        rows[source].pop(after.id, None)
    if target in rows and after.position not in FINAL:
        rows[target][after.id] = row


class Transaction:
    """An open transaction. `dialect` is the database's name. The units of a group share `ahead`."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.dialect = connection, connection.dialect.name
        self.ahead = Prefetched()

    @property
    def locks_rows(self) -> bool:
        """Whether a query may lock its rows: not on SQLite, which has no such locks, nor in a snapshot, which refuses them."""
        return self.dialect == "postgresql" and not self.connection.info.get(SNAPSHOT)

    @overload
    def execute(self, statement: TypedReturnsRows[*Ts], values: Rows = None) -> CursorResult[*Ts]: ...

    @overload
    def execute(self, statement: Executable, values: Rows = None) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(self, statement: Executable, values: Rows = None) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement. What was read ahead is forgotten if it is a change."""
        if statement.is_dml:
            self.ahead.forget()
        return self.connection.execute(statement, values)


class Repository:
    """The statements of one subject, inside a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction, self._connection = transaction, transaction.connection

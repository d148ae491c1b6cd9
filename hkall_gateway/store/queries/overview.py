"""Queries of the morning check by operators: open work, its positions, and the whole history of a book or a patron."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, func, literal_column, select, union

from hkall_gateway.rules.vocabulary import Request
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.queries.reading import Reading, requests
from hkall_gateway.store.tables import IS_CLOSED_OF, IS_OPEN, JOURNAL, NAMES_ALONE, REQUESTS


class Batch:
    """A query for some requests, with named `bindparam`s, in the order of `order`; compiled once and reused."""

    def __init__(self, *where: Any, order: Sequence[Any]) -> None:
        asked = requests(*where).order_by(*order).limit(bindparam("most"))
        self.bare, self.locking = CompiledStatement(asked), CompiledStatement(asked.with_for_update(key_share=True))


class Overview(Reading):
    """Queries over many requests; every one is served by an index on open work or on the journal."""

    def open_by_position(self) -> tuple[tuple[str, str, int, datetime], ...]:
        """Return (side, position, count, longest there since) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.position, func.count(), func.min(r.moved_at)).where(IS_OPEN)
        found = self._connection.execute(question.group_by(r.side, r.position).order_by(r.side, r.position))
        return tuple((side, position, count, since) for side, position, count, since in found)

    def open_by_partner(self) -> tuple[tuple[str, str, str, int], ...]:
        """Return (side, partner, position, count) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.partner, r.position, func.count()).where(IS_OPEN).group_by(r.side, r.partner, r.position)
        return tuple((side, partner, position, count) for side, partner, position, count in self._connection.execute(question))

    def open_list(self, position: str = "", partner: str = "") -> tuple[Request, ...]:
        """Return open requests, oldest first, of one position or one partner if given."""
        named = {name: value for name, value in (("position", position), ("partner", partner)) if value}
        return self._prepared(_open_of(tuple(named)), **named)

    def batch(self, *where: Any, order: Sequence[Any], limit: int) -> tuple[Request, ...]:
        """Return at most `limit` requests, sorted by `order`, locked until the unit ends if the database has row locks."""
        question = requests(*where).order_by(*order).limit(limit)
        return self._requests(question if self.dialect == "sqlite" else question.with_for_update(key_share=True))

    def asked(self, question: Batch, limit: int, **values: Any) -> tuple[Request, ...]:
        """Return at most `limit` requests, locked until the unit ends if the database has row locks."""
        prepared = question.bare if self.dialect == "sqlite" else question.locking
        return self._prepared(prepared, most=limit, **values)

    def last_noted(self, request: str, event: str) -> datetime | None:
        """Return the time of the last journal line with this event of a request."""
        found: list[list[datetime | None]] = _LAST_NOTED.cells(self._connection, of=request, event=event)
        return found[0][0]

    def history(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return every line of the journal about a request number, a copy's barcode or a patron's card, oldest first."""
        return tuple(_HISTORY.rows(self._connection, what=what))


@cache
def _open_of(columns: tuple[str, ...]) -> CompiledStatement:
    """Return a statement for open requests with a value of these columns, oldest first."""
    # Not plain `placed_at`: SQLite would scan all requests in that order, to avoid sorting.
    oldest_first: tuple[Any, ...] = literal_column("placed_at || ''"), REQUESTS.c.id
    return CompiledStatement(
        requests(IS_OPEN, *(REQUESTS.c[name] == bindparam(name) for name in columns)).order_by(*oldest_first)
    )


def _history() -> CompiledStatement:
    what: Any = bindparam("what")
    r, line = REQUESTS.c, JOURNAL.c
    named = ((r.item_barcode == what,), (r.patron == what, IS_OPEN), (r.patron == what, IS_CLOSED_OF))
    theirs = (line.request.in_(select(r.id).where(*names)) for names in named)
    of = (*theirs, line.request == what, and_(line.patron == what, NAMES_ALONE))
    lines = union(*(select(JOURNAL).where(about) for about in of)).subquery()
    return CompiledStatement(select(lines).order_by(lines.c.id))


_HISTORY = _history()
_LAST_NOTED = CompiledStatement(
    select(func.max(JOURNAL.c.at)).where(JOURNAL.c.request == bindparam("of"), JOURNAL.c.event == bindparam("event"))
)

"""What operators ask at nine o'clock: what is open, where it stands, and the whole history of a book or a patron."""

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
    """A question for some requests, with named `bindparam`s, in the order of `order`; made once, asked again and again."""

    def __init__(self, *where: Any, order: Sequence[Any]) -> None:
        asked = requests(*where).order_by(*order).limit(bindparam("most"))
        self.bare, self.locking = CompiledStatement(asked), CompiledStatement(asked.with_for_update(key_share=True))


class Overview(Reading):
    """Questions over many requests; every one is served by an index on open work or on the journal."""

    def open_by_position(self) -> tuple[tuple[str, str, int, datetime], ...]:
        """(side, position, count, longest there since) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.position, func.count(), func.min(r.moved_at)).where(IS_OPEN)
        found = self._connection.execute(question.group_by(r.side, r.position).order_by(r.side, r.position))
        return tuple((side, position, count, since) for side, position, count, since in found)

    def open_by_partner(self) -> tuple[tuple[str, str, str, int], ...]:
        """(side, partner, position, count) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.partner, r.position, func.count()).where(IS_OPEN).group_by(r.side, r.partner, r.position)
        return tuple((side, partner, position, count) for side, partner, position, count in self._connection.execute(question))

    def open_list(self, position: str = "", partner: str = "") -> tuple[Request, ...]:
        """Open requests, oldest first, of one position or one partner where given."""
        named = {name: value for name, value in (("position", position), ("partner", partner)) if value}
        return self._prepared(_open_of(tuple(named)), **named)

    def batch(self, *where: Any, order: Sequence[Any], limit: int) -> tuple[Request, ...]:
        """At most `limit` requests, in the order of `order`, locked until the unit ends where the database has row locks."""
        question = requests(*where).order_by(*order).limit(limit)
        return self._requests(question if self.dialect == "sqlite" else question.with_for_update(key_share=True))

    def asked(self, question: Batch, limit: int, **values: Any) -> tuple[Request, ...]:
        """At most `limit` requests, locked until the unit ends where the database has row locks."""
        prepared = question.bare if self.dialect == "sqlite" else question.locking
        return self._prepared(prepared, most=limit, **values)

    def last_noted(self, request: str, event: str) -> datetime | None:
        """When the journal has this event of a request for the last time."""
        found: list[list[datetime | None]] = _LAST_NOTED.cells(self._connection, of=request, event=event)
        return found[0][0]

    def history(self, what: str) -> tuple[dict[str, Any], ...]:
        """Every line of the journal about a request number, a copy's barcode or a patron's card, oldest first."""
        return tuple(_HISTORY.rows(self._connection, what=what))


@cache
def _open_of(columns: tuple[str, ...]) -> CompiledStatement:
    """Open requests with a value of these columns, oldest first."""
    # Not `placed_at` as it stands: SQLite would walk through all requests, in order, to spare itself the sorting.
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

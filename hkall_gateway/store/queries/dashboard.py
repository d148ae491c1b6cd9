"""Numbers for the first page of the staff console: how many requests are in each list, and how many moved today."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, select, union_all

from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.queries.queries import Queries
from hkall_gateway.store.tables import IS_CLOSED, IS_FLAGGED, IS_OPEN, REQUESTS

P = Position
R = REQUESTS.c

_HOME = (R.position == P.RETURN_TRANSIT) & (R.side == Side.LENDING)
_WANTED: Final[dict[str, Any]] = {
    "pull": (R.position == P.PAGED) & (R.side == Side.LENDING),
    "expected": (R.position == P.IN_TRANSIT) | _HOME,
    "shelf": (R.position == P.RECEIVED) & R.expired_pickup.is_(False),
    "expired": (R.position == P.RECEIVED) & R.expired_pickup.is_(True),
    "to-return": R.position == P.TO_RETURN,
    "on-loan": R.position == P.ON_LOAN,
    "overdue": (R.position == P.ON_LOAN) & (R.due < bindparam("today", type_=R.due.type)),
    "recalls": R.recalled_on.is_not(None),
    "lending": (R.position == P.SHIPPED) | (R.position == P.AT_BORROWER),
    "flagged": IS_FLAGGED,
}
_COUNTS: Final = CompiledStatement(select(*(func.count().filter(w).label(n) for n, w in _WANTED.items())).where(IS_OPEN))


def counts(unit: Queries, today: date) -> dict[str, int]:
    """Return the number of open requests in each work list, by the list's name; one query over the open requests."""
    (cells,) = _COUNTS.cells(unit.connection, today=today)
    return dict(zip(_WANTED, cells, strict=True))


def moved(unit: Queries, since: datetime) -> dict[str, int]:
    """Return how many requests moved since that instant, by the position in which they stand now."""
    return {str(position): int(number) for position, number in _MOVED.cells(unit.connection, since=since)}


def _moved(stage: object) -> Select[tuple[str]]:
    return select(R.position).where(stage, R.moved_at >= bindparam("since", type_=R.moved_at.type))  # type: ignore[arg-type]


_EITHER = union_all(_moved(IS_OPEN), _moved(IS_CLOSED)).subquery()  # each by the index of its stage
_MOVED: Final = CompiledStatement(select(_EITHER.c.position, func.count()).group_by(_EITHER.c.position))

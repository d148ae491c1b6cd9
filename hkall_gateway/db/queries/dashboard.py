"""How many requests moved today, for the first page of the staff console."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Select, bindparam, func, select, union_all

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import IS_CLOSED, IS_OPEN, REQUESTS

R = REQUESTS.c


def moved(unit: Queries, since: datetime) -> dict[str, int]:
    """Return how many requests moved since that instant, by the position in which they stand now."""
    return {str(position): int(number) for position, number in _MOVED.cells(unit.connection, since=since)}


def _moved(stage: object) -> Select[tuple[str]]:
    return select(R.position).where(stage, R.moved_at >= bindparam("since", type_=R.moved_at.type))  # type: ignore[arg-type]


_EITHER = union_all(_moved(IS_OPEN), _moved(IS_CLOSED)).subquery()  # each by the index of its stage
_MOVED: Final = CompiledStatement(select(_EITHER.c.position, func.count()).group_by(_EITHER.c.position))

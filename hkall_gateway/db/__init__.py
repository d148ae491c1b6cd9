"""The database: tables, the unit of work and its repositories, queries. `database.py` has the two ways into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork

P = ParamSpec("P")
T = TypeVar("T")


def bind(work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> Callable[[UnitOfWork], T]:
    """Return `work` with all arguments but the first, the unit of work: what `write` and `read` of the database run."""
    return lambda unit: work(unit, *args, **named)

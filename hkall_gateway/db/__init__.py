"""The database: tables, the unit of work with its repositories, and queries. `database.py` runs units of work and queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork

P = ParamSpec("P")
T = TypeVar("T")


def bind(work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> Callable[[UnitOfWork], T]:
    """Bind all arguments of `work` except the unit of work, for `write` and `read` of the database."""
    return lambda unit: work(unit, *args, **named)

"""Database layer: tables, repositories, units of work and queries. `database.py` runs the units of work and the queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hkall_gateway.db.unit_of_work import UnitOfWork

P = ParamSpec("P")
T = TypeVar("T")


def bind(work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> Callable[[UnitOfWork], T]:
    """Bind all arguments of `work` except the unit, so that `write` or `read` can call it."""
    return lambda unit: work(unit, *args, **named)

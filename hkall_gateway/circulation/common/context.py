"""The context of a command: the unit of work, the library and the instant, which always travel together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from hkall_gateway.circulation.common.library import Library

if TYPE_CHECKING:
    from hkall_gateway.db.unit import Unit  # which imports SQLAlchemy: a command line that prints its help does without

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Context:
    """The unit of work of one command, the library that it concerns, and its aware UTC instant."""

    unit: Unit
    library: Library
    now: datetime


def in_context(
    unit: Unit, work: Callable[Concatenate[Context, P], Result], library: Library, now: datetime, *args: P.args, **kw: P.kwargs
) -> Result:
    """Call `work` with the context of a unit; the form in which the store runs a function of the desk."""
    return work(Context(unit, library, now), *args, **kw)

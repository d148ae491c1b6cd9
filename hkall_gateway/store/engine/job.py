"""A unit of work that waits to be done."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hkall_gateway.store.engine.locks import Locks

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One unit of work, waiting; `settle` tells its waiter, in the reactor's thread.

    `repeatable`: done twice it has one effect and one answer, so that it may be tried again after an unknown outcome. `short`:
    it is over in a fraction of a millisecond.
    """

    work: Callable[..., T]
    args: tuple[Any, ...]
    locks: Locks
    settle: Callable[[Any, BaseException | None], None]
    repeatable: bool = False
    short: bool = False
    tries: int = 0
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

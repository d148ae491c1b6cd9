"""A queued unit of work."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hkall_gateway.store.engine.locks import Locks

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One queued unit of work; `settle` passes the result or the error to its caller, in the reactor's thread.

    `repeatable`: executed twice it has one effect and one result, so that it may be retried after an unknown outcome. `short`:
    it ends within a fraction of a millisecond.
    """

    work: Callable[..., T]
    args: tuple[Any, ...]
    locks: Locks
    settle: Callable[[Any, BaseException | None], None]
    repeatable: bool = False
    short: bool = False
    tries: int = 0
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

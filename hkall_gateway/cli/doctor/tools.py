"""The tools that every examination receives, and the time limit of a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred

from hkall_gateway.app.resources import Resources

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExaminationTools:
    """The gateway's own means, and `in_thread(work)`, which does blocking work beside the reactor."""

    means: Resources
    in_thread: Callable[[Callable[[], Any]], Deferred[Any]]

    @property
    def reactor(self) -> Any:
        return self.means.reactor


class TooLong(Exception):
    """A step was not done in its time."""


async def within(reactor: Any, seconds: float, work: Awaitable[T] | Coroutine[Any, Any, T]) -> T:
    """Returns the result of `work`. After `seconds` it cancels the work and raises TooLong."""
    going: Deferred[T] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    late: list[bool] = []

    def too_late(value: Any, _seconds: float) -> Any:
        late.append(True)
        return value

    going.addTimeout(seconds, reactor, onTimeoutCancel=too_late)
    try:
        return await going
    except Exception as failed:
        if late:
            raise TooLong(f"no answer within {seconds:.0f} s") from failed
        raise

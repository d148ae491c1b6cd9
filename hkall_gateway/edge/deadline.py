"""An answer by a certain time, whatever the work behind it still does."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.desk.ports import Clock

T = TypeVar("T")


class TooLate(Exception):
    """The time is over. The work goes on, and what it does stands: the same question again finds it done."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`seconds` from the moment that the work begins."""

    clock: Clock
    seconds: float

    def hold(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """What `work` answers, or TooLate. Work that is late is not broken off: it may be about to commit."""
        going = Deferred.fromCoroutine(work)
        return going if going.called else self._within(going)

    def _within(self, going: Deferred[T]) -> Deferred[T]:
        answer = Deferred[T]()
        timer = self.clock.callLater(self.seconds, lambda: answer.errback(TooLate()))

        def ended(result: T | Failure) -> None:
            if timer.active():
                timer.cancel()
            if not answer.called:
                answer.callback(result)

        going.addBoth(ended)
        return answer

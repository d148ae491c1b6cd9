"""An answer by a certain time, whatever the work behind it still does."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.desk.ports import Clock

T = TypeVar("T")


class TooLate(Exception):
    """The time is over. The work goes on, and what it does stands: the same question again finds it done."""


class Deadline:
    """`seconds` from the moment that the work begins. One timer rings for all, since what began first is late first."""

    __slots__ = ("_clock", "_held", "_seconds", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._held: deque[tuple[float, Deferred[Any]]] = deque()
        self._timer: Any = None

    def hold(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """What `work` answers, or TooLate. Work that is late is not broken off: it may be about to commit."""
        going = Deferred.fromCoroutine(work)
        return going if going.called else self._within(going)

    def _within(self, going: Deferred[T]) -> Deferred[T]:
        answer = Deferred[T]()
        self._held.append((self._clock.seconds() + self._seconds, answer))
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._ring)

        def ended(result: T | Failure) -> None:
            if not answer.called:
                answer.callback(result)
                self._let_go()

        going.addBoth(ended)
        return answer

    def _let_go(self) -> None:
        """Forget those at the front that have their answer; without any left there is nothing to wait for."""
        while self._held and self._held[0][1].called:
            self._held.popleft()
        if not self._held and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        late, now = list[Deferred[Any]](), self._clock.seconds()
        while self._held and (self._held[0][1].called or self._held[0][0] <= now):
            late.append(self._held.popleft()[1])
        # Whoever is told may begin something new at once, and must find the timer that rings for those who still wait.
        self._timer = self._clock.callLater(self._held[0][0] - now, self._ring) if self._held else None
        for answer in late:
            if not answer.called:
                answer.errback(TooLate())

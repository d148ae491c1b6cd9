"""A deadline for a result: the caller gets TooLate, and the work behind it continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.desk.ports import Clock, ScheduledCall

T = TypeVar("T")


class TooLate(Exception):
    """The deadline has passed. The work continues and its effects stay: a repeated request finds it done."""


class Timeout:
    """A limit of `seconds` from the start of the work. One timer serves all calls, since the oldest expires first."""

    __slots__ = ("_clock", "_held", "_seconds", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._held: deque[tuple[float, Deferred[Any]]] = deque()
        self._timer: ScheduledCall | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Returns the result of `work`, or fails with TooLate. Late work is not cancelled: it may be about to commit."""
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
                self._drop_answered()

        going.addBoth(ended)
        return answer

    def _drop_answered(self) -> None:
        """Drops the calls at the front that have a result; cancels the timer when no call is left."""
        while self._held and self._held[0][1].called:
            self._held.popleft()
        if not self._held and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        late, now = list[Deferred[Any]](), self._clock.seconds()
        while self._held and (self._held[0][1].called or self._held[0][0] <= now):
            late.append(self._held.popleft()[1])
        # A callback may start new work at once, so the timer for the remaining calls must be set before.
        self._timer = self._clock.callLater(self._held[0][0] - now, self._ring) if self._held else None
        for answer in late:
            if not answer.called:
                answer.errback(TooLate())

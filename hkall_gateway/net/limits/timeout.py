"""The limit of the time from a message to its answer, for all protocols.

At the limit the caller is told to try again if no unit of the message's command has begun, and then none ever begins. Once one
has begun, only its outcome is an answer; without it the caller gets none.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, Token, copy_context
from itertools import count
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.circulation.ports import Clock, ScheduledCall
from hkall_gateway.db.engine.deadline import Deadline, Undecided, current, until

# ---- One time budget in seconds for all calls to other systems that one message causes.
# A terminal gives up after its own time-out, however many calls its message needs. The handler of a message begins a
# budget;
# each call to another system waits at most for the seconds that are left of it.


_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


class budget:  # noqa: N801  # it is used as a word: with budget(until_s):
    """`with budget(clock.seconds() + 2.0):` – calls made inside must end at that second of the clock; None is no limit."""

    __slots__ = ("_token", "_until_s")

    def __init__(self, until_s: float | None) -> None:
        self._until_s = until_s
        self._token: Token[float | None] | None = None

    def __enter__(self) -> None:
        self._token = _UNTIL.set(self._until_s)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A discarded coroutine is closed in another context, where the token is invalid; its own context is gone with it.
        if self._token is not None and raised is not GeneratorExit:
            _UNTIL.reset(self._token)


def left_s(now_s: float, at_most_s: float) -> float:
    """Seconds that a call started at `now_s` may take: `at_most_s`, or the rest of the message's budget if less; at least 0.

    A message that has a deadline for its answer has no more time than that, whatever its budget is.
    """
    until_s, deadline = _UNTIL.get(), current()
    at_most_s = at_most_s if deadline is None else min(at_most_s, deadline.left_s)
    return at_most_s if until_s is None else max(0.0, min(at_most_s, until_s - now_s))


T = TypeVar("T")

BEGUN: Final = 1.25
"""Times of the limit after which a command that has begun is given up."""


class TooLate(Exception):
    """The limit has passed and the command has not begun. It has no effect, now or later."""


def _ignore(_why: str) -> None:
    """Ignores an expired command."""


class Timeout:
    """A limit of `seconds` from the arrival of a message to its answer. One timer serves all messages.

    `expired` is called once for each command that expired, in the log context of its message, with "late" or "gone".
    """

    __slots__ = ("_clock", "_expired", "_held", "_numbers", "_timer", "seconds")

    def __init__(self, clock: Clock, seconds: float, expired: Callable[[str], object] = _ignore) -> None:
        self._clock, self.seconds, self._expired = clock, seconds, expired
        self._held: list[tuple[float, int, _Held]] = []
        self._numbers = count()
        self._timer: ScheduledCall | None = None

    def deadline(self, waited_s: float = 0.0, at_most_s: float | None = None) -> Deadline:
        """Returns the deadline of a message that arrived `waited_s` seconds ago; `at_most_s`: its caller's own patience."""
        limit_s = self.seconds if at_most_s is None else min(self.seconds, at_most_s)
        return Deadline(self._clock.seconds, self._clock.seconds() - waited_s + limit_s)

    def run(self, work: Coroutine[Any, object, T], deadline: Deadline | None = None) -> Deferred[T]:
        """Returns the result of `work` under its deadline; by default its message arrives now.

        Fails with TooLate or Undecided. Late work is not cancelled: it may be about to commit.
        """
        held = _Held(deadline or self.deadline(), Deferred(), copy_context(), self._expired)
        with until(held.deadline):
            going = Deferred.fromCoroutine(work)
        going.addBoth(self._ended, held)
        if not held.answer.called:
            heapq.heappush(self._held, (held.deadline.until_s, next(self._numbers), held))
            if self._held[0][2] is held:
                self._set_timer()
        return held.answer

    def _ended(self, result: T | Failure, held: _Held) -> None:
        held.note()
        if not held.answer.called:
            held.answer.callback(result)
            while self._held and self._held[0][2].answer.called:
                heapq.heappop(self._held)
            if not self._held:
                self._set_timer()  # cancels it

    def _set_timer(self) -> None:
        wait_s = max(0.0, self._held[0][0] - self._clock.seconds()) if self._held else 0.0
        if self._timer is not None and self._timer.active():
            if self._held:
                self._timer.reset(wait_s)
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(wait_s, self._ring) if self._held else None

    def _ring(self) -> None:
        late, now_s = list[tuple[_Held, type[Exception]]](), self._clock.seconds()
        while self._held and (self._held[0][2].answer.called or self._held[0][0] <= now_s):
            at_s, _, held = heapq.heappop(self._held)
            given_up_s = held.deadline.until_s + (BEGUN - 1) * self.seconds
            if held.answer.called:
                continue
            if held.deadline.drop("late"):
                late.append((held, TooLate))
            elif at_s < given_up_s:
                heapq.heappush(self._held, (given_up_s, next(self._numbers), held))
            else:
                late.append((held, Undecided))
        # A callback may start new work at once, so the timer for the remaining messages must be set before.
        self._set_timer()
        for held, why in late:
            held.note()
            if not held.answer.called:
                held.answer.errback(why())


class _Held:
    """A message that waits for its answer."""

    __slots__ = ("_context", "_expired", "answer", "deadline")

    def __init__(self, deadline: Deadline, answer: Deferred[Any], context: Context, expired: Callable[[str], object]) -> None:
        self.deadline, self.answer, self._context = deadline, answer, context
        self._expired: Callable[[str], object] | None = expired

    def note(self) -> None:
        """Tells that the command has expired, if it has, and was not told before."""
        if self.deadline.why and self._expired is not None:
            expired, self._expired = self._expired, None
            self._context.run(expired, self.deadline.why)

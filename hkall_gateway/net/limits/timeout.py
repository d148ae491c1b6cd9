"""A limit on the time from a message to its answer, for all protocols.

If the message's command has not begun its unit of work at the limit, it never will, and the reply is "try again". Once the unit
of work has begun, only its outcome is a correct answer; if it does not end in time, the caller gets no answer.
"""

from __future__ import annotations

import heapq
import socket
import struct
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from struct import Struct
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.deadline import Deadline, Undecided, bind_deadline, current

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


def begin_budget(until_s: float | None) -> None:
    """Let the running coroutine call other systems only until the clock shows `until_s` seconds; None for no limit.

    A terminal gives up after its own timeout, however many calls the gateway makes for its message.
    """
    _UNTIL.set(until_s)


def left_s(now_s: float, at_most_s: float) -> float:
    """Return how many seconds, at most `at_most_s`, a call at `now_s` may take before the budget or deadline ends."""
    until_s, deadline = _UNTIL.get(), current()
    at_most_s = at_most_s if deadline is None else min(at_most_s, deadline.left_s)
    return at_most_s if until_s is None else max(0.0, min(at_most_s, until_s - now_s))


T = TypeVar("T")

BEGUN: Final = 1.25
"""Multiple of the limit after which the gateway stops waiting for a command that has begun."""


class TooLate(Exception):
    """The command had not begun at the limit, and so has no effect, now or later."""


def _ignore(_why: str) -> None:
    """Ignore an expired command."""


class Timeout:
    """A limit of `seconds` from the arrival of a message to its answer. One timer serves all messages.

    `expired` is called once for each expired command, in the log context of the message, with the reason: "late" or "gone".
    """

    def __init__(self, clock: Clock, seconds: float, expired: Callable[[str], object] = _ignore) -> None:
        self._clock, self.seconds, self._expired = clock, seconds, expired
        self._pending: list[tuple[float, int, _Pending]] = []
        self._numbers = count()
        self._timer: ScheduledCall | None = None
        self._rings_s = 0.0

    def deadline(self, waited_s: float = 0.0, at_most_s: float | None = None) -> Deadline:
        """Return the deadline for a message that arrived `waited_s` seconds ago. `at_most_s` is the caller's own timeout."""
        limit_s = self.seconds if at_most_s is None else min(self.seconds, at_most_s)
        return Deadline(self._clock.seconds, self._clock.seconds() - waited_s + limit_s)

    def run(self, work: Coroutine[Deferred[Any], object, T], deadline: Deadline | None = None) -> Deferred[T]:
        """Run `work` under a deadline and return a Deferred for the result. By default, the message arrives now.

        At the deadline the Deferred fails with TooLate, or later with Undecided. The work is not cancelled, since it may be
        about to commit.
        """
        held = _Pending(deadline or self.deadline(), Deferred(), copy_context(), self._expired)
        _ = copy_context().run(_start_work, work, held.deadline).addBoth(self._finish, held)
        if not held.answer.called:
            heapq.heappush(self._pending, (held.deadline.until_s, next(self._numbers), held))
            self._set_timer()
        return held.answer

    def _finish(self, result: T | Failure, held: _Pending) -> None:
        if held.deadline.why:
            held.note()
        if not held.answer.called:
            held.answer.callback(result)
            while self._pending and self._pending[0][2].answer.called:
                heapq.heappop(self._pending)

    def _set_timer(self) -> None:
        """Schedule the next expiry. The timer of an answered message is left running, so that most messages need none."""
        first_s = self._pending[0][0]
        if self._timer is not None and self._rings_s <= first_s:
            return
        cancel(self._timer)
        self._rings_s = first_s
        self._timer = self._clock.callLater(max(0.0, first_s - self._clock.seconds()), self._expire_due)

    def _expire_due(self) -> None:
        late, now_s, self._timer = list[tuple[_Pending, type[Exception]]](), self._clock.seconds(), None
        while self._pending and (self._pending[0][2].answer.called or self._pending[0][0] <= now_s):
            at_s, _, held = heapq.heappop(self._pending)
            given_up_s = held.deadline.until_s + (BEGUN - 1) * self.seconds
            if held.answer.called:
                continue
            if held.deadline.drop("late"):
                late.append((held, TooLate))
            elif at_s < given_up_s:
                heapq.heappush(self._pending, (given_up_s, next(self._numbers), held))
            else:
                late.append((held, Undecided))
        # The errbacks below may start new work at once, so the timer for the remaining messages must be set first.
        if self._pending:
            self._set_timer()
        for held, why in late:
            held.note()
            if not held.answer.called:
                held.answer.errback(why())


def _start_work(work: Coroutine[Deferred[Any], object, T], deadline: Deadline) -> Deferred[T]:
    bind_deadline(deadline)
    return Deferred.fromCoroutine(work)


class _Pending:
    """A message that is not answered yet."""

    __slots__ = ("_context", "_expired", "answer", "deadline")

    def __init__(self, deadline: Deadline, answer: Deferred[Any], context: Context, expired: Callable[[str], object]) -> None:
        self.deadline, self.answer, self._context = deadline, answer, context
        self._expired: Callable[[str], object] | None = expired

    def note(self) -> None:
        """If the command has expired, report it once."""
        if self.deadline.why and self._expired is not None:
            expired, self._expired = self._expired, None
            self._context.run(expired, self.deadline.why)


TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_INFO: Final = Struct("=B51xI")
"""Layout of the fields tcpi_state and tcpi_last_data_recv in struct tcp_info (linux/tcp.h)."""
_ESTABLISHED: Final = 1


def message_deadline(timeout: Timeout | None, transport: object, at_most_s: float | None = None) -> Deadline | None:
    """Return the deadline for a message that was just read, or None without a timeout. `at_most_s` is the caller's timeout.

    A process that was stopped or busy for a long time reads messages from callers that have given up. The deadline therefore
    counts from the arrival of the data, and has already passed if the caller has hung up.
    """
    if timeout is None:
        return None
    waited = read_delay_s(transport)
    deadline = timeout.deadline(waited or 0.0, at_most_s)
    if waited is None:
        deadline.drop()
    return deadline


def read_delay_s(transport: object) -> float | None:
    """Return the seconds since a connection last received data, or None if the peer has hung up.

    Only Linux provides this time, and only for TCP connections. In all other cases the result is 0.
    """
    while transport is not None and not hasattr(transport, "socket"):
        transport = getattr(transport, "transport", None)  # below TLS or the PROXY protocol
    if transport is None or TCP_INFO is None:
        return 0.0
    try:
        state, waited_ms = _INFO.unpack(transport.socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _INFO.size))
    except (OSError, struct.error):  # a UNIX socket, or another system
        return 0.0
    return waited_ms / 1000 if state == _ESTABLISHED else None

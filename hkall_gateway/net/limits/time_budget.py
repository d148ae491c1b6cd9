"""One time budget in seconds for all calls to other systems that one message causes.

A terminal gives up after its own time-out, however many calls its message needs. The handler of a message begins a budget;
each call to another system waits at most for the seconds that are left of it.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

from hkall_gateway.db.engine.deadline import current

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

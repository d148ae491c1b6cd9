"""One budget of seconds for all questions that one message asks of other systems.

A terminal gives up after its own time-out, however many questions its message has become. Whoever answers a message begins a
budget; whoever asks another system for it waits no longer than what is left.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


class budget:  # noqa: N801  # it is used as a word: with budget(until_s):
    """`with budget(clock.seconds() + 2.0):` – questions asked inside end at that second of the clock; None is no limit."""

    __slots__ = ("_token", "_until_s")

    def __init__(self, until_s: float | None) -> None:
        self._until_s = until_s
        self._token: Token[float | None] | None = None

    def __enter__(self) -> None:
        self._token = _UNTIL.set(self._until_s)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A coroutine that is thrown away is closed wherever that happens; the context it ran in goes with it.
        if self._token is not None and raised is not GeneratorExit:
            _UNTIL.reset(self._token)


def left_s(now_s: float, at_most_s: float) -> float:
    """Seconds that a question asked at `now_s` may take: `at_most_s`, or what is left of the message's budget, at least 0."""
    until_s = _UNTIL.get()
    return at_most_s if until_s is None else max(0.0, min(at_most_s, until_s - now_s))

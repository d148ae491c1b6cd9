"""What can wait until the answers are out: the log line, the metrics. All that one turn of the reactor brings is done at once.

Not only does nobody wait for it: done in a row it takes half the time, since the processor has it at hand.
"""

from __future__ import annotations

from collections.abc import Callable

from hkall_gateway.desk.ports import Clock

Work = Callable[[], object]


def at_once(work: Work) -> None:
    """Nothing waits: for tests, the simulation and the command line."""
    work()


class Soon:
    """Does what it is given when the reactor has nothing in hand, in order. Work that raises does not keep the rest from it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: list[Work] = []
        self._waiting: list[Work] = []
        self._called = False

    def __call__(self, work: Work) -> None:
        """Do this soon."""
        self._waiting.append(work)
        self._call()

    def first(self, work: Work) -> None:
        """Do this before all that waits."""
        self._first.append(work)
        self._call()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._clock.callLater(0, self._do)

    def _do(self) -> None:
        self._called = False
        works, self._first, self._waiting = [*self._first, *self._waiting], [], []
        for at, work in enumerate(works, start=1):
            try:
                work()
            except Exception:
                for rest in works[at:]:
                    self(rest)
                raise  # to the reactor, which logs it

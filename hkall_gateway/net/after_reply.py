"""Defers work until the replies are sent: log lines and metrics. All work of one reactor iteration runs together.

Besides not delaying a reply, running it together takes half the time, because the processor's caches are warm.
"""

from __future__ import annotations

from collections.abc import Callable

from hkall_gateway.circulation.ports import Clock

Work = Callable[[], object]


def run_now(work: Work) -> None:
    """Runs the work immediately: for tests, the simulation and the command line."""
    work()


class AfterReply:
    """Runs the given work in order when the reactor is idle. An exception in one piece of work does not stop the rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: list[Work] = []
        self._waiting: list[Work] = []
        self._called = False

    def __call__(self, work: Work) -> None:
        """Queues the work."""
        self._waiting.append(work)
        self._call()

    def first(self, work: Work) -> None:
        """Queues the work before all other."""
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

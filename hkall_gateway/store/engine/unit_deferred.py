"""Who waits for a unit of work: anybody who awaits it, as a Deferred; with less between where `edge/steps.py` awaits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class UnitDeferred(Deferred[T]):
    """A Deferred with one ear more: `go_on`, where it is set, is told at once, with the error or None, and no callback is."""

    go_on: Callable[[BaseException | None], None] | None = None

    def settle(self, result: T, error: BaseException | None) -> None:
        """What became of it. A waiter that gave up is told nothing: what it asked for is committed all the same."""
        if self.called:
            return
        if self.go_on is not None:
            self.called, self.result = True, result
            self.go_on(error)
        elif error is None:
            self.callback(result)
        else:
            self.errback(error)

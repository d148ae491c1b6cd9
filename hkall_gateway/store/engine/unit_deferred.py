"""A Deferred that resumes its coroutine directly, without the Deferred machinery, where `edge/coroutines.py` awaits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class UnitDeferred(Deferred[T]):
    """A Deferred with one more hook: if `go_on` is set, it is called at once with the error or None, and no callback runs."""

    go_on: Callable[[BaseException | None], None] | None = None

    def settle(self, result: T, error: BaseException | None) -> None:
        """Fire with the result or the error. A cancelled Deferred does not fire; the unit is committed all the same."""
        if self.called:
            return
        if self.go_on is not None:
            self.called, self.result = True, result
            self.go_on(error)
        elif error is None:
            self.callback(result)
        else:
            self.errback(error)

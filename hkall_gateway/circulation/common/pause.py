"""A pause by a clock."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred

from hkall_gateway.circulation.ports import Clock


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after so many seconds."""
    over: Deferred[None] = Deferred()
    clock.callLater(seconds, partial(over.callback, None))
    return over

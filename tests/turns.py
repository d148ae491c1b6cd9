"""Results of store calls, in tests that drain the reactor queue themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred


def told(waiters: Sequence[Deferred[Any]], take_turn: Callable[[], None]) -> list[Any]:
    """Drain the queue until every waiter has fired; return results and errors in the order of the waiters."""
    while not all(waiter.called for waiter in waiters):
        take_turn()
    heard: list[Any] = []
    for waiter in waiters:
        waiter.addCallbacks(heard.append, lambda failure: heard.append(failure.value))
    return heard

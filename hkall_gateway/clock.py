"""The one clock of the program (law 3); everything else is handed the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


def now() -> datetime:
    """Return this instant, aware and in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one clock of the program


def monotonic_us() -> int:
    """Return the microseconds of CLOCK_MONOTONIC, which no change of the time moves."""
    return time.monotonic_ns() // 1000


# ---- Timers, which are the reactor's or those of a test.


class ScheduledCall(Protocol):
    """A call that a clock makes later: Twisted's IDelayedCall."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...

    def reset(self, seconds: float, /) -> None: ...


class Clock(Protocol):
    """The part of a reactor that has a timer; a test's clock has it too."""

    def callLater(self, delay: float, call: Callable[..., object], /) -> ScheduledCall: ...  # noqa: N802  # Twisted's own name

    def seconds(self) -> float: ...


def cancel(call: ScheduledCall | None) -> None:
    """Cancel a call that has not been made yet. Safe for one that has, and for None."""
    if call is not None and call.active():
        call.cancel()

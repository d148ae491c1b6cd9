"""The one clock of the program (law 3); everything else is handed the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant, aware and in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one clock of the program


def monotonic_us() -> int:
    """Return the microseconds of CLOCK_MONOTONIC, which no change of the time moves."""
    return time.monotonic_ns() // 1000

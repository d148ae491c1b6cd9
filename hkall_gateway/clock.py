"""The one clock of the program (law 3); everything else is handed the time."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant, aware and in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one clock of the program

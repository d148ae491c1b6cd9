"""When the rounds are due: what time alone does, once a day or every hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.rules.dates import calendar

LOOK_S: Final = 60
"""How often a gateway looks what is due, in seconds."""
SKEW: Final = timedelta(minutes=5)
"""How far the clocks of gateways on one database may differ."""
HOUR: Final = timedelta(hours=1)

# fmt: off
EVERY: Final[Mapping[str, timedelta | None]] = {
    "pickup_expiry":    None,
    "overdue":          None,
    "not_needed_after": None,
    "postponed":        HOUR,
    "silence":          HOUR,
    "stuck":            None,
    "inbox_cleanup":    HOUR,
    "purge":            None,
}
"""By the name of the round; None = once a day, at midnight in Hong Kong."""
# fmt: on


def next_after(name: str, now: datetime) -> datetime:
    """Return when the round is due again after it ran at `now`."""
    every = EVERY[name]
    return now + every if every else calendar.start_of(calendar.after(calendar.civil(now), 1))

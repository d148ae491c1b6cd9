"""How far the peer's clock is from ours."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from hkall_gateway.cli.doctor.findings import Sheet

MINUTE_S, HOUR_S, HALF_HOUR_S = 60, 3600, 1800
USUAL_S: Final = 60
MOST_S: Final = 300
"""Beyond it dates of messages, expiries and tokens of the two no longer agree."""


def compared(sheet: Sheet, theirs: datetime | None, before: datetime, after: datetime) -> None:
    """The finding about an instant that the peer said between two instants of ours; None where it said none."""
    if theirs is None:
        sheet.skip("clock", "the peer does not send its time")
        return
    off_s = (theirs - (before + (after - before) / 2)).total_seconds()
    if abs(off_s) <= USUAL_S:
        sheet.ok("clock", "agrees with ours")
        return
    told = f"{_lasting(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} ours"
    (sheet.fail if abs(off_s) > MOST_S else sheet.warn)("clock", told + _zone(abs(off_s)))


def _zone(off_s: float) -> str:
    """A hint where the difference is that of time zones: whole half hours, up to fifteen hours."""
    rest = off_s % HALF_HOUR_S
    near = min(rest, HALF_HOUR_S - rest) <= USUAL_S
    return ", as with a wrong time zone" if near and HALF_HOUR_S - USUAL_S <= off_s <= 15 * HOUR_S else ""


def _lasting(seconds: float) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"

"""Moves dates off a closed day that was announced late, on a staff command only (R14, R19)."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk import renewing
from hkall_gateway.desk.common.counts import closed_days
from hkall_gateway.desk.common.house import House
from hkall_gateway.desk.find_request import done
from hkall_gateway.desk.messages.staff_commands import Deed, Done
from hkall_gateway.rules.dates import calendar, due
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.store.rounds import falling_on
from hkall_gateway.store.unit import Unit


def move(unit: Unit, deed: Deed, house: House, now: datetime, after: str, limit: int) -> tuple[tuple[Done, ...], str | None]:
    """Move the dates of at most `limit` requests after that number; returns those moved with their new dates, and the cursor.

    The journal records the actor of each move and `deed.reason`. The lender's date does not count; a recalled loan moves no
    further than the date that it had before.
    """
    closed = frozenset(day for day in closed_days(unit, house) if day >= calendar.civil(now))
    found = falling_on(unit, sorted(closed), after, limit)
    moved = tuple(_moved(unit, deed, request, closed, now) for request in found)
    return tuple(one for one in moved if one), found[-1].id if len(found) == limit else None


def _moved(unit: Unit, deed: Deed, request: Request, closed: calendar.Closures, now: datetime) -> Done | None:
    until = due.next_open(request, closed)
    if until is None:
        return None
    held = request.position is Position.RECEIVED
    changed = {"pickup_last" if held else "due": until}
    rule = "R14" if held else "R19"
    after = unit.amend(request, now, deed.by, rule, reason=deed.reason, **changed)
    return done(renewing.ask_for_later_date(unit, after, now, deed.by), due=until)

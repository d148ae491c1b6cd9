"""Moves dates off a closed day that was announced late, on a staff command only (R14, R19)."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk import renewing
from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.common.counts import closed_days
from hkall_gateway.desk.find_request import done
from hkall_gateway.desk.messages.staff_commands import Done, StaffCommand
from hkall_gateway.rules.dates import calendar, due
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.store.rounds import falling_on
from hkall_gateway.store.unit import Unit


def move(context: Context, command: StaffCommand, after: str, limit: int) -> tuple[tuple[Done, ...], str | None]:
    """Move the dates of at most `limit` requests after that number; returns those moved with their new dates, and the cursor.

    The journal records the actor of each move and `command.reason`. The lender's date does not count; a recalled loan moves no
    further than the date that it had before.
    """
    closed = frozenset(day for day in closed_days(context.unit, context.library) if day >= calendar.civil(context.now))
    found = falling_on(context.unit, sorted(closed), after, limit)
    moved = tuple(_moved(context.unit, command, request, closed, context.now) for request in found)
    return tuple(one for one in moved if one), found[-1].id if len(found) == limit else None


def _moved(unit: Unit, command: StaffCommand, request: Request, closed: calendar.Closures, now: datetime) -> Done | None:
    until = due.next_open(request, closed)
    if until is None:
        return None
    held = request.position is Position.RECEIVED
    changed = {"pickup_last" if held else "due": until}
    rule = "R14" if held else "R19"
    after = unit.amend(request, now, command.by, rule, reason=command.reason, **changed)
    return done(renewing.ask_for_later_date(unit, after, now, command.by), due=until)

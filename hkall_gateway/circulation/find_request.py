"""Finds the request of a staff command, and records its refusals."""

from __future__ import annotations

from datetime import date, datetime

from hkall_gateway.circulation.common.context import refused
from hkall_gateway.circulation.messages.results import Done, Refused
from hkall_gateway.circulation.messages.staff_commands import StaffCommand
from hkall_gateway.circulation.queries import one_with
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Refusal, Request


def named(unit: Unit, command: StaffCommand) -> Request | Refused:
    """The request with this number, also one that has ended; else the open one that holds this copy."""
    if command.request:
        found = unit.request(command.request)
        return found or no(unit, Refusal(Reason.UNKNOWN_REQUEST), command.by, None)
    held = one_with(unit, command.barcode, command.agency)
    return held or no(unit, Refusal(Reason.UNKNOWN_ITEM), command.by, None)


def no(unit: Unit, refusal: Refusal, by: Actor, now: datetime | None, request: Request | None = None) -> Refused:
    """Refuse, with an entry in the journal where an instant is given."""
    if now is not None:
        unit.refuse(refusal, now, by, request)
    return refused(refusal, "", request.title if request else "")


def elsewhere(unit: Unit, command: StaffCommand, request: Request, now: datetime) -> Refused:
    """Refuse a command that the request's position does not allow."""
    return no(unit, Refusal(Reason.WRONG_POSITION, {"position": request.position}), command.by, now, request)


def done(request: Request, *, again: bool = False, due: date | None = None, cents: int = 0, note: str = "") -> Done:
    """The result of a staff command."""
    return Done(request.id, request.item, request.position, request.title, again, due, cents, note)


def day_of(unit: Unit, command: StaffCommand, request: Request, now: datetime) -> date | Refused:
    """The day of the event: today, or an earlier day of this loan."""
    today = dates.civil(now)
    first = request.first_checkout or request.received_on or (dates.civil(request.placed_at) if request.placed_at else today)
    day = command.on or today
    if first <= day <= today:
        return day
    return no(unit, Refusal(Reason.WRONG_DATE, {"on": day}), command.by, now, request)

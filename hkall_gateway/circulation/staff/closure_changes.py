"""Closed days announced late, and bulk changes of due dates: preview and execution (R14, R19)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from hkall_gateway.circulation import recalls
from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.command import Command, Context, Job, question
from hkall_gateway.circulation.find_request import StaffCommand, staff_result
from hkall_gateway.circulation.results import Done, Noted, Refused
from hkall_gateway.circulation.staff import actions
from hkall_gateway.db.loads.loading import add_closure
from hkall_gateway.db.rounds import due_from_to, falling_on
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Position, Refusal, Request, RequestChange


@dataclass(frozen=True, slots=True)
class CloseDay(Command[None, Noted]):
    """Add a day on which our counter is closed, announced at short notice."""

    by: Actor
    day: date
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveClosedDays(Job[Done]):
    """Move dates that fall on closed days of ours, from today on, to the next open day (R14, R19)."""

    by: Actor
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDueDates(Job["Done | Refused"]):
    """Move our patrons' due dates between `first` and `last` to `to`, for one partner's books or for all (R19)."""

    by: Actor
    first: date
    last: date
    to: date
    reason: str
    partner: str = ""


MOST_SHOWN: Final = 200
"""Maximum number of moves in a preview."""
LATEST: Final = timedelta(days=730)
"""A date further in the future is treated as a typing error."""


def move(context: Context, command: MoveClosedDays, after: str, limit: int) -> tuple[tuple[Done, ...], str | None]:
    """Move the dates of at most `limit` requests with numbers after `after`. Return the results and the next cursor.

    The journal records the actor and `command.reason`. The lender's due date does not limit the move. A recalled loan moves at
    most to the due date that it had before the recall.
    """
    closed = _closed_days_ahead(context)
    found = falling_on(context.unit, sorted(closed), after, limit)
    moved = tuple(_move_date(context, command, request, closed) for request in found)
    return tuple(one for one in moved if one), found[-1].id if len(found) == limit else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A date that would move: the pickup deadline if `held`, else the due date."""

    request: Request
    held: bool
    old: date
    new: date


@question
def would_move(context: Context, also: Collection[date] = (), most: int = MOST_SHOWN) -> tuple[tuple[Move, ...], bool]:
    """Return at most `most` moves that `move` would make with the closed days `also`, and whether there are more."""
    closed = _closed_days_ahead(context) | {day for day in also if day >= dates.civil(context.now)}
    found = falling_on(context.unit, sorted(closed), "", most + 1)
    moves = tuple(one for one in (_find_move(request, closed) for request in found[:most]) if one)
    return moves, len(found) > most


def _find_move(request: Request, closed: dates.Closures) -> Move | None:
    held = request.position is Position.RECEIVED
    old, new = request.pickup_last if held else request.due, dates.next_open(request, closed)
    return Move(request=request, held=held, old=old, new=new) if old and new else None


def _closed_days_ahead(context: Context) -> dates.Closures:
    """Return our closed days, beginning today."""
    return frozenset(day for day in closed_days(context) if day >= dates.civil(context.now))


def close_day(context: Context, command: CloseDay) -> Noted | Refused:
    """Add a day on which we are closed. The next `load closures` replaces all closed days of the libraries in its file."""
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    if not dates.civil(context.now) <= command.day <= dates.civil(context.now) + LATEST:
        return context.refuse(Refusal(Reason.WRONG_DATE, detail={"on": command.day}), command.by)
    add_closure(context.unit, context.library.agency, command.day, command.reason)
    return Noted(request="", note=command.day.isoformat())


@question
def due_between(context: Context, command: MoveDueDates, most: int = MOST_SHOWN) -> tuple[tuple[Request, ...], bool] | Refused:
    """Return at most `most` loans whose due dates `command` would move, and whether there are more."""
    if no := _refuse_dates(context, command):
        return no
    found = due_from_to(context.unit, command.first, command.last, command.partner, "", most + 1)
    return found[:most], len(found) > most


def move_due_dates(
    context: Context, command: MoveDueDates, after: str, limit: int
) -> tuple[tuple[Done | Refused, ...], str | None]:
    """Extend at most `limit` loans with numbers after `after`. Return the results and the next cursor."""
    if no := _refuse_dates(context, command):
        return (no,), None
    found = due_from_to(context.unit, command.first, command.last, command.partner, after, limit)
    each = (StaffCommand(by=command.by, request=request.id, reason=command.reason, on=command.to) for request in found)
    answers = tuple(answer for one in each if isinstance(answer := actions.act(context, one, "extend"), Done | Refused))
    return answers, found[-1].id if len(found) == limit else None


def _refuse_dates(context: Context, command: MoveDueDates) -> Refused | None:
    if not command.reason.strip():
        return Refused(why=Reason.REASON_NEEDED)
    ordered = command.first <= command.last <= command.to
    if not ordered or not dates.civil(context.now) <= command.to <= dates.civil(context.now) + LATEST:
        return Refused(why=Reason.WRONG_DATE, detail={"on": command.to})
    return None


def _move_date(context: Context, command: MoveClosedDays, request: Request, closed: dates.Closures) -> Done | None:
    until = dates.next_open(request, closed)
    if until is None:
        return None
    held = request.position is Position.RECEIVED
    changed: RequestChange = {"pickup_last": until} if held else {"due": until}
    changed["reason"] = command.reason
    rule = "R14" if held else "R19"
    after = context.unit.amend(request, context.now, command.by, rule, **changed)
    return staff_result(recalls.ask_for_later_date(context, after, command.by), due=until)

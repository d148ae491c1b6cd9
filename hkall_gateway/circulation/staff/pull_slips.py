"""Slips: of our paged copies, of the hold shelf, and of the way home; and the substitution of another copy."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.find_request import done, elsewhere, no
from hkall_gateway.circulation.messages.results import Answered
from hkall_gateway.circulation.messages.staff_commands import StaffCommand
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.rules import lenders
from hkall_gateway.rules.lender_reasons import status_after_decline
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Position, Refusal, Request, Side

NOTED: Final = frozenset({Position.RECEIVED, Position.TO_RETURN, Position.RETURN_TRANSIT})
"""Positions of a borrowed copy that have a slip. Its printing is no step of the life cycle: the journal notes it."""


def has_slip(request: Request) -> bool:
    """Whether a slip belongs to the request where it stands now."""
    return request.position in NOTED if request.side is Side.BORROWING else request.position is Position.PAGED


def printed_at(unit: Queries, request: Request) -> datetime | None:
    """The instant at which the slip of this copy was printed, for a borrowed one that of its position; None if it was not."""
    printed, changed = (unit.last_noted(request.id, event.name) for event in (Event.PRINT, Event.SUBSTITUTE))
    since = request.moved_at if request.side is Side.BORROWING else changed
    return printed if printed and not (since and since > printed) else None


def print_slip(context: Context, command: StaffCommand, request: Request) -> Answered:
    """Print the slip, for the first time or again; a repetition is marked in the answer."""
    if not has_slip(request):
        return elsewhere(context.unit, command, request, context.now)
    if printed_at(context.unit, request):
        return done(request, again=True)
    if request.side is Side.BORROWING:
        context.unit.note(request, Event.PRINT.name, {}, context.now, command.by)
        return done(request)
    return done(context.unit.advance(request, Event.PRINT, context.now, command.by))


def substitute(context: Context, command: StaffCommand, request: Request) -> Answered:
    """Send another copy of ours, `command.barcode`: same title and volume, lendable, not promised to another request."""
    if not context.unit.can(request, Event.SUBSTITUTE):
        return elsewhere(context.unit, command, request, context.now)
    if command.barcode == request.item_barcode:
        return done(request, again=True)
    copy = context.unit.holding(ItemKey(context.library.agency, command.barcode))
    if copy is None or not _is_like(copy, request) or context.unit.requests_with(copy.barcode, copy.agency):
        return no(context.unit, Refusal(Reason.UNKNOWN_ITEM), command.by, context.now, request)
    answer = lenders.may_leave(copy, context.library.policy)
    if isinstance(answer, Refusal):
        return no(context.unit, answer, command.by, context.now, request)
    context.unit.set_status(ItemKey(request.item_agency, request.item_barcode), status_after_decline(command.reason))
    return done(
        context.unit.advance(
            request, Event.SUBSTITUTE, context.now, command.by, item_barcode=copy.barcode, reason=command.reason
        )
    )


def _is_like(copy: Holding, request: Request) -> bool:
    return (copy.bib_id, copy.volume) == (request.bib_id, request.volume)

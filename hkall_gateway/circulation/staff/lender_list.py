"""Staff commands on a request's lenders and slips: pin, skip or insert a lender; print a slip; substitute a copy.

For pin, skip and insert, `agency` is the lender and `barcode` the copy to insert. The journal records the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from hkall_gateway.circulation.choosing import give_up_on
from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.find_request import StaffCommand, refuse_position, staff_result
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import lenders
from hkall_gateway.rules.lender_reasons import status_after_decline
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.positions import HAS_SLIP, LENDER_LIST_OPEN, LENDING_ONLY
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Candidate, Holding, ItemKey, Position, Refusal, Request, Side

"""Positions in which a borrowed copy has a slip. Printing is not a life-cycle step, so only the journal records it."""


def has_slip(request: Request) -> bool:
    """Check whether the request has a slip in its current position."""
    return request.position in HAS_SLIP and (request.side is Side.BORROWING or request.position in LENDING_ONLY)


def printed_at(unit: UnitOfWork, request: Request) -> datetime | None:
    """Return when the slip was printed (for a borrowed copy, the slip of the current position), or None if it was not."""
    printed, changed = (unit.journal.last_noted(request.id, event.name) for event in (Event.PRINT, Event.SUBSTITUTE))
    since = request.moved_at if request.side is Side.BORROWING else changed
    return printed if printed and not (since and since > printed) else None


def print_slip(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Record that the slip is printed. The result marks a reprint with `again`."""
    if not has_slip(request):
        return refuse_position(context, command, request)
    if printed_at(context.unit, request):
        return staff_result(request, again=True)
    if request.side is Side.BORROWING:
        context.unit.note(request, Event.PRINT.name, {}, context.now, command.by)
        return staff_result(request)
    return staff_result(context.unit.advance(request, Event.PRINT, context.now, command.by))


def substitute(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Substitute our copy `command.barcode`, which must be lendable, free, and of the same title and volume."""
    if not context.unit.can(request, Event.SUBSTITUTE):
        return refuse_position(context, command, request)
    if command.barcode == request.item_barcode:
        return staff_result(request, again=True)
    copy = context.unit.holdings.find(ItemKey(context.library.agency, command.barcode))
    if (
        copy is None
        or (copy.bib_id, copy.volume) != (request.bib_id, request.volume)
        or context.unit.requests.open_with_item(copy.barcode, copy.agency)
    ):
        return context.refuse(Reason.UNKNOWN_ITEM, command.by, request)
    answer = lenders.may_leave(copy, context.library.policy)
    if isinstance(answer, Refusal):
        return context.refuse(answer, command.by, request)
    context.unit.holdings.set_status(ItemKey(request.item_agency, request.item_barcode), status_after_decline(command.reason))
    return staff_result(
        context.unit.advance(
            request, Event.SUBSTITUTE, context.now, command.by, item_barcode=copy.barcode, reason=command.reason
        )
    )


P = Position
"""Positions of a borrowing request before any lender has sent a copy."""


def pin(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Restrict the request to one lender. No other lender is asked, even if this lender declines."""
    if request.position not in LENDER_LIST_OPEN:
        return refuse_position(context, command, request)
    listed = context.unit.candidates.of_request(request.id)
    here = [c for c in listed if c.agency == command.agency]
    # The lender must be the current lender, or a lender that can still be asked.
    if not any(c.wire_id == request.wire_id if c.wire_id else not c.skip for c in here):
        return context.refuse(Reason.UNKNOWN_ITEM, command.by, request)
    _pass_over(context.unit, [c for c in listed if c.agency != command.agency], f"pinned to {command.agency}: {command.reason}")
    return _note_action(context, command, request, "PINNED")


def skip(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Skip a lender. If it is the current lender, cancel there and ask the next lender."""
    if request.position not in LENDER_LIST_OPEN:
        return refuse_position(context, command, request)
    theirs = [c for c in context.unit.candidates.of_request(request.id) if c.agency == command.agency]
    if not theirs:
        return context.refuse(Reason.UNKNOWN_ITEM, command.by, request)
    _pass_over(context.unit, theirs, f"by staff: {command.reason}")
    skipped = _note_action(context, command, request, "SKIPPED")
    asked_now = request.partner == command.agency and request.position is P.REQUESTED
    return staff_result(give_up_on(context, request, command.by)) if asked_now else skipped


def insert(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Ask for this copy next, regardless of its rank and of any reason for passing it over."""
    if request.position not in LENDER_LIST_OPEN:
        return refuse_position(context, command, request)
    listed = context.unit.candidates.of_request(request.id)
    copy = context.unit.holdings.find(ItemKey(command.agency, command.barcode))
    if copy is None or not _may_be_asked(context, copy, request):
        return context.refuse(Reason.UNKNOWN_ITEM, command.by, request)
    if any(c.agency == command.agency and c.wire_id for c in listed):  # each library is asked only once
        return context.refuse(Reason.DUPLICATE_REQUEST, command.by, request)
    fresh = Candidate(
        request=request.id,
        rank=0,
        agency=copy.agency,
        barcode=copy.barcode,
        local_bib_id=copy.local_bib_id,
        reason=f"by staff: {command.reason}",
    )
    others = [c for c in listed if (c.agency, c.barcode) != (fresh.agency, fresh.barcode)]
    asked_before, rest = [c for c in others if c.wire_id], [c for c in others if not c.wire_id]
    numbered = [replace(c, rank=rank) for rank, c in enumerate([*asked_before, fresh, *rest], start=1)]
    context.unit.candidates.replace(request.id, numbered)
    return _note_action(context, command, request, "INSERTED")


def _may_be_asked(context: Context, copy: Holding, request: Request) -> bool:
    """Check whether the copy belongs to a partner and matches the title and the requested volume, if any (R8)."""
    fits = copy.bib_id == request.bib_id and request.volume in {"", copy.volume}
    return fits and copy.agency != context.library.agency and context.unit.partners.find(copy.agency) is not None


def _pass_over(unit: UnitOfWork, candidates: Sequence[Candidate], why: str) -> None:
    for candidate in candidates:
        if not candidate.wire_id:
            unit.candidates.update(candidate, skip=why)


def _note_action(context: Context, command: StaffCommand, request: Request, event: str) -> Done:
    facts = {"agency": command.agency, "barcode": command.barcode, "reason": command.reason}
    context.unit.note(request, event, facts, context.now, command.by)
    return staff_result(request)

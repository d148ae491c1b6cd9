"""Pull slips of our paged copies, and the substitution of another copy."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk.common.house import House
from hkall_gateway.desk.find_request import done, elsewhere, no
from hkall_gateway.desk.messages.staff_commands import Answered, Deed
from hkall_gateway.rules import lenders
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Reason, Refusal, Request
from hkall_gateway.store.queries.overview import Overview
from hkall_gateway.store.unit import Unit

STATUS_AFTER = {"not_on_shelf": "Missing", "checked_out_locally": "On Loan"}
"""The new status of a declined copy by the reason (R37); after any other reason it stays available."""


def printed_at(unit: Overview, request: Request) -> datetime | None:
    """The instant at which the paged copy's slip was printed; None if it was not."""
    printed, changed = (unit.last_noted(request.id, event.name) for event in (Event.PRINT, Event.SUBSTITUTE))
    return printed if printed and not (changed and changed > printed) else None


def print_slip(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Answered:
    """Print the pull slip, for the first time or again; a repetition is marked in the answer."""
    if not unit.can(request, Event.PRINT):
        return elsewhere(unit, deed, request, now)
    if printed_at(unit, request):
        return done(request, again=True)
    return done(unit.advance(request, Event.PRINT, now, deed.by))


def substitute(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Answered:
    """Send another copy of ours, `deed.barcode`: of the same title and volume, lendable and not promised to another request."""
    if not unit.can(request, Event.SUBSTITUTE):
        return elsewhere(unit, deed, request, now)
    if deed.barcode == request.item_barcode:
        return done(request, again=True)
    copy = unit.holding(ItemKey(house.agency, deed.barcode))
    if copy is None or not _is_like(copy, request) or unit.requests_with(copy.barcode, copy.agency):
        return no(unit, Refusal(Reason.UNKNOWN_ITEM), deed.by, now, request)
    answer = lenders.may_leave(copy, house.policy)
    if isinstance(answer, Refusal):
        return no(unit, answer, deed.by, now, request)
    unit.set_status(ItemKey(request.item_agency, request.item_barcode), STATUS_AFTER.get(deed.reason, "Available On Shelf"))
    return done(unit.advance(request, Event.SUBSTITUTE, now, deed.by, item_barcode=copy.barcode, reason=deed.reason))


def _is_like(copy: Holding, request: Request) -> bool:
    return (copy.bib_id, copy.volume) == (request.bib_id, request.volume)

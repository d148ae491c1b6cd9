"""Staff change the list of lenders of a request: keep to one, pass one over, put one in. Each with a reason, journalled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hkall_gateway.desk.borrowing import give_up_on, no
from hkall_gateway.desk.house import House
from hkall_gateway.desk.outcomes import Noted, Outcome
from hkall_gateway.rules.vocabulary import By, Candidate, ItemKey, Position, Request, Side, Why
from hkall_gateway.store.unit import Unit

P = Position


@dataclass(frozen=True, slots=True)
class Choice:
    """What staff want of a request's list, and why. `barcode` names one copy of `agency`; "" = any."""

    by: By
    request: str
    agency: str
    reason: str
    barcode: str = ""


def pin(unit: Unit, ask: Choice, _house: House, now: datetime) -> Outcome:
    """This library and no other: nobody else is asked any more, also when it declines."""
    request = _waiting(unit, ask, now)
    if not isinstance(request, Request):
        return request
    listed = unit.candidates(request.id)
    if not any(c.agency == ask.agency and _possible(c, request) for c in listed):
        return no(unit, Why.UNKNOWN_ITEM, ask.by, now, request=request)
    for candidate in listed:
        if candidate.agency != ask.agency and not candidate.wire_id:
            unit.mark(candidate, skip=f"pinned to {ask.agency}: {ask.reason}")
    return _noted(unit, ask, request, "PINNED", now)


def skip(unit: Unit, ask: Choice, house: House, now: datetime) -> Outcome:
    """Not this library. The one that is asked at this moment is told to stop, and the next one is asked."""
    request = _waiting(unit, ask, now)
    if not isinstance(request, Request):
        return request
    for candidate in unit.candidates(request.id):
        if candidate.agency == ask.agency and not candidate.wire_id:
            unit.mark(candidate, skip=f"by staff: {ask.reason}")
    done = _noted(unit, ask, request, "SKIPPED", now)
    if request.partner == ask.agency and request.position is P.REQUESTED:
        give_up_on(unit, request, house, now, ask.by)
    return done


def insert(unit: Unit, ask: Choice, house: House, now: datetime) -> Outcome:
    """This copy is asked for next, whatever its rank was or why it was passed over."""
    request = _waiting(unit, ask, now)
    if not isinstance(request, Request):
        return request
    listed = unit.candidates(request.id)
    copy = unit.holding(ItemKey(ask.agency, ask.barcode))
    if unit.partner(ask.agency) is None or ask.agency == house.agency or copy is None or copy.bib_id != request.bib_id:
        return no(unit, Why.UNKNOWN_ITEM, ask.by, now, request=request)
    if any(c.agency == ask.agency and c.wire_id for c in listed):
        return no(unit, Why.DUPLICATE_REQUEST, ask.by, now, request=request)  # a library is asked once
    fresh = Candidate(request.id, 0, ask.agency, ask.barcode, copy.local_bib_id)
    unit.relist(request.id, _with(listed, fresh))
    return _noted(unit, ask, request, "INSERTED", now)


def _with(listed: Sequence[Candidate], fresh: Candidate) -> list[Candidate]:
    """The list with `fresh` behind those that were asked and before all others, numbered anew."""
    others = [c for c in listed if (c.agency, c.barcode) != (fresh.agency, fresh.barcode)]
    asked, rest = [c for c in others if c.wire_id], [c for c in others if not c.wire_id]
    return [replace(c, rank=rank) for rank, c in enumerate([*asked, fresh, *rest], start=1)]


def _possible(candidate: Candidate, request: Request) -> bool:
    """It is asked now, or may be asked yet."""
    return candidate.wire_id == request.wire_id if candidate.wire_id else not candidate.skip


def _waiting(unit: Unit, ask: Choice, now: datetime) -> Request | Outcome:
    """The request, if no lender has sent anything yet and a reason is given."""
    request = unit.request(ask.request)
    if request is None or request.side is not Side.BORROWING:
        return no(unit, Why.UNKNOWN_REQUEST, ask.by, now)
    if request.position not in {P.NEW, P.REQUESTED}:
        return no(unit, Why.WRONG_POSITION, ask.by, now, request=request)
    return request if ask.reason else no(unit, Why.REASON_NEEDED, ask.by, now, request=request)


def _noted(unit: Unit, ask: Choice, request: Request, event: str, now: datetime) -> Noted:
    facts = {"agency": ask.agency, "barcode": ask.barcode, "reason": ask.reason}
    unit.note(request, event, facts, now, ask.by)
    return Noted(request.id, request.wire_agency, request.wire_id, request.item, note=event.lower())

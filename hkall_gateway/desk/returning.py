"""The counter takes a copy in: it arrives from its lender, comes back from the patron, or is ours and is home."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hkall_gateway.desk.asks import CheckedIn, CheckIn, Outcome, Refused
from hkall_gateway.desk.circulation import one_with
from hkall_gateway.desk.house import House, refused
from hkall_gateway.desk.tally import closed_days, fine_cents
from hkall_gateway.rules import calendar, policy
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.policy import Terminal
from hkall_gateway.rules.vocabulary import ItemKey, Position, Refusal, Request, Side, Why
from hkall_gateway.store.unit import Unit

P = Position
Arrival = Callable[[Unit, CheckIn, Request, House, datetime], Outcome]


def check_in(unit: Unit, ask: CheckIn, house: House, now: datetime) -> Outcome:
    """A copy has come to this terminal: what it means depends on where its request stands (R12, R16, R17)."""
    found = one_with(unit, ask.barcode, ask.agency)
    if isinstance(found, Refused):
        return found
    if found is None:
        return _refuse(unit, Refusal(Why.UNKNOWN_ITEM), ask, None, now)
    answer = policy.may_return(Terminal(ask.place.role, ask.place.location), house.policy, house.pickup_locations)
    if isinstance(answer, Refusal):
        return _refuse(unit, answer, ask, found, now)
    if ask.undo:
        return _undo(unit, ask, found, now)
    return _arrival_of(found)(unit, ask, found, house, now)


def _arrival_of(request: Request) -> Arrival:
    if request.side is Side.LENDING and request.position is P.RETURN_TRANSIT:
        return _come_home
    return _ARRIVALS.get(request.position, _as_before)


def _refuse(unit: Unit, refusal: Refusal, ask: CheckIn, request: Request | None, now: datetime) -> Refused:
    unit.refuse(refusal, now, ask.by, request)
    no = refused(refusal, "", request.title if request else "")
    return Refused(no.why, no.rule, no.detail, "", no.title, request.item if request else ItemKey("", ask.barcode))


def _undo(unit: Unit, ask: CheckIn, request: Request, now: datetime) -> Outcome:
    """The terminal could not finish the return: on loan as before. Asked again it is a success again."""
    if unit.can(request, Event.UNDO_RETURN) and request.used:
        after = unit.advance(request, Event.UNDO_RETURN, now, ask.by, returned_on=None)
        return _taken(after, "undone")
    if request.position is P.ON_LOAN:
        return _taken(request, "undone")
    return _refuse(unit, Refusal(Why.WRONG_POSITION), ask, request, now)


def _arrive(unit: Unit, ask: CheckIn, request: Request, house: House, now: datetime) -> Outcome:
    """It comes from its lender: to the hold shelf with one letter, or, when nobody waits any more, home again."""
    if request.unwanted:
        return _taken(unit.advance(request, Event.ARRIVE_UNWANTED, now, ask.by), "unwanted", alert=True)
    today = calendar.civil(now)
    last = policy.pickup_last(today, house.policy, closed_days(unit, house))
    after = unit.advance(request, Event.ARRIVE, now, ask.by, rule="R12", received_on=today, pickup_last=last)
    return _taken(after, "received", alert=True)


def _come_back(unit: Unit, ask: CheckIn, request: Request, house: House, now: datetime) -> Outcome:
    """The patron returns it: the fine is fixed, and the way home begins at once unless the policy says otherwise."""
    day = calendar.civil(ask.happened_at if ask.no_block and ask.happened_at else now)
    cents = fine_cents(request, day, house, closed_days(unit, house))
    after = unit.advance(request, Event.RETURN, now, ask.by, rule="R16", returned_on=day)
    if cents:
        unit.charge(after, "overdue", cents, "R41" if request.recalled_on else "R40", now)
    if house.policy.return_.announce == "at_checkin":
        after = unit.advance(after, Event.DISPATCH, now, ask.by)
    return _taken(after, "returned", cents=cents, alert=True)


def _come_home(unit: Unit, ask: CheckIn, request: Request, _house: House, now: datetime) -> Outcome:
    """Our own copy is home, whatever messages were missed on the way."""
    skipped = "" if request.position is P.RETURN_TRANSIT else request.position.value
    after = unit.advance(request, Event.CHECK_IN_HOME, now, ask.by, skipped=skipped, returned_on=calendar.civil(now))
    unit.set_status(after.item or ItemKey("", ""), "Available On Shelf")
    return _taken(after, "home", alert=bool(skipped))


def _as_before(_unit: Unit, _ask: CheckIn, request: Request, _house: House, _now: datetime) -> Outcome:
    """Scanned again: the same success, nothing told twice."""
    return _taken(request, "again", alert=request.position is P.RECEIVED)


_ARRIVALS: dict[Position, Arrival] = {
    P.IN_TRANSIT: _arrive,
    P.ON_LOAN: _come_back,
    P.SHIPPED: _come_home,
    P.AT_BORROWER: _come_home,
}


def _taken(request: Request, what: str, *, cents: int = 0, alert: bool = False) -> CheckedIn:
    going_on = request.position in {P.TO_RETURN, P.RETURN_TRANSIT}
    return CheckedIn(
        request=request.id,
        item=request.item or ItemKey("", ""),
        title=request.title,
        what=what,
        card=request.patron,
        destination=request.partner if going_on else request.pickup_location,
        held_for=request.patron if request.position is P.RECEIVED else "",
        fine_cents=cents,
        alert=alert,
    )

"""Lost, damaged, claimed to be returned, settled: what staff declare, and the bill by the owner's own prices (R44, R45)."""

from __future__ import annotations

from datetime import date, datetime

from hkall_gateway.desk.deeds import Deed, Done
from hkall_gateway.desk.fines import DAMAGE, PROCESSING, REPLACEMENT, fix_fine
from hkall_gateway.desk.flags import flagged
from hkall_gateway.desk.house import House
from hkall_gateway.desk.naming import day_of, done, elsewhere
from hkall_gateway.desk.outcomes import Refused
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.vocabulary import Charges, ItemKey, Position, Request, Side
from hkall_gateway.store import fines
from hkall_gateway.store.unit import Unit

P = Position
NO_CHARGES = Charges()
OWNER_UNKNOWN = "owner_unknown"
SEARCH = "look_on_our_shelf"
"""The flag of a copy of ours that its borrower says it has sent home."""


def lose(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Done | Refused:
    """The book is lost. The patron who has it pays its price, the owner's fee, and the fine until that day, no further.

    What was lost on the way home is not the patron's. `deed.cents`: the price that the owner has named for this book.
    """
    event = Event.LOSE if request.side is Side.BORROWING else Event.BORROWER_LOST
    if not unit.can(request, event):
        return elsewhere(unit, deed, request, now)
    if request.lost_on is not None:
        return done(request, again=True)
    day = day_of(unit, deed, request, now)
    if isinstance(day, Refused):
        return day
    flags = _flags(unit, request)
    after = unit.advance(request, event, now, deed.by, rule="R45", lost_on=day, reason=deed.reason, flags=flags)
    if after.side is Side.LENDING:
        unit.set_status(after.item or ItemKey("", ""), "Lost")
    return done(after, cents=_bill(unit, deed, after, day, house, now) if after.position is P.ON_LOAN else 0)


def _bill(unit: Unit, deed: Deed, request: Request, day: date, house: House, now: datetime) -> int:
    charges = _charges(unit, request)
    price = charges.replacement_cents if deed.cents is None else deed.cents
    total = fix_fine(unit, request, day, house, now, deed.by)
    for kind, cents in ((REPLACEMENT, price), (PROCESSING, charges.processing_cents)):
        if cents:
            fines.charge(unit, request, kind, cents, "R45", now, deed.by)
    return total + price + charges.processing_cents


def damage(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Done | Refused:
    """The patron has damaged it: the owner's charge, or `deed.cents` where the owner has named one."""
    if not unit.can(request, Event.DAMAGE):
        return elsewhere(unit, deed, request, now)
    if request.damaged:
        return done(request, again=True)
    flags = _flags(unit, request)
    after = unit.advance(request, Event.DAMAGE, now, deed.by, rule="R45", damaged=True, reason=deed.reason, flags=flags)
    cents = _charges(unit, request).damage_cents if deed.cents is None else deed.cents
    if cents:
        fines.charge(unit, after, DAMAGE, cents, "R45", now, deed.by)
    return done(after, cents=cents)


def claim(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Done | Refused:
    """The patron says that it was returned, on `deed.on` or nobody knows when: no further day costs a fine."""
    event = Event.CLAIM_RETURNED if request.side is Side.BORROWING else Event.BORROWER_CLAIMS
    if not unit.can(request, event):
        return elsewhere(unit, deed, request, now)
    if request.claimed_on is not None:
        return done(request, again=True)
    day = day_of(unit, deed, request, now)
    if isinstance(day, Refused):
        return day
    flags = flagged(request, SEARCH) if request.side is Side.LENDING else request.flags
    return done(unit.advance(request, event, now, deed.by, rule="R41", claimed_on=day, reason=deed.reason, flags=flags))


def settle(unit: Unit, deed: Deed, request: Request, house: House, now: datetime) -> Done | Refused:
    """What was lost or claimed is settled between the libraries: the request is over, and the fine stands."""
    event = Event.SETTLE if request.side is Side.BORROWING else Event.SETTLE_LENT
    if request.position is P.CLOSED:
        return done(request, again=True)
    day = request.lost_on or request.claimed_on
    if day is None or not unit.can(request, event):
        return elsewhere(unit, deed, request, now)
    cents = fix_fine(unit, request, day, house, now, deed.by) if request.position is P.ON_LOAN else 0
    return done(unit.advance(request, event, now, deed.by, rule="R45", reason=deed.reason), cents=cents)


def allow_overseas(unit: Unit, deed: Deed, request: Request, _house: House, now: datetime) -> Done | Refused:
    """The owner has agreed that the patron takes it overseas, until `deed.on`; kept with the reason, who said so (R43)."""
    if request.side is Side.LENDING or request.position not in {P.RECEIVED, P.ON_LOAN}:
        return elsewhere(unit, deed, request, now)
    unit.note(request, "OVERSEAS_ALLOWED", {"until": deed.on, "because": deed.reason}, now, deed.by, rule="R43")
    return done(request, due=deed.on)


def _charges(unit: Unit, request: Request) -> Charges:
    owner = unit.partner(request.partner)
    return owner.charges if owner else NO_CHARGES


def _flags(unit: Unit, request: Request) -> str:
    """An owner that is not in the directory has no prices: staff must find out (R45)."""
    return request.flags if unit.partner(request.partner) else flagged(request, OWNER_UNKNOWN)

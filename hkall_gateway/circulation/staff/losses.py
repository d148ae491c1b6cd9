"""Staff declarations (lost, damaged, claimed returned, settled), and the charges at the owner's prices (R44, R45)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from hkall_gateway.circulation.command import Context, flagged, unflagged
from hkall_gateway.circulation.find_request import StaffCommand, day_of, refuse_position, staff_result
from hkall_gateway.circulation.fines import DAMAGE, PROCESSING, REPLACEMENT, fix_fine
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.db import fines
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.partners import Charges
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request, Side

P = Position
NO_CHARGES = Charges()
NO_PRICE: Mapping[str, StaffFlag] = {REPLACEMENT: StaffFlag.NO_PRICE_LOST, DAMAGE: StaffFlag.NO_PRICE_DAMAGED}
"""Flags for lost or damaged books without a known price, by kind of charge."""
NO_PRICE_KNOWN = "nothing is charged for the book: no price is known; say it later with --cents"
PRICED_BEFORE = "nothing more is charged: a price was charged before"
NOT_THEIRS = "nothing is charged: the patron does not answer for it"


def lose(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Declare the book lost. If it was on loan, charge its price, the owner's fee, and the fine until that day.

    A book lost in return transit is not charged to the patron. `command.cents` is the owner's price for this book. If no price
    is known, the result says so and the request is flagged. Repeat the command with a price to charge it later.
    """
    event = Event.LOSE if request.side is Side.BORROWING else Event.BORROWER_LOST
    if not context.unit.can(request, event):
        return refuse_position(context, command, request)
    if request.lost_on is not None:
        return _charge_missing_price(context, command, request, REPLACEMENT)
    day = day_of(context, command, request)
    if isinstance(day, Refused):
        return day
    flags = _flags_of_owner(context.unit, request)
    after = context.unit.advance(
        request, event, context.now, command.by, rule="R45", lost_on=day, reason=command.reason, flags=flags
    )
    if after.side is Side.LENDING:
        context.unit.holdings.set_status(after.item or ItemKey("", ""), "Lost")
    return _bill_loss(context, command, after, day) if _is_liable(after, REPLACEMENT) else _not_liable_result(command, after)


def _bill_loss(context: Context, command: StaffCommand, request: Request, day: date) -> Done:
    charges = _owner_charges(context.unit, request)
    overdue_cents = fix_fine(context, request, day, command.by)
    priced = _charge_price(context, command, request, REPLACEMENT, charges.replacement_cents)
    if charges.processing_cents:
        fines.charge(context.unit, request, PROCESSING, charges.processing_cents, "R45", context.now, command.by)
    return replace(priced, cents=overdue_cents + priced.cents + charges.processing_cents)


def damage(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Charge the patron for damage: `command.cents` if the owner has named an amount, else the owner's usual charge.

    Damage may be declared until the book is back at its owner. A book that was never lent is not charged to the patron.
    """
    if not context.unit.can(request, Event.DAMAGE):
        return refuse_position(context, command, request)
    if request.damaged:
        return _charge_missing_price(context, command, request, DAMAGE)
    flags = _flags_of_owner(context.unit, request)
    after = context.unit.advance(
        request, Event.DAMAGE, context.now, command.by, rule="R45", damaged=True, reason=command.reason, flags=flags
    )
    if not _is_liable(after, DAMAGE):
        return _not_liable_result(command, after)
    return _charge_price(context, command, after, DAMAGE, _owner_charges(context.unit, request).damage_cents)


def _not_liable_result(command: StaffCommand, request: Request) -> Done:
    return staff_result(request, note=NOT_THEIRS if command.cents else "")


def _charge_price(context: Context, command: StaffCommand, request: Request, kind: str, listed_cents: int) -> Done:
    """Charge the named price, else the owner's list price. If neither is known, flag the request (R45)."""
    cents = listed_cents if command.cents is None else command.cents
    if command.cents is None and not listed_cents:
        unpriced = context.unit.amend(request, context.now, command.by, "R45", flags=flagged(request, NO_PRICE[kind]))
        return staff_result(unpriced, note=NO_PRICE_KNOWN)
    if cents:
        fines.charge(context.unit, request, kind, cents, "R45", context.now, command.by)
    return staff_result(request, cents=cents)


def _charge_missing_price(context: Context, command: StaffCommand, request: Request, kind: str) -> Done:
    """Answer a repeated declaration: charge a price that was missing before, but never charge twice."""
    missing = NO_PRICE[kind] in request.flags.split()
    if command.cents is None:
        return staff_result(request, again=True, note=NO_PRICE_KNOWN if missing else "")
    if not _is_liable(request, kind):
        return staff_result(request, again=True, note=NOT_THEIRS)
    if not missing and fines.charges_of(context.unit, request.id, kind):
        return staff_result(request, again=True, note=PRICED_BEFORE)
    priced = context.unit.amend(request, context.now, command.by, "R45", flags=unflagged(request, NO_PRICE[kind]))
    return _charge_price(context, command, priced, kind, 0)


def _is_liable(request: Request, kind: str) -> bool:
    """Check whether the patron is liable: not for a copy lost on its way back, nor for damage before the first checkout."""
    on_loan = request.side is Side.BORROWING and request.position is P.ON_LOAN
    return on_loan or (kind == DAMAGE and request.used)


def claim(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Record the patron's claim to have returned the book, on `command.on` or today. The fine stops on that day."""
    event = Event.CLAIM_RETURNED if request.side is Side.BORROWING else Event.BORROWER_CLAIMS
    if not context.unit.can(request, event):
        return refuse_position(context, command, request)
    if request.claimed_on is not None:
        return staff_result(request, again=True)
    day = day_of(context, command, request)
    if isinstance(day, Refused):
        return day
    flags = flagged(request, StaffFlag.LOOK_ON_OUR_SHELF) if request.side is Side.LENDING else request.flags
    return staff_result(
        context.unit.advance(
            request, event, context.now, command.by, rule="R41", claimed_on=day, reason=command.reason, flags=flags
        )
    )


def settle(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Close the request for a lost or claimed book after the libraries have settled the case. The fine remains due."""
    event = Event.SETTLE if request.side is Side.BORROWING else Event.SETTLE_LENT
    if request.position is P.CLOSED:
        return staff_result(request, again=True)
    day = request.lost_on or request.claimed_on
    if day is None or not context.unit.can(request, event):
        return refuse_position(context, command, request)
    cents = fix_fine(context, request, day, command.by) if request.position is P.ON_LOAN else 0
    return staff_result(
        context.unit.advance(request, event, context.now, command.by, rule="R45", reason=command.reason), cents=cents
    )


def allow_overseas(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Record the owner's permission to take the book overseas until `command.on`, with actor and reason (R43)."""
    if request.side is Side.LENDING or request.position not in {P.RECEIVED, P.ON_LOAN}:
        return refuse_position(context, command, request)
    context.unit.note(
        request, "OVERSEAS_ALLOWED", {"until": command.on, "because": command.reason}, context.now, command.by, rule="R43"
    )
    return staff_result(request, due=command.on)


def _owner_charges(unit: UnitOfWork, request: Request) -> Charges:
    owner = unit.partners.find(request.partner)
    return owner.charges if owner else NO_CHARGES


def _flags_of_owner(unit: UnitOfWork, request: Request) -> str:
    """Flag a request whose owner is not in the directory: staff must find out the owner's prices (R45)."""
    return request.flags if unit.partners.find(request.partner) else flagged(request, StaffFlag.OWNER_UNKNOWN)

"""Fines: charged at a return or renewal, paid oldest first, waived with a reason (R40, R41, R45).

A payment above the debt is refused: the payment terminal returns the money, so no credit arises. A refund that we owe a patron
for a book found again reduces the debt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import fines
from hkall_gateway.db.fines import OVERDUE
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.patrons import Charged
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.messages.json_records import from_json, record, to_json
from hkall_gateway.rules.overdue_fine import CURRENCY, fine_for
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Refusal, Request, Sensitive, Titled


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeEntry(Titled):
    """A charge that is not fully paid: its number `fine`, and its `kind`, such as overdue, replacement or damage."""

    fine: int
    request: str
    kind: str
    title: str
    item: ItemKey | None
    left_cents: int
    at: datetime
    bib_id: str = ""
    linked_title: str = ""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """Result: a payment was taken. `owed_cents` is the remaining debt, and `again` marks a repeated transaction."""

    card: str
    cents: int
    owed_cents: int
    transaction_id: str = ""
    again: bool = False


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """Result: `cents` were waived. `again` is set if the charge was already settled or waived."""

    fine: int
    cents: int
    owed_cents: int
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay(Command[None, Paid]):
    """Take a payment for the charge `fine`, the charges of the request `about`, or all charges of the patron, oldest first.

    A `transaction_id` counts only once for each device (`by`) and patron. If `staff` named the card, a replaced card stands for
    the card that replaced it; a terminal's replaced card is refused. Source: SIP2 2.00, fee paid.
    """

    by: Actor
    card: str
    cents: int
    transaction_id: str = ""
    fine: int | None = None
    currency: str = "HKD"
    pin: Sensitive = NOTHING
    about: str = ""
    staff: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waive(Command[None, Waived]):
    """Waive a charge or, if `cents` is set, a part of it."""

    by: Actor
    fine: int
    reason: str
    cents: int | None = None
    card: str = ""


REPLACEMENT, PROCESSING, DAMAGE, REFUND = "replacement", "processing", "damage", "refund"


def left_to_charge(context: Context, request: Request, day: date) -> int:
    """Compute the uncharged part of a loan's fine up to `day`, in cents."""
    if request.due is None or day <= request.due:
        return 0
    cents = fine_for(request, day, context.library.policy, closed_days(context))
    return max(0, cents - fines.charged_cents(context.unit, request)) if cents else 0


def fix_fine(context: Context, request: Request, day: date, by: Actor) -> int:
    """Charge a loan's fine up to `day`. Return the added cents, or 0 if these days were already charged."""
    cents = left_to_charge(context, request, day)
    if cents:
        fines.charge(context.unit, request, OVERDUE, cents, "R41" if request.recalled_on else "R40", context.now, by)
    return cents


def pay_back(context: Context, request: Request, day: date, by: Actor) -> int:
    """Cancel the replacement charge of a lost book that was found in time, and return the cents removed (R45).

    The owner's `refund_if_found_days` set the time limit. Paid amounts become a refund. The processing fee stays.
    """
    partner = context.unit.partners.find(request.partner)
    days = partner.charges.refund_if_found_days if partner else 0
    if request.lost_on is None or not days or day > request.lost_on + timedelta(days=days):
        return 0
    if fines.charges_of(context.unit, request.id, REFUND):
        return 0
    removed_cents = 0
    for charged in fines.charges_of(context.unit, request.id, REPLACEMENT):
        if charged.left_cents:
            fines.waive_charge(context.unit, charged, charged.left_cents, "found again", context.now, by)
        if charged.paid_cents:
            fines.charge(context.unit, request, REFUND, -charged.paid_cents, "R45", context.now, by)
        removed_cents += charged.left_cents + charged.paid_cents
    return removed_cents


def charge_lines(unit: UnitOfWork, charged: Sequence[Charged]) -> tuple[ChargeEntry, ...]:
    """Convert charges to entries in the given order, without settled charges."""
    entries = []
    for one in charged:
        if one.left_cents > 0:
            about = unit.requests.find(one.request)
            entry = ChargeEntry(
                fine=one.id,
                request=one.request,
                kind=one.kind,
                title=about.title if about else "",
                item=about.item if about else None,
                left_cents=one.left_cents,
                at=one.at,
                bib_id=about.bib_id if about else "",
                linked_title=about.linked_title if about else "",
            )
            entries.append(entry)
    return tuple(entries)


def pay(context: Context, command: Pay) -> Paid | Refused:
    """Take a payment for a patron's charges. A repeated transaction of the same device gets the stored reply."""
    card = card_now(context.unit, command.card)
    known = fines.find_payment(context.unit, card, command.by.who, command.transaction_id)
    if known:
        cents, kept = known
        if cents != command.cents:  # the stored reply would hide a different payment
            return context.refuse(Reason.TRANSACTION_REUSED, command.by, patron=command.card)
        before: Paid = from_json(kept)
        return replace(before, again=True)
    if card != command.card:
        return context.refuse(Reason.CARD_REPLACED, command.by, patron=command.card)
    owed = max(0, context.unit.patrons.owed_cents(command.card))
    wanted = [
        one
        for one in context.unit.patrons.charges(command.card)
        if one.left_cents > 0 and command.fine in (None, one.id) and command.about in ("", one.request)
    ]
    most = min(owed, sum(one.left_cents for one in wanted))
    if command.fine is not None and not wanted:
        return context.refuse(Reason.UNKNOWN_FINE, command.by, patron=command.card)
    if command.currency != CURRENCY:
        return context.refuse(Reason.NOT_SUPPORTED, command.by, patron=command.card)
    if not 0 < command.cents <= most:
        return context.refuse(Refusal(Reason.NOT_OWED, detail={"owed": dollars(most)}), command.by, patron=command.card)
    left_cents = command.cents
    for charged in wanted:  # oldest first; the last charge may be paid in part
        part = min(left_cents, charged.left_cents)
        if part:
            fines.pay_charge(context.unit, charged, part, context.now, command.by)
        left_cents -= part
    paid = Paid(card=command.card, cents=command.cents, owed_cents=owed - command.cents, transaction_id=command.transaction_id)
    fines.record_payment(
        context.unit, command.card, command.transaction_id, command.cents, to_json(paid), context.now, command.by
    )
    return paid


def waive(context: Context, command: Waive) -> Waived | Refused:
    """Waive a charge, or a part of it. The journal keeps the reason."""
    charged = fines.charge_numbered(context.unit, command.fine)
    if charged is None:
        return context.refuse(Reason.UNKNOWN_FINE, command.by)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    cents = charged.left_cents if command.cents is None else command.cents
    if cents < 0 or cents > max(0, charged.left_cents):
        return context.refuse(Refusal(Reason.NOT_OWED, detail={"owed": dollars(max(0, charged.left_cents))}), command.by)
    if cents:
        fines.waive_charge(context.unit, charged, cents, command.reason, context.now, command.by)
    return Waived(
        fine=command.fine, cents=cents, owed_cents=max(0, context.unit.patrons.owed_cents(charged.patron)), again=not cents
    )


def dollars(cents: int) -> str:
    """Format cents as dollars: 1250 is "12.50"."""
    return f"{cents // 100}.{cents % 100:02}"

"""Fines: charged at a return or renewal, paid oldest first, waived with a reason, given back (R40, R41, R45).

A patron's ledger has two sums, never set off against each other: what the patron is to pay, and what we owe the patron
for a book that was paid for and found again. A payment above the first and a refund above the second are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TypeVar

from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import fines
from hkall_gateway.db.fines import OVERDUE, REFUND
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.patrons import Charged
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.messages.json_records import from_json, record, to_json
from hkall_gateway.rules.overdue_fine import CURRENCY, fine_for
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Refusal, Request, Sensitive, Titled


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeEntry(Titled):
    """A charge that is not settled: its number `fine`, and its `kind`, such as overdue, replacement or damage.

    All sums of a refund that we owe are negative: what is owed, what was given back, and what is left to give back.
    """

    fine: int
    request: str
    kind: str
    title: str
    item: ItemKey | None
    charged_cents: int
    paid_cents: int
    waived_cents: int
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
class Refunded:
    """Result: money was given back. `credit_cents` is what we still owe; `again` marks a repeated transaction."""

    card: str
    cents: int
    credit_cents: int
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
class Refund(Command[None, Refunded]):
    """Give back money that we owe a patron, oldest debt first. A `transaction_id` counts once, as in `Pay`."""

    by: Actor
    card: str
    cents: int
    transaction_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waive(Command[None, Waived]):
    """Waive a charge or, if `cents` is set, a part of it."""

    by: Actor
    fine: int
    reason: str
    cents: int | None = None
    card: str = ""


REPLACEMENT, PROCESSING, DAMAGE = "replacement", "processing", "damage"


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
    """Cancel the replacement charge of a lost book that was found in time, and return the cents that we owe for it (R45).

    The owner's `refund_if_found_days` set the time limit. Paid amounts become a refund. The processing fee stays.
    """
    partner = context.unit.partners.find(request.partner)
    days = partner.charges.refund_if_found_days if partner else 0
    if request.lost_on is None or not days or day > request.lost_on + timedelta(days=days):
        return 0
    if fines.charges_of(context.unit, request.id, REFUND):
        return 0
    refund_cents = 0
    for charged in fines.charges_of(context.unit, request.id, REPLACEMENT):
        if charged.left_cents:
            fines.waive_charge(context.unit, charged, charged.left_cents, "found again", context.now, by)
        if charged.paid_cents:
            fines.charge(context.unit, request, REFUND, -charged.paid_cents, "R45", context.now, by)
        refund_cents += charged.paid_cents
    return refund_cents


def paid_for_loss_cents(context: Context, request: Request) -> int:
    """Return what the patron has paid for the replacement of a lost book, or 0 if the book is not lost."""
    if request.lost_on is None:
        return 0
    return sum(charge.paid_cents for charge in fines.charges_of(context.unit, request.id, REPLACEMENT))


def charge_lines(unit: UnitOfWork, charged: Sequence[Charged]) -> tuple[ChargeEntry, ...]:
    """Convert charges that the patron is to pay to entries in the given order."""
    return tuple(_charge_entry(unit, charge) for charge in charged if charge.left_cents > 0)


def credit_lines(unit: UnitOfWork, charged: Sequence[Charged]) -> tuple[ChargeEntry, ...]:
    """Convert refunds that we owe the patron to entries in the given order."""
    return tuple(_charge_entry(unit, charge) for charge in charged if charge.left_cents < 0)


def _charge_entry(unit: UnitOfWork, charge: Charged) -> ChargeEntry:
    about = unit.requests.find(charge.request)
    return ChargeEntry(
        fine=charge.id,
        request=charge.request,
        kind=charge.kind,
        title=about.title if about else "",
        item=about.item if about else None,
        charged_cents=charge.cents,
        paid_cents=charge.paid_cents,
        waived_cents=charge.waived_cents,
        left_cents=charge.left_cents,
        at=charge.at,
        bib_id=about.bib_id if about else "",
        linked_title=about.linked_title if about else "",
    )


def to_pay_cents(charged: Sequence[Charged]) -> int:
    """Sum what the patron is to pay. A refund that we owe does not reduce it."""
    return sum(charge.left_cents for charge in charged if charge.left_cents > 0)


def to_refund_cents(charged: Sequence[Charged]) -> int:
    """Sum what we owe the patron."""
    return -sum(charge.left_cents for charge in charged if charge.left_cents < 0)


Booked = TypeVar("Booked", Paid, Refunded)


def _find_repeated(
    context: Context, command: Pay | Refund, card: str, cents: int, kind: type[Booked]
) -> Booked | Refused | None:
    """Return the stored reply to a repeated transaction of the same device, or None if the transaction is new.

    The stored reply would hide another sum, so that a repetition with another sum is refused. A refund is a negative sum.
    """
    stored = fines.find_payment(context.unit, card, command.by.who, command.transaction_id)
    if stored is None:
        return None
    stored_cents, outcome = stored
    if stored_cents != cents:
        return context.refuse(Reason.TRANSACTION_REUSED, command.by, patron=command.card)
    before = from_json(outcome)
    assert isinstance(before, kind)
    return replace(before, again=True)


def _book(context: Context, charges: Sequence[Charged], cents: int, by: Actor, rule: str) -> None:
    """Spread a sum over charges with its sign, oldest first. The last one may be settled in part."""
    left_cents = cents
    for charge in charges:
        part_cents = min(left_cents, charge.left_cents, key=abs)
        if part_cents:
            fines.pay_charge(context.unit, charge, part_cents, context.now, by, rule=rule)
        left_cents -= part_cents


def refund(context: Context, command: Refund) -> Refunded | Refused:
    """Give back money that we owe a patron. A repeated transaction of the same device gets the stored reply."""
    if repeated := _find_repeated(context, command, command.card, -command.cents, Refunded):
        return repeated

    owed_to_patron = [charge for charge in context.unit.patrons.charges(command.card) if charge.left_cents < 0]
    credit_cents = to_refund_cents(owed_to_patron)
    if not 0 < command.cents <= credit_cents:
        refusal = Refusal(Reason.NOT_OWED, detail={"owed": dollars(credit_cents)})
        return context.refuse(refusal, command.by, patron=command.card)

    _book(context, owed_to_patron, -command.cents, command.by, "R45")
    refunded = Refunded(
        card=command.card,
        cents=command.cents,
        credit_cents=credit_cents - command.cents,
        transaction_id=command.transaction_id,
    )
    fines.record_payment(
        context.unit,
        command.card,
        command.transaction_id,
        -command.cents,
        to_json(refunded),
        context.now,
        command.by,
    )
    return refunded


def pay(context: Context, command: Pay) -> Paid | Refused:
    """Take a payment for a patron's charges. A repeated transaction of the same device gets the stored reply."""
    card = card_now(context.unit, command.card)
    if repeated := _find_repeated(context, command, card, command.cents, Paid):
        return repeated
    if card != command.card:
        return context.refuse(Reason.CARD_REPLACED, command.by, patron=command.card)

    charged = context.unit.patrons.charges(command.card)
    paid_for = [
        charge
        for charge in charged
        if charge.left_cents > 0 and command.fine in (None, charge.id) and command.about in ("", charge.request)
    ]
    most_cents = to_pay_cents(paid_for)
    if command.fine is not None and not paid_for:
        return context.refuse(Reason.UNKNOWN_FINE, command.by, patron=command.card)
    if command.currency != CURRENCY:
        return context.refuse(Reason.NOT_SUPPORTED, command.by, patron=command.card)
    if not 0 < command.cents <= most_cents:
        refusal = Refusal(Reason.NOT_OWED, detail={"owed": dollars(most_cents)})
        return context.refuse(refusal, command.by, patron=command.card)

    _book(context, paid_for, command.cents, command.by, "R40")
    paid = Paid(
        card=command.card,
        cents=command.cents,
        owed_cents=to_pay_cents(charged) - command.cents,
        transaction_id=command.transaction_id,
    )
    fines.record_payment(
        context.unit,
        command.card,
        command.transaction_id,
        command.cents,
        to_json(paid),
        context.now,
        command.by,
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
    owed_cents = to_pay_cents(context.unit.patrons.charges(charged.patron))
    return Waived(fine=command.fine, cents=cents, owed_cents=owed_cents, again=not cents)


def dollars(cents: int) -> str:
    """Format cents as dollars: 1250 is "12.50"."""
    return f"{cents // 100}.{cents % 100:02}"

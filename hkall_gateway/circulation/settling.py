"""Settle disagreements about money that `doctor` finds: charges follow the journal, and every payment reaches a charge."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import fines
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.queries.consistency import PaymentUse, charge_sums, payment_uses
from hkall_gateway.db.tables import PAYMENTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySettled:
    """Result: a charge or a payment agrees with the journal.

    Attributes:
        number: Number of the charge or payment.
        refund_cents: What the library owes the patron since, which `fines refund` gives back.
        again: Whether it agreed before, so that nothing changed.
    """

    number: int
    refund_cents: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleCharge(Command[None, MoneySettled]):
    """Give a charge the sums of its payments and waivers in the journal. The registry fills in `card`."""

    by: Actor
    fine: int
    reason: str
    card: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePayment(Command[None, MoneySettled]):
    """Book a recent payment that no charge received. The registry fills in `card`."""

    by: Actor
    payment: int
    reason: str
    card: str = ""


def settle_charge(context: Context, command: SettleCharge) -> MoneySettled | Refused:
    """Give a charge the sums that the journal proves. What was paid beyond the charge becomes a refund that we owe."""
    charged = fines.charge_numbered(context.unit, command.fine)
    if charged is None:
        return context.refuse(Reason.UNKNOWN_FINE, command.by)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)

    sums = charge_sums(context.unit, charged.request).get(charged.id) if charged.request else None
    if sums is None or sums.agrees:
        return MoneySettled(number=charged.id, again=True)
    refund_cents = fines.settle_charge(context.unit, charged, sums, command.reason, context.now, command.by)
    return MoneySettled(number=charged.id, refund_cents=refund_cents)


def settle_payment(context: Context, command: SettlePayment) -> MoneySettled | Refused:
    """Book what a payment has not yet paid, oldest charge first. What is left becomes a refund that we owe.

    If more went to charges than was taken, these charges ask for the difference again.
    """
    if card_of_payment(context.unit, command.payment) is None:
        return context.refuse(Reason.UNKNOWN_FINE, command.by)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)

    use = _find_use(context, command.payment)
    if use is None or not use.unused_cents:
        return MoneySettled(number=command.payment, again=True)
    taken_cents = sum(cents for _, cents in use.payments)
    if taken_cents >= 0 and use.unused_cents < 0:
        _take_from_charges(context, command, use)
        return MoneySettled(number=command.payment)

    left_cents = _book_on_charges(context, command, use.unused_cents)
    if left_cents:
        _owe_refund(context, command, left_cents)
    return MoneySettled(number=command.payment, refund_cents=left_cents)


def card_of_payment(unit: UnitOfWork, number: int) -> str | None:
    """Return the present card of the patron who paid, or None if there is no such payment, or it is anonymised."""
    card: str | None = unit.execute(select(PAYMENTS.c.patron).where(PAYMENTS.c.id == number)).scalar()
    return card_now(unit, card) if card else None


def _find_use(context: Context, number: int) -> PaymentUse | None:
    for use in payment_uses(context.unit, context.now):
        if number in dict(use.payments):
            return use
    return None


def _book_on_charges(context: Context, command: SettlePayment, cents: int) -> int:
    """Book a payment on the patron's charges, or money given back on refunds. Return what is left of it."""
    left_cents = cents
    for charge in context.unit.patrons.charges(command.card):
        has_same_sign = charge.left_cents * left_cents > 0
        if not has_same_sign:
            continue
        part_cents = min(left_cents, charge.left_cents, key=abs)
        _book(context, command, charge.id, part_cents)
        left_cents -= part_cents
    return left_cents


def _take_from_charges(context: Context, command: SettlePayment, use: PaymentUse) -> None:
    """Take what was not paid from the charges that received it, the last one first."""
    excess_cents = -use.unused_cents
    for number, cents in reversed(use.charged):
        part_cents = min(excess_cents, max(0, cents))
        if part_cents:
            _book(context, command, number, -part_cents)
        excess_cents -= part_cents


def _book(context: Context, command: SettlePayment, number: int, cents: int) -> None:
    charge = fines.charge_numbered(context.unit, number)
    assert charge is not None, "no charge is ever deleted while it names its patron"
    fines.pay_charge(
        context.unit,
        charge,
        cents,
        context.now,
        command.by,
        rule="R40",
        payment=command.payment,
        reason=command.reason,
    )


def _owe_refund(context: Context, command: SettlePayment, cents: int) -> None:
    """Owe the patron a sum that no charge asks for, under the request of the last charge.

    A negative sum was given back although we did not owe it, and is charged again.
    """
    charges = context.unit.patrons.charges(command.card)
    request = fines.request_of(context.unit, charges[-1]) if charges else fines.no_request(command.card)
    fines.charge(
        context.unit,
        request,
        fines.REFUND,
        -cents,
        "R45",
        context.now,
        command.by,
        payment=command.payment,
    )

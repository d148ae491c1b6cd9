"""Patrons' charges, payments and waivers in integer cents. Every change to a charge writes a journal line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, func, insert, select, update

from hkall_gateway.db.patrons import Charged
from hkall_gateway.db.queries.consistency import ChargeSums
from hkall_gateway.db.tables import FINES, PAYMENTS, Condition
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.vocabulary import Actor, LostRace, Position, Request, Side

OVERDUE, REFUND = "overdue", "refund"


def charge(
    unit: UnitOfWork,
    request: Request,
    kind: str,
    cents: int,
    rule: str,
    now: datetime,
    by: Actor,
    *,
    payment: int = 0,
) -> int:
    """Charge the patron of the request `cents`, in Hong Kong cents, and return the number of the charge.

    A refund is a negative sum. `payment` is the number of the payment that it gives back, if it gives back one.
    """
    row = {"request": request.id, "patron": request.patron, "kind": kind, "cents": cents, "currency": CURRENCY, "reason": rule}
    due = request.due if kind == OVERDUE else None
    number: int = unit.execute(insert(FINES).values(**row, at=now, due=due).returning(FINES.c.id)).scalar_one()
    facts = {"fine": number, "kind": kind, "cents": cents}
    if payment:
        facts["payment"] = payment
    unit.note(request, "CHARGE", facts, now, by, rule)
    return number


def charged_cents(unit: UnitOfWork, request: Request) -> int:
    """Return the overdue fine in cents already charged for the current due date. Fines for earlier due dates do not count."""
    wanted = (FINES.c.request == request.id, FINES.c.kind == OVERDUE, FINES.c.due == request.due)
    return unit.execute(select(func.sum(FINES.c.cents)).where(*wanted)).scalar() or 0


def charges_of(unit: UnitOfWork, request: str, kind: str = "") -> tuple[Charged, ...]:
    """Return the charges for one request, oldest first. An empty `kind` selects charges of all kinds."""
    return _find_charges(unit, FINES.c.request == request, *([FINES.c.kind == kind] if kind else []))


def charge_numbered(unit: UnitOfWork, number: int) -> Charged | None:
    """Return the charge with this number, or None if it does not exist."""
    return next(iter(_find_charges(unit, FINES.c.id == number)), None)


def pay_charge(
    unit: UnitOfWork,
    fine: Charged,
    cents: int,
    now: datetime,
    by: Actor,
    *,
    rule: str,
    payment: int = 0,
    reason: str = "",
) -> None:
    """Record a payment of `cents` towards a charge, or, if negative, money given back towards a refund that we owe.

    `payment` is the number of an earlier payment that is booked only now, for the `reason`.
    """
    _add_to_charge(unit, fine, FINES.c.paid_cents, cents)
    facts: dict[str, object] = {"fine": fine.id, "cents": cents}
    if payment:
        facts |= {"payment": payment, "because": reason}
    unit.note(request_of(unit, fine), "PAY", facts, now, by, rule)


def waive_charge(unit: UnitOfWork, fine: Charged, cents: int, reason: str, now: datetime, by: Actor) -> None:
    """Waive `cents` of a charge."""
    _add_to_charge(unit, fine, FINES.c.waived_cents, cents)
    unit.note(request_of(unit, fine), "WAIVE", {"fine": fine.id, "cents": cents, "because": reason}, now, by, "R40")


def settle_charge(unit: UnitOfWork, fine: Charged, sums: ChargeSums, reason: str, now: datetime, by: Actor) -> int:
    """Give a charge the sums that the journal proves, and return the cents that we owe the patron for a surplus.

    Raises:
        LostRace: Another unit has changed the charge since it was read.
    """
    request = request_of(unit, fine)
    right = {"paid_cents": sums.right_paid_cents, "waived_cents": sums.right_waived_cents}
    _set_sums(unit, fine, right)
    unit.note(request, "CHARGE_SETTLED", {"fine": fine.id, **right, "because": reason}, now, by)

    # The journal is a sum of its lines, so that another line takes back what was too much.
    void_cents = sums.journal_waived_cents - sums.right_waived_cents
    if void_cents:
        unit.note(request, "WAIVE", {"fine": fine.id, "cents": -void_cents, "because": reason}, now, by)
    if sums.surplus_cents:
        unit.note(request, "PAY", {"fine": fine.id, "cents": -sums.surplus_cents, "because": reason}, now, by)
        charge(unit, request, REFUND, -sums.surplus_cents, "R45", now, by)
    return sums.surplus_cents


def find_payment(unit: UnitOfWork, card: str, who: str, transaction_id: str) -> tuple[int, str] | None:
    """Look up a recorded payment. Return (cents, outcome), or None if the payment is new or has no transaction number."""
    wanted = (PAYMENTS.c.patron == card, PAYMENTS.c.who == who, PAYMENTS.c.transaction_id == transaction_id)
    row = unit.execute(select(PAYMENTS).where(*wanted)).mappings().first() if transaction_id else None
    return (row["cents"], row["outcome"]) if row else None


def record_payment(
    unit: UnitOfWork, card: str, transaction_id: str, cents: int, outcome: str, now: datetime, by: Actor
) -> None:
    """Record a payment with its outcome."""
    row = {"patron": card, "who": by.who, "transaction_id": transaction_id, "cents": cents, "currency": CURRENCY}
    unit.execute(insert(PAYMENTS).values(**row, at=now, outcome=outcome))


def _find_charges(unit: UnitOfWork, *where: Condition) -> tuple[Charged, ...]:
    found = unit.execute(select(*(FINES.c[f.name] for f in fields(Charged))).where(*where).order_by(FINES.c.id))
    return tuple(Charged(**row) for row in found.mappings())


def _add_to_charge(unit: UnitOfWork, fine: Charged, column: Column[int], cents: int) -> None:
    """Add to a sum in the database itself, so that no sum that was read earlier is written back.

    A check-in locks the copy but not the card, so it may waive a charge that staff waive or the patron pays just then.

    Raises:
        LostRace: Another unit has changed the charge since it was read.
    """
    _set_sums(unit, fine, {column: column + cents})


def _set_sums(unit: UnitOfWork, fine: Charged, sums: Mapping[Any, Any]) -> None:
    unchanged = (FINES.c.paid_cents == fine.paid_cents, FINES.c.waived_cents == fine.waived_cents)
    written = unit.execute(update(FINES).where(FINES.c.id == fine.id, *unchanged).values(sums))
    if written.rowcount != 1:
        raise LostRace(f"charge {fine.id}: somebody changed it first")


def request_of(unit: UnitOfWork, fine: Charged) -> Request:
    """Return the request of a charge, or an empty request with the patron's card if the request was deleted."""
    return unit.requests.find(fine.request) or no_request(fine.patron, fine.request)


def no_request(card: str, number: str = "") -> Request:
    """Return an empty request, for the journal lines of a charge whose request does not exist."""
    return Request(id=number, side=Side.BORROWING, position=Position.CLOSED, title="", bib_id="", patron=card)

"""Compare tables that must agree: payments with charges, the journal with positions, and the outbox with requests.

A disagreement is listed only if it is certain. What the retention may have deleted or anonymised is not compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_, select, union_all

from hkall_gateway.db.tables import (
    ARCHIVES,
    FINES,
    HAS_PATRON,
    IS_DEAD,
    IS_OPEN,
    IS_WAITING,
    JOURNAL,
    OUTBOX,
    PAYMENTS,
    REQUESTS,
    STANDS_ALONE,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import TABLE, Event, Notification
from hkall_gateway.rules.messages.outbox_messages import is_letter
from hkall_gateway.rules.positions import BORROWING_ONLY, FINAL, LENDING_ONLY
from hkall_gateway.rules.stored_words import OutboxKind
from hkall_gateway.rules.vocabulary import Position


class Mismatch(StrEnum):
    """The kinds of disagreement."""

    CREDIT_MISSING = auto()
    CREDIT_UNPROVEN = auto()
    OVERPAID = auto()
    PAYMENT_UNUSED = auto()
    POSITION_UNPROVEN = auto()
    MESSAGE_ORPHANED = auto()
    MESSAGE_OVERTAKEN = auto()
    MESSAGE_MISSING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Two tables that contradict each other.

    Attributes:
        request: The number of the request concerned, or "" for a payment.
        row: The number of the charge, payment or message; 0 for a request.
        stands: What the row says: cents, or a position.
        expected: What the other table says: cents, a position, or the kind of a message.
    """

    kind: Mismatch
    request: str = ""
    row: int = 0
    stands: str = ""
    expected: str = ""


RECENT: Final = timedelta(days=30)
"""Age up to which payments and steps are compared. Older ones were compared by an earlier run, and may be anonymised."""

# A message that asks for something, or announces it, and is of no use once its request has come to one of these positions
# without a later message to the same partner. Only staff's `force` leads there.
_OVERTAKEN: Final[Mapping[Notification, frozenset[Position]]] = {
    Notification.ASK_LENDER: FINAL & BORROWING_ONLY,
    Notification.TELL_BORROWER_SHIPPED: FINAL & LENDING_ONLY,
}

_SENDS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    (step.source.value, step.event.name): sends
    for step in TABLE
    if (sends := frozenset(send.value for send in step.sends if not is_letter(send)))
}
"""The messages to partners that each step queues, by source position and event."""

F, J, M, R = FINES.c, JOURNAL.c, OUTBOX.c, REQUESTS.c
_LINE: Final = JOURNAL.alias("line")
_BY_HAND: Final = _LINE.c.event == Event.FORCE.name


def find_disagreements(unit: UnitOfWork, now: datetime) -> Iterator[Disagreement]:
    """Yield every disagreement of the snapshot. Reads all charges and all open requests."""
    yield from find_wrong_charges(unit)
    yield from find_unused_payments(unit, now)
    yield from find_wrong_positions(unit)
    yield from find_useless_messages(unit)
    yield from find_missing_messages(unit, now)


@dataclass(slots=True)
class ChargeSums:
    """The sums of a charge, and what the journal says about its payments and waivers.

    The journal is right: our code writes it in the transaction that changes the charge.
    """

    request: str
    cents: int
    paid_cents: int
    waived_cents: int
    journal_paid_cents: int = 0
    journal_waived_cents: int = 0

    @property
    def right_waived_cents(self) -> int:
        """What is waived by the journal. No more can be waived than was charged, whatever two clerks did at once."""
        if self.cents < 0:
            return self.journal_waived_cents
        return min(self.journal_waived_cents, self.cents)

    @property
    def surplus_cents(self) -> int:
        """What was paid beyond the charge, by the journal. We owe it to the patron."""
        if self.cents < 0:
            return 0
        return max(0, self.journal_paid_cents + self.right_waived_cents - self.cents)

    @property
    def right_paid_cents(self) -> int:
        """What counts as paid towards the charge, by the journal."""
        return self.journal_paid_cents - self.surplus_cents

    @property
    def agrees(self) -> bool:
        """Whether the charge and the journal have the same sums, and these are possible."""
        is_overpaid = self.cents >= 0 and self.paid_cents + self.waived_cents > self.cents
        sums = (self.paid_cents, self.waived_cents)
        return sums == (self.journal_paid_cents, self.journal_waived_cents) and not is_overpaid


def find_wrong_charges(unit: UnitOfWork) -> Iterator[Disagreement]:
    """Yield charges whose paid and waived sums differ from the journal's, and charges that were overpaid."""
    for number, charge in charge_sums(unit).items():
        if charge.agrees:
            continue
        credited_cents = charge.paid_cents + charge.waived_cents
        journal_cents = charge.journal_paid_cents + charge.journal_waived_cents
        most_paid_cents = max(charge.paid_cents, charge.journal_paid_cents)
        is_overcredited = max(credited_cents, most_paid_cents) > charge.cents or charge.surplus_cents > 0
        if charge.cents >= 0 and is_overcredited:
            yield Disagreement(
                kind=Mismatch.OVERPAID,
                request=charge.request,
                row=number,
                stands=str(max(most_paid_cents, credited_cents, charge.cents + charge.surplus_cents)),
                expected=str(charge.cents),
            )
        elif charge.paid_cents > charge.journal_paid_cents or charge.waived_cents != charge.journal_waived_cents:
            yield Disagreement(
                kind=Mismatch.CREDIT_UNPROVEN,
                request=charge.request,
                row=number,
                stands=str(credited_cents),
                expected=str(journal_cents),
            )
        else:
            yield Disagreement(
                kind=Mismatch.CREDIT_MISSING,
                request=charge.request,
                row=number,
                stands=str(charge.paid_cents),
                expected=str(charge.journal_paid_cents),
            )


def charge_sums(unit: UnitOfWork, request: str = "") -> Mapping[int, ChargeSums]:
    """Read the charges of a request, or of all requests, that still name their patron, with their journal lines.

    The retention blanks the patron of a charge together with the journal lines. Without a request all charges are wanted, so
    that reading the whole table is right; the lines are found by the index of requests.
    """
    if request:
        about: ColumnElement[bool] = F.request == request
    else:
        about = F.request != ""
    charged = select(F.id, F.request, F.cents, F.paid_cents, F.waived_cents).where(HAS_PATRON, about)
    charges = {number: ChargeSums(*cells) for number, *cells in unit.execute(charged)}
    requests = select(F.request).where(HAS_PATRON, about).distinct().scalar_subquery()
    noted = select(J.event, J.detail).where(J.request.in_(requests), J.event.in_(("PAY", "WAIVE")), J.detail != "")
    for event, detail in unit.execute(noted):
        facts = json.loads(detail)
        charge = charges.get(facts["fine"])
        if charge is None:
            continue
        if event == "PAY":
            charge.journal_paid_cents += facts["cents"]
        else:
            charge.journal_waived_cents += facts["cents"]
    return charges


@dataclass(slots=True)
class PaymentUse:
    """The payments of one instant, and the cents that went to charges then or were booked for them later.

    Attributes:
        payments: Number and cents of each payment.
        charged: Number of the charge and cents of each part, in the order of the journal.
    """

    payments: list[tuple[int, int]] = field(default_factory=list)
    charged: list[tuple[int, int]] = field(default_factory=list)

    @property
    def used_cents(self) -> int:
        """The cents that went to charges."""
        return sum(cents for _, cents in self.charged)

    @property
    def unused_cents(self) -> int:
        """The cents that went to no charge. Negative if more went to charges than was taken."""
        return sum(cents for _, cents in self.payments) - self.used_cents


def find_unused_payments(unit: UnitOfWork, now: datetime) -> Iterator[Disagreement]:
    """Yield recent payments of which the journal shows that no charge, or only a part, was paid at that instant."""
    for use in payment_uses(unit, now):
        if not use.unused_cents:
            continue
        for number, cents in use.payments:
            yield Disagreement(kind=Mismatch.PAYMENT_UNUSED, row=number, stands=str(cents), expected=str(use.used_cents))


def payment_uses(unit: UnitOfWork, now: datetime) -> Iterable[PaymentUse]:
    """Return recent payments with what went to charges, by instant.

    Requests that moved to the archive took their journal lines along, so that only later payments are compared.
    """
    archived_at = unit.execute(select(func.max(ARCHIVES.c.written_at))).scalar()
    since = max(now - RECENT, archived_at) if archived_at else now - RECENT
    recent = select(PAYMENTS.c.id, PAYMENTS.c.at, PAYMENTS.c.cents).where(HAS_PATRON, PAYMENTS.c.at > since)
    uses = defaultdict[datetime, PaymentUse](PaymentUse)
    paid_at: dict[int, datetime] = {}
    for number, at, cents in unit.execute(recent):
        uses[at].payments.append((number, cents))
        paid_at[number] = at
    if not uses:
        return ()
    of_charges = select(F.request).where(F.request != "").distinct().scalar_subquery()
    booked = (J.event.in_(("PAY", "CHARGE")), J.at > since)
    lines = select(J.id, J.at, J.event, J.detail)
    with_request = lines.where(J.request.in_(of_charges), *booked)
    without_request = lines.where(STANDS_ALONE, *booked)  # charges for other systems' bills
    for _, at, event, detail in unit.execute(union_all(with_request, without_request).order_by("id")):
        if not detail:
            uses.pop(at, None)  # anonymised: the amount is unknown
            continue
        facts = json.loads(detail)
        if "payment" in facts:
            at = paid_at.get(facts["payment"], at)  # booked later, for a payment of that instant
        elif event == "CHARGE" or "because" in facts:
            continue  # no money was taken for it
        if at in uses:
            cents = facts["cents"] if event == "PAY" else -facts["cents"]
            uses[at].charged.append((facts["fine"], cents))
    return uses.values()


def find_wrong_positions(unit: UnitOfWork) -> Iterator[Disagreement]:
    """Yield open requests whose last move in the journal leads to another position, or that have no move at all.

    Staff's `force` to the position where a request stands is a move, too: staff have seen the book there.
    """
    last = _last_line(or_(_LINE.c.source != _LINE.c.target, _BY_HAND))
    moved = select(R.id, R.position, J.target).select_from(REQUESTS.outerjoin(JOURNAL, J.id == last))
    contradicted = moved.where(IS_OPEN, or_(J.id.is_(None), J.target != R.position))
    for number, position, target in unit.execute(contradicted):
        yield Disagreement(
            kind=Mismatch.POSITION_UNPROVEN,
            request=number,
            stands=position,
            expected=target or "no position",
        )


def find_useless_messages(unit: UnitOfWork) -> Iterator[Disagreement]:
    """Yield unsettled messages about requests that do not exist, or that have ended without them."""
    later = OUTBOX.alias("later")
    in_lane = and_(later.c.request == M.request, later.c.recipient == M.recipient, later.c.id > M.id)
    for unsettled in (IS_WAITING, IS_DEAD):
        about = select(M.id, M.send, M.recipient, M.request, R.position, select(later.c.id).where(in_lane).exists())
        rows = about.select_from(OUTBOX.outerjoin(REQUESTS, R.id == M.request))
        for number, send, recipient, request, position, has_later in unit.execute(
            rows.where(unsettled, M.kind != OutboxKind.ILS.value, M.request != "")
        ):
            if position is None:
                kind = Mismatch.MESSAGE_ORPHANED
            elif position in _OVERTAKEN.get(send, ()) and not has_later:
                kind = Mismatch.MESSAGE_OVERTAKEN
            else:
                continue
            yield Disagreement(kind=kind, request=request, row=number, stands=position or "", expected=f"{send} to {recipient}")


def find_missing_messages(unit: UnitOfWork, now: datetime) -> Iterator[Disagreement]:
    """Yield open requests whose last step that tells a partner something left no message in the outbox.

    After staff's `force`, which sends nothing, staff have told the partner.
    """
    line = _LINE.c
    sending = or_(*(and_(line.source == source, line.event == event) for source, event in sorted(_SENDS)))
    last = _last_line(or_(sending, _BY_HAND), line.at > now - RECENT)
    queued = and_(M.request == R.id, M.made_at == J.at)
    tables = REQUESTS.join(JOURNAL, J.id == last).outerjoin(OUTBOX, queued)
    told = defaultdict[tuple[str, str, str, str], set[str]](set)
    for number, position, source, event, send in unit.execute(
        select(R.id, R.position, J.source, J.event, M.send).select_from(tables).where(IS_OPEN)
    ):
        told[number, position, source, event].add(send)
    for (number, position, source, event), sent in told.items():
        missing = _SENDS.get((source, event), frozenset()) - sent
        if missing:
            yield Disagreement(kind=Mismatch.MESSAGE_MISSING, request=number, stands=position, expected=_listed(missing))


def _last_line(*where: ColumnElement[bool]) -> ScalarSelect[int]:
    """Return the subquery for the number of a request's last journal line that satisfies the conditions.

    With plain `id`, PostgreSQL would look for the maximum by scanning the primary key backwards.
    """
    of_request = (_LINE.c.request == R.id, _LINE.c.outcome == "ok")
    return select(func.max(_LINE.c.id + 0)).where(*of_request, *where).correlate(REQUESTS).scalar_subquery()


def _listed(sends: Iterable[str]) -> str:
    return ", ".join(sorted(sends))

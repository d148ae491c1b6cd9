"""Compare tables that must agree: payments with charges, the journal with positions, and the outbox with requests.

A disagreement is listed only if it is certain. What the retention may have deleted or anonymised is not compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_, select

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
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import TABLE, Notification
from hkall_gateway.rules.messages.outbox_messages import is_letter
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
    cents: int = 0


MENDS_CREDIT: Final = "paid, but not on the charge"
"""Reason of the waiver that makes up for a payment that is missing on its charge."""
RECENT: Final = timedelta(days=30)
"""Age up to which payments and steps are compared. Older ones were compared by an earlier run, and may be anonymised."""

# A message that asks for something, or announces it, and is of no use once its request has come to one of these positions
# without a later message to the same partner. Only staff's `force` leads there.
_OVERTAKEN: Final[Mapping[Notification, frozenset[Position]]] = {
    Notification.ASK_LENDER: frozenset({Position.CANCELLED, Position.UNFILLED}),
    Notification.TELL_BORROWER_SHIPPED: frozenset({Position.DECLINED, Position.WITHDRAWN}),
}

_SENDS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    (step.source.value, step.event.name): sends
    for step in TABLE
    if (sends := frozenset(send.value for send in step.sends if not is_letter(send)))
}
"""The messages to partners that each step queues, by source position and event."""

F, J, M, R = FINES.c, JOURNAL.c, OUTBOX.c, REQUESTS.c
_LINE: Final = JOURNAL.alias("line")


def find_disagreements(unit: UnitOfWork, now: datetime) -> Iterator[Disagreement]:
    """Yield every disagreement of the snapshot. Reads all charges and all open requests."""
    yield from find_wrong_charges(unit)
    yield from find_unused_payments(unit, now)
    yield from find_wrong_positions(unit)
    yield from find_useless_messages(unit)
    yield from find_missing_messages(unit, now)


@dataclass(slots=True)
class _Charge:
    """A charge, and what the journal says about its payments and waivers."""

    request: str
    cents: int
    paid_cents: int
    waived_cents: int
    journal_paid_cents: int = 0
    journal_waived_cents: int = 0
    mended_cents: int = 0

    @property
    def left_cents(self) -> int:
        return self.cents - self.paid_cents - self.waived_cents


def find_wrong_charges(unit: UnitOfWork) -> Iterator[Disagreement]:
    """Yield charges whose paid and waived sums differ from the journal's, and charges that were overpaid."""
    for number, charge in _charges(unit).items():
        paid_more_cents = max(charge.journal_paid_cents, charge.paid_cents)
        missing_cents = charge.journal_paid_cents - charge.paid_cents - charge.mended_cents
        proven = charge.journal_paid_cents + charge.journal_waived_cents
        credited = charge.paid_cents + charge.waived_cents
        if charge.cents >= 0 and (paid_more_cents > charge.cents or charge.left_cents < 0):
            yield Disagreement(
                kind=Mismatch.OVERPAID,
                request=charge.request,
                row=number,
                stands=str(max(paid_more_cents, credited)),
                expected=str(charge.cents),
            )
        elif charge.paid_cents > charge.journal_paid_cents or charge.waived_cents != charge.journal_waived_cents:
            yield Disagreement(
                kind=Mismatch.CREDIT_UNPROVEN,
                request=charge.request,
                row=number,
                stands=str(credited),
                expected=str(proven),
            )
        elif missing_cents > 0 and charge.left_cents > 0:
            # A settled charge asks nothing more of the patron, so that nothing is left to do.
            yield Disagreement(
                kind=Mismatch.CREDIT_MISSING,
                request=charge.request,
                row=number,
                stands=str(charge.paid_cents),
                expected=str(charge.journal_paid_cents),
                cents=min(missing_cents, charge.left_cents),
            )


def _charges(unit: UnitOfWork) -> Mapping[int, _Charge]:
    """Read the charges that still name their patron, with their journal lines.

    The retention blanks the patron of a charge together with the journal lines. The sums of all these charges are wanted, so
    that reading the whole table is right; the lines are found by the index of requests.
    """
    charged = select(F.id, F.request, F.cents, F.paid_cents, F.waived_cents).where(HAS_PATRON, F.request != "")
    charges = {number: _Charge(*cells) for number, *cells in unit.execute(charged)}
    requests = select(F.request).where(HAS_PATRON, F.request != "").distinct().scalar_subquery()
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
            charge.mended_cents += facts["cents"] if facts.get("because") == MENDS_CREDIT else 0
    return charges


def find_unused_payments(unit: UnitOfWork, now: datetime) -> Iterator[Disagreement]:
    """Yield recent payments of which the journal shows that no charge, or only a part, was paid at that instant.

    Requests that moved to the archive took their journal lines along, so that only later payments are compared.
    """
    archived_at = unit.execute(select(func.max(ARCHIVES.c.written_at))).scalar()
    since = max(now - RECENT, archived_at) if archived_at else now - RECENT
    recent = select(PAYMENTS.c.id, PAYMENTS.c.at, PAYMENTS.c.cents).where(HAS_PATRON, PAYMENTS.c.at > since)
    payments = defaultdict[datetime, list[tuple[int, int]]](list)
    for number, at, cents in unit.execute(recent):
        payments[at].append((number, cents))
    if not payments:
        return
    used_cents = defaultdict[datetime, int](int)
    of_charges = select(F.request).where(F.request != "").distinct().scalar_subquery()
    noted = select(J.at, J.detail).where(J.request.in_(of_charges), J.event == "PAY", J.at > since)
    for at, detail in unit.execute(noted):
        if not detail:
            payments.pop(at, None)  # anonymised: the amount is unknown
        else:
            used_cents[at] += json.loads(detail)["cents"]
    for at, paid in payments.items():
        if sum(cents for _, cents in paid) != used_cents[at]:
            for number, cents in paid:
                yield Disagreement(kind=Mismatch.PAYMENT_UNUSED, row=number, stands=str(cents), expected=str(used_cents[at]))


def find_wrong_positions(unit: UnitOfWork) -> Iterator[Disagreement]:
    """Yield open requests whose last move in the journal leads to another position, or that have no move at all."""
    last = _last_line(_LINE.c.source != _LINE.c.target)
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
    """Yield open requests whose last step that tells a partner something left no message in the outbox."""
    line = _LINE.c
    sending = or_(*(and_(line.source == source, line.event == event) for source, event in sorted(_SENDS)))
    last = _last_line(sending, line.at > now - RECENT)
    queued = and_(M.request == R.id, M.made_at == J.at)
    tables = REQUESTS.join(JOURNAL, J.id == last).outerjoin(OUTBOX, queued)
    told = defaultdict[tuple[str, str, str, str], set[str]](set)
    for number, position, source, event, send in unit.execute(
        select(R.id, R.position, J.source, J.event, M.send).select_from(tables).where(IS_OPEN)
    ):
        told[number, position, source, event].add(send)
    for (number, position, source, event), sent in told.items():
        missing = _SENDS[source, event] - sent
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

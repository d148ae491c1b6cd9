"""How a delivery went, applied in one transaction: the outbox row is settled and the request learns the answer."""

from __future__ import annotations

from datetime import datetime

from hkall_gateway.desk import borrowing
from hkall_gateway.desk.asks import Answer
from hkall_gateway.desk.house import House
from hkall_gateway.rules.lifecycle import Event, Send
from hkall_gateway.rules.tidings import Letter
from hkall_gateway.rules.vocabulary import By
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

TOLD = frozenset({"accepted", "already", "refused", "undeliverable"})


def delivered(unit: Unit, row: OutboxRow, answer: Answer, retry_at: datetime | None, house: House, now: datetime) -> None:
    """Settle the row: told, again at `retry_at`, or dead when there is no further try; then the request moves on."""
    if answer.kind not in TOLD:
        _again_or_dead(unit, row, answer, retry_at)
        return
    unit.outbox.sent(row.id, now)
    by = By(row.recipient if row.kind == "ncip" else "mail", "courier", row.send.name, row.corr)
    if isinstance(row.payload, Letter):
        _letter_left(unit, row.send, row.payload, answer, now, by)
    else:
        borrowing.answered(unit, row.send, row.request, row.payload.wire_id, answer, house, now, by)


def _again_or_dead(unit: Unit, row: OutboxRow, answer: Answer, retry_at: datetime | None) -> None:
    error = ": ".join(filter(None, [answer.kind, answer.problem, answer.detail]))
    if retry_at is None:
        unit.outbox.dead(row.id, error)
    else:
        unit.outbox.later(row.id, retry_at, error)


def _letter_left(unit: Unit, send: Send, letter: Letter, answer: Answer, now: datetime, by: By) -> None:
    """A letter that left starts the pickup clock on its day; one that could not is on the operators' list (R12, R14, R42)."""
    state = "undeliverable" if answer.kind == "undeliverable" else "sent"
    unit.notice_state(letter.notice, state, answer.detail, now)
    request = unit.request(letter.request)
    if send is not Send.LETTER_PICKUP or state != "sent" or request is None or not unit.can(request, Event.NOTIFY):
        return
    unit.advance(request, Event.NOTIFY, now, by, rule="R14", notified_on=answer.sent_on, pickup_last=answer.last_day)

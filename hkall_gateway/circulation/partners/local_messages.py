"""Messages for the library's own system in the outbox: changes that it missed, and queries that it did not answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.circulation.command import Command, flagged, unflagged
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.outbox import WAITING, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.messages.outbox_messages import CHECKS, ILS_RECIPIENT, LocalMessage, LocalSend
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState, StaffFlag
from hkall_gateway.rules.vocabulary import Actor

INLINE_TIME: Final = timedelta(seconds=60)
"""The courier leaves a row alone for this time while its caller delivers it; longer than any wait for an answer."""
SUPERSEDED: Final = "overtaken: it was told of what came later"


def enqueue(unit: UnitOfWork, message: LocalMessage, now: datetime, by: Actor) -> int | None:
    """Put a message to the local system into the outbox; return its row if it may be sent at once.

    None: an earlier message about the same copy or card is still unsent, so the courier sends this one later; its request is
    flagged until then. Messages behind a dead letter do not count as earlier. A caller that sends at once reports the outcome
    (`mark_delivered`, `mark_undelivered`, `mark_refused`); if the gateway ends first, the row is retried after a minute as
    possibly delivered.
    """
    first = next(iter(_rows(unit, message.ordering_key)), None)
    before = first is not None and first.state in WAITING
    if before:
        unit.outbox.put(LocalSend(message.send), message, by.corr, now)
        _flag(unit, message, now, by, delivered=False)
        return None
    return _put_inline(unit, message, now, by)


def _put_inline(unit: UnitOfWork, message: LocalMessage, now: datetime, by: Actor) -> int:
    """Put a message into the outbox that its caller sends now; return its row."""
    unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    number = _rows(unit, message.ordering_key)[-1].id
    unit.outbox.claim_inline(number, now + INLINE_TIME)
    return number


def begin_transaction(unit: UnitOfWork, check: LocalMessage, now: datetime, by: Actor) -> int | None:
    """Record a transaction of the local system's own before it is sent; return the row of its `check`.

    If the gateway ends before the answer, the courier looks it up. Unsent messages about the same copy are deferred meanwhile.
    None, and it may not be sent: one of these is being delivered now, or the same payment is still without an answer. The
    caller reports the outcome (`end_transaction`, `mark_undelivered`).
    """
    open_rows = _rows(unit, check.ordering_key)
    if check.send == LocalSend.CHECK_ILS_PAYMENT and open_rows:
        return None
    waiting = [row.id for row in open_rows if row.state in WAITING]
    if not all(unit.outbox.defer(row, now + INLINE_TIME, now) for row in waiting):
        return None
    return _put_inline(unit, check, now, by)


def end_transaction(unit: UnitOfWork, number: int, check: LocalMessage, done: bool, now: datetime, by: Actor) -> None:
    """Forget the check of a transaction that was answered, or never sent: readers' local loans are not kept here.

    `done`: the local system did it, which supersedes the unsent messages about the same copy.
    """
    unit.outbox.forget(number)
    if done:
        _supersede(unit, _rows(unit, check.ordering_key), now, by)


def mark_delivered(unit: UnitOfWork, number: int, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Mark an immediate delivery as sent, and supersede earlier unsent messages about the same copy or card."""
    unit.outbox.sent(number, now)
    _supersede(unit, [row for row in _rows(unit, message.ordering_key) if row.id < number], now, by)


def mark_undelivered(unit: UnitOfWork, number: int, message: LocalMessage, unsure: bool, now: datetime, by: Actor) -> None:
    """Leave a message to the courier after an immediate delivery failed, and flag its request until it is delivered.

    `unsure`: it was sent and not answered. A check that a later transaction superseded meanwhile is made all the same: which of
    the two was executed last is unknown.
    """
    if not unit.outbox.release_inline(number, now, unsure=unsure) and message.send in CHECKS:
        unit.outbox.put(LocalSend(message.send), message, by.corr, now)
    _flag(unit, message, now, by, delivered=False)


def mark_refused(unit: UnitOfWork, number: int | None, message: LocalMessage, now: datetime, by: Actor) -> None:
    """Close a message that the local system refused, and flag its request for staff. It is not retried."""
    if number is not None:
        unit.outbox.close(number, OutboxState.DROPPED, "refused there", now)
    _flag(unit, message, now, by, delivered=False)


def _supersede(unit: UnitOfWork, rows: Iterable[OutboxRow], now: datetime, by: Actor) -> None:
    for row in rows:
        if unit.outbox.close(row.id, OutboxState.DONE, SUPERSEDED, now) and isinstance(row.payload, LocalMessage):
            _flag(unit, row.payload, now, by, delivered=True)


def _rows(unit: UnitOfWork, key: str) -> tuple[OutboxRow, ...]:
    return unit.outbox.rows(partner=ILS_RECIPIENT, request=key)


def apply_answer(unit: UnitOfWork, message: LocalMessage, answer: DeliveryResult, now: datetime, by: Actor) -> None:
    """Clear the flag of the request after a delivery; it stays after a refusal, or while more about the request is unsent."""
    more = any(row.request == message.request for row in _rows(unit, message.ordering_key))
    _flag(unit, message, now, by, delivered=answer.kind != DeliveryKind.REFUSED and not more)


def _flag(unit: UnitOfWork, message: LocalMessage, now: datetime, by: Actor, *, delivered: bool) -> None:
    request = unit.requests.find(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, StaffFlag.ILS_NOT_TOLD) if delivered else flagged(request, StaffFlag.ILS_NOT_TOLD)
    if flags != request.flags:
        unit.amend(request, now, by, flags=flags)


# ---- Commands about messages to the library's own system: those that it missed, and the transactions of its own.


@dataclass(frozen=True, slots=True)
class EnqueueLocal(Command[None, int | None]):
    """Queues a message. The result is the outbox row to confirm, or None if it must wait for earlier rows."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class BeginTransaction(Command[None, int | None]):
    """Records a transaction of the local system's own before it is sent. The result is its row; None: not to be sent now."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class EndTransaction(Command[None, None]):
    """Forgets the record of a transaction that was answered, or never sent; `done`: the local system did it."""

    number: int
    message: LocalMessage
    by: Actor
    done: bool


@dataclass(frozen=True, slots=True)
class MarkDelivered(Command[None, None]):
    """Marks a message as delivered by its caller."""

    number: int
    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class MarkUndelivered(Command[None, None]):
    """Leaves a message to the courier; `unsure`: it was sent and not answered."""

    number: int
    message: LocalMessage
    by: Actor
    unsure: bool


@dataclass(frozen=True, slots=True)
class MarkRefused(Command[None, None]):
    """Marks a message as refused by the local system; `number` None: it has no row."""

    number: int | None
    message: LocalMessage
    by: Actor

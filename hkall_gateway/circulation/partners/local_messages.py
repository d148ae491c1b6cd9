"""Messages for the local system in the outbox: changes that it missed, and transactions that it did not answer.

A caller that sends at once reports the outcome (`MarkDelivered`, `MarkUndelivered`, `MarkRefused`, `EndTransaction`). If the
gateway ends first, the courier retries the row after a minute as possibly delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from hkall_gateway.circulation.command import Command, Context, flagged, unflagged
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


@dataclass(frozen=True, slots=True)
class EnqueueLocal(Command[None, int | None]):
    """Queue a message. The result is the outbox row to confirm, or None if it must wait for earlier rows."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class BeginTransaction(Command[None, int | None]):
    """Record a transaction of the local system's own before it is sent. The result is its row; None: do not send it now."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class EndTransaction(Command[None, None]):
    """Forget the record of a transaction that was answered, or never sent. `done`: the local system did it."""

    number: int
    message: LocalMessage
    by: Actor
    done: bool


@dataclass(frozen=True, slots=True)
class MarkDelivered(Command[None, None]):
    """Mark a message as delivered by its caller."""

    number: int
    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class MarkUndelivered(Command[None, None]):
    """Leave a message to the courier. `unsure`: it was sent and not answered."""

    number: int
    message: LocalMessage
    by: Actor
    unsure: bool


@dataclass(frozen=True, slots=True)
class MarkRefused(Command[None, None]):
    """Mark a message as refused by the local system. `number` None: it has no row."""

    number: int | None
    message: LocalMessage
    by: Actor


LocalCommand = EnqueueLocal | BeginTransaction | EndTransaction | MarkDelivered | MarkUndelivered | MarkRefused


def enqueue(context: Context, command: EnqueueLocal) -> int | None:
    """Put a message to the local system into the outbox, and return its row if it may be sent at once.

    None means that an earlier message about the same copy or card is still unsent, so that the courier sends this one later.
    Its request is flagged until then. Messages behind a dead letter do not count as earlier.
    """
    message = command.message
    first = next(iter(_unsent_rows(context.unit, message)), None)
    if first is None or first.state not in WAITING:
        return _put_inline(context, command)
    context.unit.outbox.put(LocalSend(message.send), message, command.by.corr, context.now)
    _flag_request(context, message, command.by, delivered=False)
    return None


def _put_inline(context: Context, command: EnqueueLocal | BeginTransaction) -> int:
    """Put a message that its caller sends now into the outbox, and return its row."""
    outbox, message = context.unit.outbox, command.message
    outbox.put(LocalSend(message.send), message, command.by.corr, context.now)
    number = _unsent_rows(context.unit, message)[-1].id
    outbox.claim_inline(number, context.now + INLINE_TIME)
    return number


def begin_transaction(context: Context, command: BeginTransaction) -> int | None:
    """Record a transaction of the local system's own before it is sent, and return the row of its check.

    If the gateway ends before the answer, the courier looks it up. Unsent messages about the same copy are deferred meanwhile.
    None means that it may not be sent: one of these is being delivered now, or the same payment is still without an answer.
    """
    open_rows = _unsent_rows(context.unit, command.message)
    if command.message.send == LocalSend.CHECK_ILS_PAYMENT and open_rows:
        return None
    waiting = [row.id for row in open_rows if row.state in WAITING]
    if not all(context.unit.outbox.defer(row, context.now + INLINE_TIME, context.now) for row in waiting):
        return None
    return _put_inline(context, command)


def end_transaction(context: Context, command: EndTransaction) -> None:
    """Forget the check of a transaction that was answered, or never sent. Local loans are not kept here.

    A transaction that was done supersedes the unsent messages about the same copy.
    """
    context.unit.outbox.forget(command.number)
    if command.done:
        _supersede(context, _unsent_rows(context.unit, command.message), command.by)


def mark_delivered(context: Context, command: MarkDelivered) -> None:
    """Mark an immediate delivery as sent, and supersede earlier unsent messages about the same copy or card."""
    context.unit.outbox.mark_sent(command.number, context.now)
    _supersede(context, [row for row in _unsent_rows(context.unit, command.message) if row.id < command.number], command.by)


def mark_undelivered(context: Context, command: MarkUndelivered) -> None:
    """Leave a message to the courier after an immediate delivery failed, and flag its request until it is delivered.

    A check that a later transaction superseded meanwhile is made all the same, since which of the two was executed last is
    unknown.
    """
    outbox, message = context.unit.outbox, command.message
    if not outbox.release_inline(command.number, context.now, unsure=command.unsure) and message.send in CHECKS:
        outbox.put(LocalSend(message.send), message, command.by.corr, context.now)
    _flag_request(context, message, command.by, delivered=False)


def mark_refused(context: Context, command: MarkRefused) -> None:
    """Close a message that the local system refused, and flag its request for staff. It is not retried."""
    if command.number is not None:
        context.unit.outbox.close(command.number, OutboxState.DROPPED, "refused there", context.now)
    _flag_request(context, command.message, command.by, delivered=False)


def _supersede(context: Context, rows: Iterable[OutboxRow], by: Actor) -> None:
    for row in rows:
        closed = context.unit.outbox.close(row.id, OutboxState.DONE, SUPERSEDED, context.now)
        if closed and isinstance(row.payload, LocalMessage):
            _flag_request(context, row.payload, by, delivered=True)


def _unsent_rows(unit: UnitOfWork, message: LocalMessage) -> tuple[OutboxRow, ...]:
    """Return the unsent messages about the same copy or card."""
    return unit.outbox.rows(partner=ILS_RECIPIENT, request=message.ordering_key)


def apply_answer(context: Context, message: LocalMessage, answer: DeliveryResult, by: Actor) -> None:
    """Clear the flag of the request after a delivery. It stays after a refusal, or while more about it is unsent."""
    more = any(row.request == message.request for row in _unsent_rows(context.unit, message))
    _flag_request(context, message, by, delivered=answer.kind != DeliveryKind.REFUSED and not more)


def _flag_request(context: Context, message: LocalMessage, by: Actor, *, delivered: bool) -> None:
    request = context.unit.requests.find(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, StaffFlag.ILS_NOT_TOLD) if delivered else flagged(request, StaffFlag.ILS_NOT_TOLD)
    if flags != request.flags:
        context.unit.amend(request, context.now, by, flags=flags)

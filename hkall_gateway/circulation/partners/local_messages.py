"""Outbox messages for the local system: changes that it missed, and transactions that it did not answer.

A caller that sends a message at once reports the outcome (`MarkDelivered`, `MarkUndelivered`, `MarkRefused`, `EndTransaction`).
If the gateway stops before that, the courier retries the row after a minute as possibly delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.circulation.command import Command, Context, flagged, unflagged
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.outbox import WAITING, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.messages.outbox_messages import CHECKS, ILS_RECIPIENT, LocalMessage, LocalSend
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState, StaffFlag
from hkall_gateway.rules.vocabulary import Actor

INLINE_TIME: Final = timedelta(seconds=60)
"""Time during which the courier leaves a row to the caller that delivers it. It exceeds every timeout for an answer."""
LATE_EXECUTION: Final = timedelta(seconds=60)
"""Default for how long after an unanswered message the local system may still carry it out (`[ils] late_execution_s`)."""
LOANS: Final = frozenset({LocalSend.TELL_ILS_LENT, LocalSend.CHECK_ILS_LOAN})
"""Messages after which the item is lent to the message's patron. After any other message about an item, it is not on loan."""
SUPERSEDED: Final = "overtaken: it was told of what came later"


@dataclass(frozen=True, slots=True)
class EnqueueLocal(Command[None, int | None]):
    """Queue a message. The result is the outbox row to confirm, or None if the message must wait for earlier rows."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class TakeOffline(Command[None, int | None]):
    """Take a transaction that a terminal has already carried out off line. The result is that of `EnqueueLocal`.

    Unlike an event that has happened in the gateway, it has no effect after its deadline: the terminal then sends it again.
    """

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class BeginTransaction(Command[None, int | None]):
    """Record a transaction of the local system before sending it. The result is its row, or None if it must not be sent."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTransaction(Command[None, None]):
    """Delete the record of a transaction that was answered or never sent.

    Attributes:
        done: Whether the local system executed it.
        late: How long after an unanswered message the local system may still carry it out.
    """

    number: int
    message: LocalMessage
    by: Actor
    done: bool
    late: timedelta = LATE_EXECUTION


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDelivered(Command[None, None]):
    """Mark a message as delivered by its caller. `late` is that of `EndTransaction`."""

    number: int
    message: LocalMessage
    by: Actor
    late: timedelta = LATE_EXECUTION


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUndelivered(Command[None, None]):
    """Leave a message to the courier. `unsure` means that the message was sent but not answered."""

    number: int
    message: LocalMessage
    by: Actor
    unsure: bool


@dataclass(frozen=True, slots=True)
class MarkRefused(Command[None, None]):
    """Mark a message as refused by the local system. `number` is None if it has no outbox row."""

    number: int | None
    message: LocalMessage
    by: Actor


LocalCommand = EnqueueLocal | TakeOffline | BeginTransaction | EndTransaction | MarkDelivered | MarkUndelivered | MarkRefused


def enqueue(context: Context, command: EnqueueLocal | TakeOffline) -> int | None:
    """Put a message to the local system into the outbox, and return its row if it may be sent at once.

    None means that an earlier message about the same copy or card is still unsent, so the courier sends this message later.
    The message's request is flagged until then. An earlier dead letter does not block the message.
    """
    message = command.message
    first = next(iter(_unsent_rows(context.unit, message)), None)
    if first is None or first.state not in WAITING:
        return _put_inline(context, command)
    context.unit.outbox.put(LocalSend(message.send), message, command.by.corr, context.now)
    _flag_request(context, message, command.by, delivered=False)
    return None


def _put_inline(context: Context, command: EnqueueLocal | TakeOffline | BeginTransaction) -> int:
    """Queue a message that the caller is about to send, claim it for the caller, and return its row."""
    outbox, message = context.unit.outbox, command.message
    outbox.put(LocalSend(message.send), message, command.by.corr, context.now)
    number = _unsent_rows(context.unit, message)[-1].id
    outbox.claim_inline(number, context.now + INLINE_TIME)
    return number


def begin_transaction(context: Context, command: BeginTransaction) -> int | None:
    """Record a transaction of the local system before sending it, and return the outbox row of its check.

    If the gateway stops before the answer, the courier checks whether the transaction was executed. Until then, unsent messages
    about the same copy are deferred. None means that the transaction must not be sent, because a message about the same copy is
    being delivered now, or the same payment has no answer yet.
    """
    open_rows = _unsent_rows(context.unit, command.message)
    if command.message.send == LocalSend.CHECK_ILS_PAYMENT and open_rows:
        return None
    waiting = [row.id for row in open_rows if row.state in WAITING]
    if not all(context.unit.outbox.defer(row, context.now + INLINE_TIME, context.now) for row in waiting):
        return None
    return _put_inline(context, command)


def end_transaction(context: Context, command: EndTransaction) -> None:
    """Delete the check of a transaction that was answered or never sent. HKALL does not store local loans.

    An executed transaction supersedes the unsent messages about the same copy.
    """
    context.unit.outbox.forget(command.number)
    if command.done:
        _supersede(context, _unsent_rows(context.unit, command.message), command)


def mark_delivered(context: Context, command: MarkDelivered) -> None:
    """Mark an immediate delivery as sent, and supersede earlier unsent messages about the same copy or card."""
    context.unit.outbox.mark_sent(command.number, context.now)
    earlier = [row for row in _unsent_rows(context.unit, command.message) if row.id < command.number]
    _supersede(context, earlier, command)


def mark_undelivered(context: Context, command: MarkUndelivered) -> None:
    """Leave a message to the courier after an immediate delivery failed, and flag its request until it is delivered.

    If a later transaction has superseded a check, the check is queued anyway: nobody knows which of the two was executed last.
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


def _supersede(context: Context, rows: Iterable[OutboxRow], answered: EndTransaction | MarkDelivered) -> None:
    """Close the messages that an answered one has made pointless.

    The local system may still carry out an unanswered one of them, after the answered one: a book would be charged that lies
    in the drop. Therefore the item is looked up once that is no longer possible.
    """
    last_sent: datetime | None = None
    for row in rows:
        sent_at = _unanswered_since(context.unit, row)
        closed = context.unit.outbox.close(row.id, OutboxState.DONE, SUPERSEDED, context.now)
        if closed and isinstance(row.payload, LocalMessage):
            _flag_request(context, row.payload, answered.by, delivered=True)
        if closed and sent_at is not None:
            last_sent = max(sent_at, last_sent or sent_at)
    if last_sent is not None and last_sent + answered.late > context.now:
        _check_copy_later(context, answered, last_sent)


def _unanswered_since(unit: UnitOfWork, row: OutboxRow) -> datetime | None:
    """Return when a message about an item was sent last, if it was not answered. Return None for any other message."""
    message = row.payload
    if not isinstance(message, LocalMessage) or not message.barcode:
        return None
    if row.send is LocalSend.CHECK_ILS_COPY:
        return message.at
    if row.state != OutboxState.UNSURE:
        return None
    tries = [attempt.at for attempt in unit.outbox.attempts(row.id) if attempt.kind == DeliveryKind.UNKNOWN]
    return max([row.made_at, *tries])


def _check_copy_later(context: Context, answered: EndTransaction | MarkDelivered, last_sent: datetime) -> None:
    """Look an item up after the last moment at which an unanswered message, sent at `last_sent`, can be carried out."""
    outbox, message = context.unit.outbox, answered.message
    holder = message.patron if message.send in LOANS else ""
    check = replace(message, send=LocalSend.CHECK_ILS_COPY.value, at=last_sent, request="", patron=holder, was_in=False)
    outbox.put(LocalSend.CHECK_ILS_COPY, check, answered.by.corr, context.now)
    number = _unsent_rows(context.unit, message)[-1].id
    outbox.defer(number, last_sent + answered.late, context.now)


def _unsent_rows(unit: UnitOfWork, message: LocalMessage) -> tuple[OutboxRow, ...]:
    """Return the unsent messages about the same copy or card."""
    return unit.outbox.rows(partner=ILS_RECIPIENT, request=message.ordering_key)


def apply_answer(context: Context, message: LocalMessage, answer: DeliveryResult, by: Actor) -> None:
    """Clear the request's flag after a delivery, but not after a refusal or while other messages about it are unsent."""
    more = any(row.request == message.request for row in _unsent_rows(context.unit, message))
    _flag_request(context, message, by, delivered=answer.kind != DeliveryKind.REFUSED and not more)


def _flag_request(context: Context, message: LocalMessage, by: Actor, *, delivered: bool) -> None:
    request = context.unit.requests.find(message.request) if message.request else None
    if request is None or request.position in FINAL:
        return
    flags = unflagged(request, StaffFlag.ILS_NOT_TOLD) if delivered else flagged(request, StaffFlag.ILS_NOT_TOLD)
    if flags != request.flags:
        context.unit.amend(request, context.now, by, flags=flags)

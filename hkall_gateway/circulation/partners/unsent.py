"""Staff decisions about undeliverable messages, bounced letters and quarantined documents.

The command line and the console use the same functions. A bounced letter has already left the outbox:

    retry   the letter is sent again, to the patron's current address
    done    the patron was informed by other means; the pickup period starts today (R14)
    drop    the patron is not informed, and the request continues unchanged (R42)

An undeliverable message affects its request as follows. The NCIP reference leaves these effects open:

    undelivered message    done by other means                     dropped
    request to a lender    the request waits for that lender       the next lender is asked, and this one gets CANCEL if needed
    cancellation           the lender knows: cancelled             cancelled; a copy that still comes is an orphan copy
    renewal request        the lender agreed to the date asked     the loan is not renewed
    pickup letter          the pickup period starts today          the pickup period counts from the arrival
    all others             no effect                               no effect: `reconcile` shows the difference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.choosing import give_up_on
from hkall_gateway.circulation.command import Command, Context, question
from hkall_gateway.circulation.partners import deliveries
from hkall_gateway.circulation.results import DeliveryResult, Noted, Refused
from hkall_gateway.db import quarantine
from hkall_gateway.db.outbox import Attempt, NewerRow, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, policy
from hkall_gateway.rules.lender_reasons import DROPPED
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, PartnerMessage, PatronNotice, is_letter
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState, OutboxState, QuarantineState
from hkall_gateway.rules.vocabulary import Actor, Position

RETRY, DONE, DROP = "retry", "done", "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle(Command[None, Noted]):
    """Settle an unsent message, an undelivered letter or a quarantined document, by its number.

    `kind` and `how` are a key of JUDGEMENTS. The registry fills in the message's `request` and `line` (channel).
    """

    by: Actor
    number: int
    reason: str = ""
    kind: str = ""
    how: str = ""
    request: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class MarkReplayed(Command[None, Noted]):
    """Record that a quarantined document was replayed."""

    by: Actor
    number: int
    reason: str = ""


def retry(context: Context, command: Settle) -> Noted | Refused:
    """Send a message again at once, with no attempts counted so far, even if its channel is paused."""
    unit = context.unit
    row = unit.outbox.row(command.number)
    if row is None or not unit.outbox.retry(command.number, context.now):
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    unit.circuits.keep(replace(unit.circuits.find(row.line), rests_until=None))
    return _journal_message(context, row, "OUTBOX_RETRIED", "", command.by)


def done(context: Context, command: Settle) -> Noted | Refused:
    """Settle a message as handled by telephone or mail. The request continues as if the partner had accepted it."""
    row = _close_row(context, command, OutboxState.DONE)
    if isinstance(row, Refused):
        return row
    result = _journal_message(context, row, "OUTBOX_DONE", command.reason, command.by)
    is_letter = isinstance(row.payload, PatronNotice)
    accepted = _by_hand(context) if is_letter else DeliveryResult(kind=DeliveryKind.ACCEPTED, detail="by hand")
    deliveries.apply_answer(context, row, accepted, command.by)
    return result


def drop(context: Context, command: Settle) -> Noted | Refused:
    """Drop a message. The request continues without it."""
    try:
        row = _close_row(context, command, OutboxState.DROPPED)
    except NewerRow:
        return _drop_unreadable(context, command)
    if isinstance(row, Refused):
        return row
    result = _journal_message(context, row, "OUTBOX_DROPPED", command.reason, command.by)
    if effect := _DROPPED.get(row.send.value):
        effect(context, row, command.by)
    return result


def _drop_unreadable(context: Context, command: Settle) -> Noted | Refused:
    """Drop a row that this version cannot read. The request does not change: `reconcile` shows the difference."""
    unit, number, reason = context.unit, command.number, command.reason
    if not reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    if not unit.outbox.close(number, OutboxState.DROPPED, reason, context.now):
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    request = unit.requests.find(unit.outbox.request_of(number))
    if request is not None:
        unit.note(request, "OUTBOX_DROPPED", {"outbox": number, "reason": reason}, context.now, command.by)
    return Noted(request=request.id if request else "", note="outbox_dropped")


def _close_row(context: Context, command: Settle, state: OutboxState) -> OutboxRow | Refused:
    row = context.unit.outbox.row(command.number)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    if row is None or not context.unit.outbox.close(command.number, state, command.reason, context.now):
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    return row


def _journal_message(context: Context, row: OutboxRow, event: str, reason: str, by: Actor) -> Noted:
    request = context.unit.requests.find(row.request)
    if request is not None:
        facts = {"outbox": row.id, "send": row.send.value, "recipient": row.line, "state": row.state, "reason": reason}
        context.unit.note(request, event, facts, context.now, by)
    return Noted(request=row.request, note=event.lower())


def _by_hand(context: Context, detail: str = "") -> DeliveryResult:
    """Create the result of a letter delivered by hand: the pickup period starts today (R14)."""
    today = dates.civil(context.now)
    last = policy.pickup_last(today, context.library.policy, closed_days(context))
    return DeliveryResult(kind=DeliveryKind.ACCEPTED, detail=detail, sent_on=today, last_day=last)


def _drop_request(context: Context, row: OutboxRow, by: Actor) -> None:
    """Ask the next lender. If the dropped request may have arrived, cancel it, because otherwise two lenders might ship."""
    request = context.unit.requests.find(row.request)
    if request is None or not isinstance(row.payload, PartnerMessage) or request.wire_id != row.payload.wire_id:
        return
    if request.position is Position.REQUESTED and may_have_arrived(context.unit, row):
        give_up_on(context, request, by)
    else:
        deliveries.note_never_arrived(context, row, by, row.last_error, DROPPED)


def _as_if_answered(kind: DeliveryKind) -> Callable[[Context, OutboxRow, Actor], None]:
    """Create the effect of dropping a message: the request continues as if the partner had answered with `kind`."""
    answer = DeliveryResult(kind=kind, detail="dropped by staff")
    return lambda context, row, by: deliveries.apply_answer(context, row, answer, by)


def _note_unsent_letter(context: Context, row: OutboxRow, _by: Actor) -> None:
    """Record a dropped letter. One that may have arrived is unsure, so that a later correction is sent too."""
    if isinstance(row.payload, PatronNotice):
        state = NoticeState.UNSURE if may_have_arrived(context.unit, row) else NoticeState.DROPPED
        context.unit.notices.set_state(row.payload.notice, state, row.last_error, context.now)


def may_have_arrived(unit: UnitOfWork, row: OutboxRow) -> bool:
    """Check whether any attempt to deliver the message ended with an unknown outcome."""
    return row.state == OutboxState.UNSURE or any(one.kind == DeliveryKind.UNKNOWN for one in unit.outbox.attempts(row.id))


# fmt: off
_DROPPED: Mapping[str, Callable[[Context, OutboxRow, Actor], None]] = {
    Notification.ASK_LENDER:            _drop_request,
    Notification.CANCEL_AT_LENDER:      _as_if_answered(DeliveryKind.ACCEPTED),
    Notification.ASK_LENDER_TO_RENEW:   _as_if_answered(DeliveryKind.REFUSED),
    **{send: _note_unsent_letter for send in Notification if is_letter(send)},
}
# fmt: on


_WORDS: Mapping[Notification, tuple[str, str]] = {
    Notification.ASK_LENDER: ("the request waits for this lender's copy", "the next lender is asked"),
    Notification.CANCEL_AT_LENDER: ("the request is cancelled", "the request is cancelled; a copy that comes is sent home"),
    Notification.ASK_LENDER_TO_RENEW: ("the loan is renewed as asked", "the loan is not renewed"),
    Notification.ASK_LENDER_LATER_DATE: ("the lender expects the book on the patron's date", "its own date stays"),
    Notification.LETTER_PICKUP: ("the days to collect count from today", "they count from the day of arrival"),
}
_LOCAL = ("its flag is taken away", "nothing more; the local system does not know")
_ELSE = ("nothing more", "nothing more; the partner does not know")


def effects(row: OutboxRow) -> tuple[str, str]:
    """Describe what `done` and `drop` would do to the request."""
    return _LOCAL if isinstance(row.payload, LocalMessage) else _WORDS.get(Notification(row.send), _ELSE)


Judgement = Callable[[Context, Settle], Noted | Refused]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentMessage:
    """An outbox message with its delivery attempts, and the effects of `done` and `drop`.

    `partner` is the recipient, or None for a letter, for the local system, or for a library that has left the directory.
    """

    row: OutboxRow
    tries: tuple[Attempt, ...]
    if_done: str
    if_dropped: str
    may_have_arrived: bool
    partner: Partner | None


@question
def list_unsent(context: Context, states: tuple[OutboxState, ...], after: int = 0, most: int = 50) -> tuple[UnsentMessage, ...]:
    """Return messages in these states with numbers after `after`, in order."""
    rows = context.unit.outbox.rows(states=states, after=after, most=most)
    return tuple(_in_full(context.unit, row) for row in rows)


@question
def find_unsent(context: Context, number: int) -> UnsentMessage | None:
    """Return the outbox message with this number in any state, or None."""
    row = context.unit.outbox.row(number)
    return _in_full(context.unit, row) if row else None


def _in_full(unit: UnitOfWork, row: OutboxRow) -> UnsentMessage:
    if_done, if_dropped = effects(row)
    return UnsentMessage(
        row=row,
        tries=unit.outbox.attempts(row.id),
        if_done=if_done,
        if_dropped=if_dropped,
        may_have_arrived=may_have_arrived(unit, row),
        partner=unit.partners.find(row.recipient),
    )


def with_message(unit: UnitOfWork, command: Settle) -> Settle:
    """Add the message's request and channel to the command, so that they can be locked."""
    try:
        row = unit.outbox.row(command.number)
    except NewerRow:  # its columns can be read, although its message cannot
        return replace(command, request=unit.outbox.request_of(command.number))
    if row is None:
        return command
    return replace(command, request=row.request, line=row.line)


def _write_again(context: Context, command: Settle) -> Noted | Refused:
    row = _find_letter(context.unit, command.number)
    if row is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    context.unit.outbox.put(row.send, row.payload, command.by.corr, context.now)
    context.unit.notices.set_state(command.number, NoticeState.QUEUED, "", context.now)
    return _journal_letter(context, command, row, "LETTER_RETRIED")


def _letter_done(context: Context, command: Settle) -> Noted | Refused:
    row = _find_letter_to_close(context, command)
    if isinstance(row, Refused):
        return row
    result = _journal_letter(context, command, row, "LETTER_DONE")
    deliveries.record_letter_result(context, row, _by_hand(context, "by hand"), command.by)
    return result


def _drop_letter(context: Context, command: Settle) -> Noted | Refused:
    row = _find_letter_to_close(context, command)
    if isinstance(row, Refused):
        return row
    context.unit.notices.set_state(command.number, NoticeState.DROPPED, command.reason, context.now)
    return _journal_letter(context, command, row, "LETTER_DROPPED")


def _find_letter_to_close(context: Context, command: Settle) -> OutboxRow | Refused:
    """Find the letter that the command closes. Refuse a letter that is settled, and a command without a reason."""
    row = _find_letter(context.unit, command.number)
    if row is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    return row


def _find_letter(unit: UnitOfWork, number: int) -> OutboxRow | None:
    """Find the last outbox message of an undelivered letter. Return None if the letter is settled or the message is deleted."""
    found = unit.notices.find(number)
    if found is None or found.state != NoticeState.UNDELIVERABLE:
        return None
    rows = unit.outbox.rows(request=found.request, states=tuple(OutboxState))
    mine = [row for row in rows if isinstance(row.payload, PatronNotice) and row.payload.notice == number]
    return mine[-1] if mine else None


def _journal_letter(context: Context, command: Settle, row: OutboxRow, event: str) -> Noted:
    request = context.unit.requests.find(row.request)
    if request is not None:
        facts = {"letter": command.number, "send": row.send.value, "reason": command.reason}
        context.unit.note(request, event, facts, context.now, command.by, rule="R42")
    return Noted(request=row.request, note=event.lower())


def mark_replayed(context: Context, command: MarkReplayed) -> Noted | Refused:
    """Record that a quarantined document was replayed."""
    return _settle_document(context, command, QuarantineState.REPLAYED)


def _settle_document(context: Context, command: Settle | MarkReplayed, state: QuarantineState) -> Noted | Refused:
    if not command.reason.strip():
        return context.refuse(Reason.REASON_NEEDED, command.by)
    if not quarantine.settle(context.unit, command.number, state, command.by.who, command.reason):
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    return Noted(request="", note=state)


def _drop_document(context: Context, command: Settle) -> Noted | Refused:
    return _settle_document(context, command, QuarantineState.DROPPED)


# fmt: off
JUDGEMENTS: Final[Mapping[tuple[str, str], Judgement]] = MappingProxyType({
    ("outbox",     RETRY): retry,
    ("outbox",     DONE):  done,
    ("outbox",     DROP):  drop,
    ("letters",    RETRY): _write_again,
    ("letters",    DONE):  _letter_done,
    ("letters",    DROP):  _drop_letter,
    ("quarantine", DROP):  _drop_document,
})
"""Handlers by kind of item and decision. Quarantined documents are replayed by the NCIP layer, not here."""
# fmt: on


def settle(context: Context, command: Settle) -> Noted | Refused:
    """Run the handler from JUDGEMENTS. Raises KeyError for an unknown combination."""
    return JUDGEMENTS[command.kind, command.how](context, command)

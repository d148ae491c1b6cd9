"""Settles, by a decision of staff, messages given up, letters that came back, and documents in the quarantine.

The same functions serve the command line and the console. A letter that came back has left the outbox:

    retry   the letter is written again, to the address that the patron has now
    done    the patron was told by other means; days to collect count from today (R14)
    drop    the patron is not to be told; its request goes on as before (R42)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.borrowing import give_up_on
from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.partners import deliveries
from hkall_gateway.circulation.results import DeliveryResult, Noted, Refused
from hkall_gateway.db import quarantine
from hkall_gateway.db.outbox import Attempt, NewerRow, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, policy
from hkall_gateway.rules.lender_reasons import DROPPED
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, PartnerMessage, PatronNotice, is_letter
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState, OutboxState, QuarantineState
from hkall_gateway.rules.vocabulary import Actor, Partner, Position


@dataclass(frozen=True, slots=True)
class Settle(Command[None, Noted]):
    """The settlement of an unsent message, an undelivered letter or a document in the quarantine, by its number.

    `kind` and `how` are a row of `partners.unsent.JUDGEMENTS`. `request` and `line` are those of the message, which the row of
    the registry finds.
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
    """Records that a document of the quarantine was heard again."""

    by: Actor
    number: int
    reason: str = ""


# ---- Messages that could not be delivered: retry, done by other means, or drop, and the effect on the request.
# The effects are decided here, since the reference leaves them open:
#
#     undelivered message    done by other means                     dropped
#     request to a lender    the request waits for that lender       the next lender; CANCEL to this one if it may have it
#     cancellation           the lender knows: cancelled             cancelled; a copy that still comes is an orphan copy
#     renewal request        the lender agreed to the date asked     the loan is not renewed
#     pickup letter          days to collect count from today        days to collect count from the arrival
#     all others             no effect                               no effect: `reconcile` shows the difference


P = Position


def retry(unit: UnitOfWork, number: int, by: Actor, now: datetime) -> Noted | Refused:
    """Send the message again at once, with a fresh count of attempts, even if its channel is paused."""
    row = unit.outbox.row(number)
    if row is None or not unit.outbox.retry(number, now):
        return Refused(Reason.UNKNOWN_REQUEST)
    unit.circuits.keep(replace(unit.circuits.one(row.line), rests_until=None))
    return _journalled(unit, row, "OUTBOX_RETRIED", "", by, now)


def done(context: Context, number: int, reason: str, by: Actor) -> Noted | Refused:
    """Settle the message as done by telephone or mail: the request goes on as if the partner had accepted it."""
    row = _closed(context.unit, number, OutboxState.DONE, reason, context.now)
    if isinstance(row, Refused):
        return row
    outcome = _journalled(context.unit, row, "OUTBOX_DONE", reason, by, context.now)
    deliveries.apply_answer(context, row, _taken(context, row), by)
    return outcome


def drop(context: Context, number: int, reason: str, by: Actor) -> Noted | Refused:
    """Settle the message as dropped: the request goes on without it."""
    try:
        row = _closed(context.unit, number, OutboxState.DROPPED, reason, context.now)
    except NewerRow:
        return _drop_unreadable(context, number, reason, by)
    if isinstance(row, Refused):
        return row
    outcome = _journalled(context.unit, row, "OUTBOX_DROPPED", reason, by, context.now)
    _DROPPED.get(row.send.value, _nothing)(context, row, by)
    return outcome


def _drop_unreadable(context: Context, number: int, reason: str, by: Actor) -> Noted | Refused:
    """Settle a row that cannot be read. It has no effect on the request: `reconcile` shows the difference."""
    unit = context.unit
    if not reason.strip():
        return Refused(Reason.REASON_NEEDED)
    if not unit.outbox.close(number, OutboxState.DROPPED, reason, context.now):
        return Refused(Reason.UNKNOWN_REQUEST)
    request = unit.requests.find(unit.outbox.request_of(number))
    if request is not None:
        unit.note(request, "OUTBOX_DROPPED", {"outbox": number, "reason": reason}, context.now, by)
    return Noted(request.id if request else "", note="outbox_dropped")


def _closed(unit: UnitOfWork, number: int, state: OutboxState, reason: str, now: datetime) -> OutboxRow | Refused:
    row = unit.outbox.row(number)
    if not reason.strip():
        return Refused(Reason.REASON_NEEDED)
    if row is None or not unit.outbox.close(number, state, reason, now):
        return Refused(Reason.UNKNOWN_REQUEST)
    return row


def _journalled(unit: UnitOfWork, row: OutboxRow, event: str, reason: str, by: Actor, now: datetime) -> Noted:
    request = unit.requests.find(row.request)
    if request is not None:
        facts = {"outbox": row.id, "send": row.send.value, "recipient": row.line, "state": row.state, "reason": reason}
        unit.note(request, event, facts, now, by)
    return Noted(row.request, note=event.lower())


def _taken(context: Context, row: OutboxRow) -> DeliveryResult:
    """The answer that the recipient would have given; a letter delivered by hand counts its days from today (R14)."""
    if not isinstance(row.payload, PatronNotice):
        return DeliveryResult(DeliveryKind.ACCEPTED, detail="by hand")
    today = dates.civil(context.now)
    last = policy.pickup_last(today, context.library.policy, closed_days(context.unit, context.library))
    return DeliveryResult(DeliveryKind.ACCEPTED, sent_on=today, last_day=last)


# ---- effects of dropping


def _no_request(context: Context, row: OutboxRow, by: Actor) -> None:
    """Ask the next lender. One that may have the request gets a cancellation, or two might ship."""
    request = context.unit.requests.find(row.request)
    if request is None or not isinstance(row.payload, PartnerMessage) or request.wire_id != row.payload.wire_id:
        return
    if request.position is P.REQUESTED and may_have_arrived(context.unit, row):
        give_up_on(context, request, by)
    else:
        deliveries.never_arrived(context, row, by, row.last_error, DROPPED)


def _no_withdrawal(context: Context, row: OutboxRow, by: Actor) -> None:
    deliveries.apply_answer(context, row, DeliveryResult(DeliveryKind.ACCEPTED, detail="dropped by staff"), by)


def _no_renewal(context: Context, row: OutboxRow, by: Actor) -> None:
    deliveries.apply_answer(context, row, DeliveryResult(DeliveryKind.REFUSED, detail="dropped by staff"), by)


def _no_letter(context: Context, row: OutboxRow, _by: Actor) -> None:
    """A letter that may have arrived counts as sent, so that its correction is sent too."""
    if isinstance(row.payload, PatronNotice):
        state = NoticeState.SENT if may_have_arrived(context.unit, row) else NoticeState.DROPPED
        context.unit.notices.set_state(row.payload.notice, state, row.last_error, context.now)


def _nothing(_context: Context, _row: OutboxRow, _by: Actor) -> None:
    """Leaves the request as it is."""


def may_have_arrived(unit: UnitOfWork, row: OutboxRow) -> bool:
    """Whether any attempt to deliver it ended with an unknown outcome."""
    return row.state == OutboxState.UNSURE or any(one.kind == DeliveryKind.UNKNOWN for one in unit.outbox.attempts(row.id))


# fmt: off
_DROPPED: Mapping[str, Callable[[Context, OutboxRow, Actor], None]] = {
    Notification.ASK_LENDER:            _no_request,
    Notification.CANCEL_AT_LENDER:      _no_withdrawal,
    Notification.ASK_LENDER_TO_RENEW:   _no_renewal,
    **{send: _no_letter for send in Notification if is_letter(send)},
}
# fmt: on


# ---- for people

_WORDS: Mapping[Notification, tuple[str, str]] = {
    Notification.ASK_LENDER: ("the request waits for this lender's copy", "the next lender is asked"),
    Notification.CANCEL_AT_LENDER: ("the request is cancelled", "the request is cancelled; a copy that comes is sent home"),
    Notification.ASK_LENDER_TO_RENEW: ("the loan is renewed as asked", "the loan is not renewed"),
    Notification.ASK_LENDER_LATER_DATE: ("the lender expects the book on the patron's date", "its own date stays"),
    Notification.LETTER_PICKUP: ("the days to collect count from today", "they count from the day of arrival"),
}
_LOCAL = ("its flag is taken away", "nothing more; the local system does not know")
_ELSE = ("nothing more", "nothing more; the partner does not know")


def effects(unit: UnitOfWork, row: OutboxRow) -> dict[str, object]:
    """The effects of `done` and `drop` on the request, in words, and whether the recipient may have the message already."""
    if_done, if_dropped = _LOCAL if isinstance(row.payload, LocalMessage) else _WORDS.get(Notification(row.send), _ELSE)
    return {"if_done": if_done, "if_dropped": if_dropped, "may_have_arrived": may_have_arrived(unit, row)}


RETRY, DONE, DROP = "retry", "done", "drop"
GONE: Final = Refused(Reason.UNKNOWN_REQUEST)
NO_REASON: Final = Refused(Reason.REASON_NEEDED)
EVERY_STATE: Final = tuple(OutboxState)

Judgement = Callable[[Context, Settle], Noted | Refused]


@dataclass(frozen=True, slots=True)
class UnsentMessage:
    """A message of the outbox with its tries, and what `done` and `drop` would bring about.

    `partner` is its recipient, None for a letter, for the local system, and for a library that has left the directory.
    """

    row: OutboxRow
    tries: tuple[Attempt, ...]
    if_done: str
    if_dropped: str
    may_have_arrived: bool
    partner: Partner | None


def unsent(context: Context, states: tuple[OutboxState, ...], after: int = 0, most: int = 50) -> tuple[UnsentMessage, ...]:
    """Return messages in these states by number, after `after`."""
    rows = context.unit.outbox.rows(states=states, after=after, most=most)
    return tuple(_unsent(context.unit, row) for row in rows)


def _unsent(unit: UnitOfWork, row: OutboxRow) -> UnsentMessage:
    would = effects(unit, row)
    told = str(would["if_done"]), str(would["if_dropped"]), bool(would["may_have_arrived"])
    return UnsentMessage(row, unit.outbox.attempts(row.id), *told, unit.partners.find(row.recipient))


def with_message(unit: UnitOfWork, command: Settle) -> Settle:
    """Return the command with the request and the channel of its message, which it locks."""
    row = unit.outbox.row(command.number)
    return replace(command, request=row.request, line=row.line) if row else command


# ---- a message of the outbox


def _retry(context: Context, command: Settle) -> Noted | Refused:
    return retry(context.unit, command.number, command.by, context.now)


def _done(context: Context, command: Settle) -> Noted | Refused:
    return done(context, command.number, command.reason, command.by)


def _drop(context: Context, command: Settle) -> Noted | Refused:
    return drop(context, command.number, command.reason, command.by)


# ---- a letter that came back


def _write_again(context: Context, command: Settle) -> Noted | Refused:
    row = _letter_of(context.unit, command.number)
    if row is None:
        return GONE
    context.unit.outbox.put(row.send, row.payload, command.by.corr, context.now)
    context.unit.notices.set_state(command.number, NoticeState.QUEUED, "", context.now)
    return _journal_letter(context, command, row, "LETTER_RETRIED")


def _told_by_hand(context: Context, command: Settle) -> Noted | Refused:
    row = _letter_of(context.unit, command.number)
    if row is None or not command.reason.strip():
        return GONE if row is None else NO_REASON
    today = dates.civil(context.now)
    last = policy.pickup_last(today, context.library.policy, closed_days(context.unit, context.library))
    outcome = _journal_letter(context, command, row, "LETTER_DONE")
    by_hand = DeliveryResult(DeliveryKind.ACCEPTED, detail="by hand", sent_on=today, last_day=last)
    deliveries.letter_left(context, row, by_hand, command.by)
    return outcome


def _drop_letter(context: Context, command: Settle) -> Noted | Refused:
    row = _letter_of(context.unit, command.number)
    if row is None or not command.reason.strip():
        return GONE if row is None else NO_REASON
    context.unit.notices.set_state(command.number, NoticeState.DROPPED, command.reason, context.now)
    return _journal_letter(context, command, row, "LETTER_DROPPED")


def _letter_of(unit: UnitOfWork, number: int) -> OutboxRow | None:
    """Return the last message of a letter that came back; None if it is settled, or its message is kept no more."""
    found = unit.notices.find(number)
    if found is None or found.state != NoticeState.UNDELIVERABLE:
        return None
    rows = unit.outbox.rows(request=found.request, states=EVERY_STATE)
    mine = [row for row in rows if isinstance(row.payload, PatronNotice) and row.payload.notice == number]
    return mine[-1] if mine else None


def _journal_letter(context: Context, command: Settle, row: OutboxRow, event: str) -> Noted:
    request = context.unit.requests.find(row.request)
    if request is not None:
        facts = {"letter": command.number, "send": row.send.value, "reason": command.reason}
        context.unit.note(request, event, facts, context.now, command.by, rule="R42")
    return Noted(row.request, note=event.lower())


# ---- a document in the quarantine


def mark_replayed(context: Context, command: MarkReplayed) -> Noted | Refused:
    """Record that a document of the quarantine was heard again."""
    return _judged(context, command, QuarantineState.REPLAYED)


def _judged(context: Context, command: Settle | MarkReplayed, state: QuarantineState) -> Noted | Refused:
    if not command.reason.strip():
        return NO_REASON
    if not quarantine.settle(context.unit, command.number, state, command.by.who, command.reason):
        return GONE
    return Noted("", note=state)


def _drop_document(context: Context, command: Settle) -> Noted | Refused:
    return _judged(context, command, QuarantineState.DROPPED)


# fmt: off
JUDGEMENTS: Final[Mapping[tuple[str, str], Judgement]] = MappingProxyType({
    ("outbox",     RETRY): _retry,
    ("outbox",     DONE):  _done,
    ("outbox",     DROP):  _drop,
    ("letters",    RETRY): _write_again,
    ("letters",    DONE):  _told_by_hand,
    ("letters",    DROP):  _drop_letter,
    ("quarantine", DROP):  _drop_document,
})
"""What a person may say, by the kind of what was not told. A document is heard again by NCIP, not by the desk."""
# fmt: on


def settle(context: Context, command: Settle) -> Noted | Refused:
    """Carry out a judgement of JUDGEMENTS. Raises KeyError for another one."""
    return JUDGEMENTS[command.kind, command.how](context, command)

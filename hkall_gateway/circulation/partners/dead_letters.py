"""How staff settle messages that could not be delivered: retry, done by other means, or drop; and the effect on the request.

The effects are decided here, since the reference leaves them open:

    undelivered message    done by other means                     dropped
    request to a lender    the request waits for that lender       the next lender; CANCEL to this one if it may have it
    cancellation           the lender knows: cancelled             cancelled; a copy that still comes is an orphan copy
    renewal request        the lender agreed to the date asked     the loan is not renewed
    pickup letter          days to collect count from today        days to collect count from the arrival
    all others             no effect                               no effect: `reconcile` shows the difference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from hkall_gateway.circulation.borrowing import give_up_on
from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.common.counts import closed_days
from hkall_gateway.circulation.messages.results import DeliveryResult, Noted, Outcome, Refused
from hkall_gateway.circulation.partners import deliveries
from hkall_gateway.db.outbox import NewerRow, OutboxRow
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates, policy
from hkall_gateway.rules.lender_reasons import DROPPED
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, PartnerMessage, PatronNotice, is_letter
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState, OutboxState
from hkall_gateway.rules.vocabulary import Actor, Position

P = Position


def retry(unit: Unit, number: int, by: Actor, now: datetime) -> Outcome:
    """Send the message again at once, with a fresh count of attempts, even if its channel is paused."""
    row = unit.outbox.row(number)
    if row is None or not unit.outbox.retry(number, now):
        return Refused(Reason.UNKNOWN_REQUEST)
    unit.circuits.keep(replace(unit.circuits.one(row.line), rests_until=None))
    return _journalled(unit, row, "OUTBOX_RETRIED", "", by, now)


def done(context: Context, number: int, reason: str, by: Actor) -> Outcome:
    """Settle the message as done by telephone or mail: the request goes on as if the partner had accepted it."""
    row = _closed(context.unit, number, OutboxState.DONE, reason, context.now)
    if isinstance(row, Refused):
        return row
    outcome = _journalled(context.unit, row, "OUTBOX_DONE", reason, by, context.now)
    deliveries.apply_answer(context, row, _taken(context, row), by)
    return outcome


def drop(context: Context, number: int, reason: str, by: Actor) -> Outcome:
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


def _drop_unreadable(context: Context, number: int, reason: str, by: Actor) -> Outcome:
    """Settle a row that cannot be read. It has no effect on the request: `reconcile` shows the difference."""
    unit = context.unit
    if not reason.strip():
        return Refused(Reason.REASON_NEEDED)
    if not unit.outbox.close(number, OutboxState.DROPPED, reason, context.now):
        return Refused(Reason.UNKNOWN_REQUEST)
    request = unit.request(unit.outbox.request_of(number))
    if request is not None:
        unit.note(request, "OUTBOX_DROPPED", {"outbox": number, "reason": reason}, context.now, by)
    return Noted(request.id if request else "", note="outbox_dropped")


def _closed(unit: Unit, number: int, state: OutboxState, reason: str, now: datetime) -> OutboxRow | Refused:
    row = unit.outbox.row(number)
    if not reason.strip():
        return Refused(Reason.REASON_NEEDED)
    if row is None or not unit.outbox.close(number, state, reason, now):
        return Refused(Reason.UNKNOWN_REQUEST)
    return row


def _journalled(unit: Unit, row: OutboxRow, event: str, reason: str, by: Actor, now: datetime) -> Noted:
    request = unit.request(row.request)
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
    request = context.unit.request(row.request)
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
        context.unit.notice_state(row.payload.notice, state, row.last_error, context.now)


def _nothing(_context: Context, _row: OutboxRow, _by: Actor) -> None:
    """Leaves the request as it is."""


def may_have_arrived(unit: Unit, row: OutboxRow) -> bool:
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


def effects(unit: Unit, row: OutboxRow) -> dict[str, object]:
    """The effects of `done` and `drop` on the request, in words, and whether the recipient may have the message already."""
    if_done, if_dropped = _LOCAL if isinstance(row.payload, LocalMessage) else _WORDS.get(Notification(row.send), _ELSE)
    return {"if_done": if_done, "if_dropped": if_dropped, "may_have_arrived": may_have_arrived(unit, row)}

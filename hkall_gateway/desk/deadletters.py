"""What a person says of something that could not be told: again, told by hand, or not at all; and what follows for the request.

What each means for the request (decided here, since the reference leaves it open):

    what was not told      done by hand                            dropped
    the wish to a lender   it has the wish: the request waits      the next lender; told to stop if it may have heard
    the withdrawal         the lender knows: cancelled             cancelled; a copy that comes all the same is a stray
    the wish to renew      it has agreed: the date that was asked  it is not renewed
    the letter of arrival  the days to collect count from today    they count from the day of arrival
    anything else          nothing more                            nothing more: `reconcile` shows the difference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from hkall_gateway.desk import deliveries
from hkall_gateway.desk.borrowing import give_up_on
from hkall_gateway.desk.common.counts import closed_days
from hkall_gateway.desk.common.house import House
from hkall_gateway.desk.messages.results import Answer, Noted, Outcome, Refused
from hkall_gateway.rules import calendar, policy
from hkall_gateway.rules.decline_reasons import DROPPED
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.local_messages import LocalMessage
from hkall_gateway.rules.tidings import Letter, Telling, is_letter
from hkall_gateway.rules.vocabulary import By, Position, Why
from hkall_gateway.store import notices
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Unit

P = Position


def retry(unit: Unit, number: int, by: By, now: datetime) -> Outcome:
    """Try it again at once, with a fresh count of attempts, although its line may rest."""
    row = unit.outbox.row(number)
    if row is None or not unit.outbox.retry(number, now):
        return Refused(Why.UNKNOWN_REQUEST)
    unit.links.keep(replace(unit.links.one(row.line), rests_until=None))
    return _journalled(unit, row, "OUTBOX_RETRIED", "", by, now)


def done(unit: Unit, number: int, reason: str, by: By, house: House, now: datetime) -> Outcome:
    """It was told by other means, by telephone or mail: the request goes on as if the partner had taken it."""
    row = _closed(unit, number, "done", reason, now)
    if isinstance(row, Refused):
        return row
    outcome = _journalled(unit, row, "OUTBOX_DONE", reason, by, now)
    deliveries.told(unit, row, _taken(unit, row, house, now), house, now, by)
    return outcome


def drop(unit: Unit, number: int, reason: str, by: By, house: House, now: datetime) -> Outcome:
    """It is not to be told at all: the request goes on without it."""
    row = _closed(unit, number, "dropped", reason, now)
    if isinstance(row, Refused):
        return row
    outcome = _journalled(unit, row, "OUTBOX_DROPPED", reason, by, now)
    _DROPPED.get(row.send.value, _nothing)(unit, row, house, now, by)
    return outcome


def _closed(unit: Unit, number: int, state: str, reason: str, now: datetime) -> OutboxRow | Refused:
    row = unit.outbox.row(number)
    if not reason.strip():
        return Refused(Why.REASON_NEEDED)
    if row is None or not unit.outbox.close(number, state, reason, now):
        return Refused(Why.UNKNOWN_REQUEST)
    return row


def _journalled(unit: Unit, row: OutboxRow, event: str, reason: str, by: By, now: datetime) -> Noted:
    request = unit.request(row.request)
    if request is not None:
        facts = {"outbox": row.id, "send": row.send.value, "recipient": row.line, "state": row.state, "reason": reason}
        unit.note(request, event, facts, now, by)
    return Noted(row.request, note=event.lower())


def _taken(unit: Unit, row: OutboxRow, house: House, now: datetime) -> Answer:
    """The answer that the recipient would have given; a letter that was handed over counts its days from today (R14)."""
    if not isinstance(row.payload, Letter):
        return Answer("accepted", detail="by hand")
    today = calendar.civil(now)
    last = policy.pickup_last(today, house.policy, closed_days(unit, house))
    return Answer("accepted", sent_on=today, last_day=last)


# ---- what follows when it is dropped


def _no_wish(unit: Unit, row: OutboxRow, house: House, now: datetime, by: By) -> None:
    """The next lender. One that may have heard of the wish is told to stop, or two might ship."""
    request = unit.request(row.request)
    if request is None or not isinstance(row.payload, Telling) or request.wire_id != row.payload.wire_id:
        return
    if request.position is P.REQUESTED and may_have_arrived(unit, row):
        give_up_on(unit, request, house, now, by)
    else:
        deliveries.never_arrived(unit, row, house, now, by, row.last_error, DROPPED)


def _no_withdrawal(unit: Unit, row: OutboxRow, house: House, now: datetime, by: By) -> None:
    deliveries.told(unit, row, Answer("accepted", detail="dropped by staff"), house, now, by)


def _no_renewal(unit: Unit, row: OutboxRow, house: House, now: datetime, by: By) -> None:
    deliveries.told(unit, row, Answer("refused", detail="dropped by staff"), house, now, by)


def _no_letter(unit: Unit, row: OutboxRow, _house: House, now: datetime, _by: By) -> None:
    """One that may have arrived counts as sent, so that a letter that takes it back is told."""
    if isinstance(row.payload, Letter):
        state = notices.SENT if may_have_arrived(unit, row) else "dropped"
        unit.notice_state(row.payload.notice, state, row.last_error, now)


def _nothing(_unit: Unit, _row: OutboxRow, _house: House, _now: datetime, _by: By) -> None:
    """Nothing waits for it."""


def may_have_arrived(unit: Unit, row: OutboxRow) -> bool:
    """Whether any try of it ended without anybody knowing how."""
    return row.state == "unsure" or any(one.kind == "unknown" for one in unit.outbox.attempts(row.id))


Dropped = Callable[[Unit, OutboxRow, House, datetime, By], None]

# fmt: off
_DROPPED: Mapping[str, Dropped] = {
    Send.ASK_LENDER:            _no_wish,
    Send.CANCEL_AT_LENDER:      _no_withdrawal,
    Send.ASK_LENDER_TO_RENEW:   _no_renewal,
    **{send: _no_letter for send in Send if is_letter(send)},
}
# fmt: on


# ---- for people

_WORDS: Mapping[Send, tuple[str, str]] = {
    Send.ASK_LENDER: ("the request waits for this lender's copy", "the next lender is asked"),
    Send.CANCEL_AT_LENDER: ("the request is cancelled", "the request is cancelled; a copy that comes is sent home"),
    Send.ASK_LENDER_TO_RENEW: ("the loan is renewed as asked", "the loan is not renewed"),
    Send.ASK_LENDER_LATER_DATE: ("the lender expects the book on the patron's date", "its own date stays"),
    Send.LETTER_PICKUP: ("the days to collect count from today", "they count from the day of arrival"),
}
_LOCAL = ("its flag is taken away", "nothing more; the local system does not know")
_ELSE = ("nothing more", "nothing more; the partner does not know")


def effects(unit: Unit, row: OutboxRow) -> dict[str, object]:
    """What `done` and `drop` would do for the request, in words, and whether the recipient may have it already."""
    if_done, if_dropped = _LOCAL if isinstance(row.payload, LocalMessage) else _WORDS.get(Send(row.send), _ELSE)
    return {"if_done": if_done, "if_dropped": if_dropped, "may_have_arrived": may_have_arrived(unit, row)}

"""Settles, by a decision of staff, messages given up, letters that came back, and documents in the quarantine.

The same functions serve the command line and the console. A letter that came back has left the outbox:

    retry   the letter is written again, to the address that the patron has now
    done    the patron was told by other means; days to collect count from today (R14)
    drop    the patron is not to be told; its request goes on as before (R42)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.common.counts import closed_days
from hkall_gateway.circulation.messages.results import DeliveryResult, Noted, Outcome, Refused
from hkall_gateway.circulation.messages.staff_commands import MarkReplayed, Settle
from hkall_gateway.circulation.partners import dead_letters, deliveries
from hkall_gateway.db import notices, quarantine
from hkall_gateway.db.outbox import Attempt, OutboxRow
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates, policy
from hkall_gateway.rules.messages.outbox_messages import PatronNotice
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState, OutboxState, QuarantineState
from hkall_gateway.rules.vocabulary import Partner

RETRY, DONE, DROP = "retry", "done", "drop"
GONE: Final = Refused(Reason.UNKNOWN_REQUEST)
NO_REASON: Final = Refused(Reason.REASON_NEEDED)
EVERY_STATE: Final = tuple(OutboxState)

Judgement = Callable[[Context, Settle], Outcome]


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


def _unsent(unit: Unit, row: OutboxRow) -> UnsentMessage:
    would = dead_letters.effects(unit, row)
    told = str(would["if_done"]), str(would["if_dropped"]), bool(would["may_have_arrived"])
    return UnsentMessage(row, unit.outbox.attempts(row.id), *told, unit.partner(row.recipient))


def with_message(unit: Unit, command: Settle) -> Settle:
    """Return the command with the request and the channel of its message, which it locks."""
    row = unit.outbox.row(command.number)
    return replace(command, request=row.request, line=row.line) if row else command


# ---- a message of the outbox


def _retry(context: Context, command: Settle) -> Outcome:
    return dead_letters.retry(context.unit, command.number, command.by, context.now)


def _done(context: Context, command: Settle) -> Outcome:
    return dead_letters.done(context, command.number, command.reason, command.by)


def _drop(context: Context, command: Settle) -> Outcome:
    return dead_letters.drop(context, command.number, command.reason, command.by)


# ---- a letter that came back


def _write_again(context: Context, command: Settle) -> Outcome:
    row = _letter_of(context.unit, command.number)
    if row is None:
        return GONE
    context.unit.outbox.put(row.send, row.payload, command.by.corr, context.now)
    context.unit.notice_state(command.number, NoticeState.QUEUED, "", context.now)
    return _journalled(context, command, row, "LETTER_RETRIED")


def _told_by_hand(context: Context, command: Settle) -> Outcome:
    row = _letter_of(context.unit, command.number)
    if row is None or not command.reason.strip():
        return GONE if row is None else NO_REASON
    today = dates.civil(context.now)
    last = policy.pickup_last(today, context.library.policy, closed_days(context.unit, context.library))
    outcome = _journalled(context, command, row, "LETTER_DONE")
    by_hand = DeliveryResult(DeliveryKind.ACCEPTED, detail="by hand", sent_on=today, last_day=last)
    deliveries.letter_left(context, row, by_hand, command.by)
    return outcome


def _drop_letter(context: Context, command: Settle) -> Outcome:
    row = _letter_of(context.unit, command.number)
    if row is None or not command.reason.strip():
        return GONE if row is None else NO_REASON
    context.unit.notice_state(command.number, NoticeState.DROPPED, command.reason, context.now)
    return _journalled(context, command, row, "LETTER_DROPPED")


def _letter_of(unit: Unit, number: int) -> OutboxRow | None:
    """Return the last message of a letter that came back; None if it is settled, or its message is kept no more."""
    found = notices.notice(unit, number)
    if found is None or found.state != NoticeState.UNDELIVERABLE:
        return None
    rows = unit.outbox.rows(request=found.request, states=EVERY_STATE)
    mine = [row for row in rows if isinstance(row.payload, PatronNotice) and row.payload.notice == number]
    return mine[-1] if mine else None


def _journalled(context: Context, command: Settle, row: OutboxRow, event: str) -> Noted:
    request = context.unit.request(row.request)
    if request is not None:
        facts = {"letter": command.number, "send": row.send.value, "reason": command.reason}
        context.unit.note(request, event, facts, context.now, command.by, rule="R42")
    return Noted(row.request, note=event.lower())


# ---- a document in the quarantine


def mark_replayed(context: Context, command: MarkReplayed) -> Outcome:
    """Record that a document of the quarantine was heard again."""
    return _judged(context, command, QuarantineState.REPLAYED)


def _judged(context: Context, command: Settle | MarkReplayed, state: QuarantineState) -> Outcome:
    if not command.reason.strip():
        return NO_REASON
    if not quarantine.settle(context.unit, command.number, state, command.by.who, command.reason):
        return GONE
    return Noted("", note=state)


def _drop_document(context: Context, command: Settle) -> Outcome:
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


def settle(context: Context, command: Settle) -> Outcome:
    """Carry out a judgement of JUDGEMENTS. Raises KeyError for another one."""
    return JUDGEMENTS[command.kind, command.how](context, command)

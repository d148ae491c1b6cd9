"""Apply the result of a delivery in one transaction: to the channel, the outbox row, and the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hkall_gateway.circulation import choosing, recalls
from hkall_gateway.circulation.command import Command, Context, flagged
from hkall_gateway.circulation.partners import local_messages
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.db.outbox import MAIL, SETTLED, UNSETTLED, Attempt, OutboxRow
from hkall_gateway.rules import circuit
from hkall_gateway.rules.circuit import CircuitSettings, CircuitState
from hkall_gateway.rules.lender_reasons import NOT_REACHED
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, PartnerMessage, PatronNotice
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind as D
from hkall_gateway.rules.stored_words import NoticeState, OutboxKind, OutboxState, StaffFlag
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Request

SETTLING = frozenset({D.ACCEPTED, D.ALREADY, D.REFUSED, D.UNDELIVERABLE, D.NOT_NEEDED})
"""Results that settle a row: the recipient has answered, or there is no recipient."""
CIRCUIT_SETTINGS = CircuitSettings()
ANSWERED = frozenset(
    {Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER, Notification.ASK_LENDER_TO_RENEW, Notification.TELL_LENDER_RENEWED}
)
"""Messages whose refusal advances the request. All other messages report events that have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Command[None, datetime | None]):
    """The courier's report of a delivery. The result is the time of the next attempt, or None if there is none.

    `retry_at` is that time by the schedule of the message, which does not know its channel, or None after the last attempt.
    """

    row: OutboxRow
    answer: DeliveryResult
    retry_at: datetime | None
    circuit_settings: CircuitSettings


def delivered(context: Context, command: Delivered) -> datetime | None:
    """Update the outbox row (sent, retried, or dead after the last attempt), and advance the request.

    Return the time of the next attempt, or None if there is none.

    A row that staff settled during the delivery keeps its state. A repeated report of the same attempt is ignored.
    """
    row, answer, circuit_settings = command.row, command.answer, command.circuit_settings
    kept = context.unit.outbox.row_state(row.id)
    state, attempts = kept or (None, 0)
    if answer.kind not in SETTLING and state in UNSETTLED and attempts >= row.attempts:
        return command.retry_at
    context.unit.outbox.record_attempt(
        row.id, Attempt(at=context.now, kind=answer.kind, problem=answer.problem, detail=answer.detail)
    )
    link = _update_channel(context, row, answer, circuit_settings)
    if kept is None or state in SETTLED:
        return None
    by = Actor(
        who=MAIL if row.kind is OutboxKind.MAIL else row.recipient, channel="courier", message=row.send.name, corr=row.corr
    )
    if answer.kind in SETTLING:
        if answer.kind is D.NOT_NEEDED:
            context.unit.outbox.mark_dropped(row.id, answer.detail)
        elif answer.kind == D.REFUSED and row.kind is OutboxKind.ILS:  # the two systems differ, and staff must find out why
            context.unit.outbox.mark_dead(row.id, f"refused: {_error_text(answer)}")
        else:
            context.unit.outbox.mark_sent(row.id, context.now)
        apply_answer(context, row, answer, by)
        return None
    return _retry_or_give_up(context, row, answer, command.retry_at, link, circuit_settings, by)


def _update_channel(
    context: Context, row: OutboxRow, answer: DeliveryResult, circuit_settings: CircuitSettings
) -> CircuitState:
    """Update the state of the channel with this answer, and return the state.

    Any NCIP Problem shows that the partner is up. The bare HTTP status of a busy server does not.
    """
    link = context.unit.circuits.find(row.line)
    if row.line == MAIL or answer.untold:
        return link
    if answer.kind == D.FAULT:
        context.unit.circuits.keep(
            after := circuit.after_rejection(link, circuit_settings, context.now, _error_text(answer)[:200])
        )
        return after
    lost = answer.kind in {D.UNREACHABLE, D.UNKNOWN} or (answer.kind is D.LATER and not answer.problem)
    after = (
        circuit.after_failure(link, circuit_settings, context.now, answer.retry_after_s)
        if lost
        else circuit.after_reply(link, context.now)
    )
    context.unit.circuits.keep(after)
    return after


def apply_answer(context: Context, row: OutboxRow, answer: DeliveryResult, by: Actor) -> None:
    """Apply the recipient's answer to the request, the patron letter or the local message."""
    if isinstance(row.payload, LocalMessage):
        local_messages.apply_answer(context, row.payload, answer, by)
    elif isinstance(row.payload, PatronNotice):
        record_letter_result(context, row, answer, by)
    else:
        if row.send in {Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER}:
            choosing.apply_lender_answer(context, Notification(row.send), row.request, row.payload.wire_id, answer, by)
        elif row.send is Notification.TELL_LENDER_RENEWED and recalls.is_because_of_recall(answer):
            recalls.apply_renewal_refused(context, row.payload, answer, by)
        elif row.send in recalls.ANSWERED:
            recalls.apply_renewal_answer(context, row.payload, answer, by)
        _flag_refused_notice(context, row, answer, by)


def _flag_refused_notice(context: Context, row: OutboxRow, answer: DeliveryResult, by: Actor) -> None:
    """Flag a request for staff if the partner finally refuses a notice, because the two sides then differ."""
    request = context.unit.requests.find(row.request)
    if answer.kind != D.REFUSED or row.send in ANSWERED or request is None:
        return
    context.unit.note(
        request, "REFUSED_THERE", {"send": row.send.value, "problem": answer.problem, "detail": answer.detail}, context.now, by
    )
    if request.position not in FINAL:
        context.unit.amend(request, context.now, by, flags=flagged(request, StaffFlag.refused_there(row.send)))


def _retry_or_give_up(
    context: Context,
    row: OutboxRow,
    answer: DeliveryResult,
    retry_at: datetime | None,
    link: CircuitState,
    circuit_settings: CircuitSettings,
    by: Actor,
) -> datetime | None:
    error = f"{answer.kind}: {_error_text(answer)}".removesuffix(": ")
    unsure = row.state == OutboxState.UNSURE or answer.kind == D.UNKNOWN
    is_fault_of_channel = answer.kind != D.UNKNOWN and not circuit.counts(link, circuit_settings, context.now)
    # Such a message waits for the channel alone, which is tried again within seconds, even after its last attempt.
    fails_with_channel = not answer.untold and circuit.explains(link, len(context.unit.outbox.attempts(row.id)))
    if is_fault_of_channel or fails_with_channel:
        next_at = link.rests_until or context.now
        counted = not is_fault_of_channel and retry_at is not None
        context.unit.outbox.retry_later(row.id, next_at, error, unsure=unsure, counted=counted)
        return next_at
    if retry_at is not None:
        context.unit.outbox.retry_later(row.id, retry_at, error, unsure=unsure)
        return retry_at
    if unsure or row.send is not Notification.ASK_LENDER:
        context.unit.outbox.mark_dead(row.id, error)
    else:  # the next lender is asked, so a retry might make two lenders ship
        context.unit.outbox.mark_dropped(row.id, error)
        note_never_arrived(context, row, by, error)
    return None


def _error_text(answer: DeliveryResult) -> str:
    return ": ".join(filter(None, [answer.problem, answer.detail]))


def note_never_arrived(context: Context, row: OutboxRow, by: Actor, error: str, reason: str = NOT_REACHED) -> Request | None:
    """Ask the next lender if a request certainly did not reach the current lender. Do nothing for any other message.

    `error` is for staff, and `reason`, one of lender_reasons, is for the patron's letter. Do not call this if the outcome is
    unknown, or two lenders might ship. Such messages are settled by staff or by the silence job.
    """
    if row.send is not Notification.ASK_LENDER or not isinstance(row.payload, PartnerMessage):
        return None
    return choosing.note_not_reached(context, row.request, row.payload.wire_id, reason, error, by)


def record_letter_result(context: Context, row: OutboxRow, answer: DeliveryResult, by: Actor) -> None:
    """Record a letter's delivery. A sent pickup letter starts the pickup period, a failed letter is listed (R12, R14, R42)."""
    unit, letter = context.unit, row.payload
    assert isinstance(letter, PatronNotice)
    state = _letter_state(row, answer)
    request = unit.requests.find(letter.request)
    keeps = request is not None and answer.text and unit.patrons.history_since(request.patron) is not None
    unit.notices.set_state(letter.notice, state, answer.detail, context.now, answer.text if keeps else NOTHING)
    if (
        row.send is not Notification.LETTER_PICKUP
        or state is not NoticeState.SENT
        or request is None
        or not unit.can(request, Event.NOTIFY)
    ):
        return
    # A late letter restarts the pickup period, even if it had expired. A later deadline that staff granted stays.
    last = max(filter(None, (answer.last_day, request.pickup_last)), default=None)
    unit.advance(
        request, Event.NOTIFY, context.now, by, rule="R14", notified_on=answer.sent_on, pickup_last=last, expired_pickup=False
    )


def _letter_state(row: OutboxRow, answer: DeliveryResult) -> NoticeState:
    """Return the state of a letter after a result that settles it."""
    if answer.kind is D.UNDELIVERABLE:
        return NoticeState.UNDELIVERABLE
    if answer.kind is not D.NOT_NEEDED:
        return NoticeState.SENT
    if row.state is OutboxState.UNSURE:
        return NoticeState.UNSURE
    return NoticeState.NOT_NEEDED


@dataclass(frozen=True, slots=True)
class LetterBounced:
    """Result: a letter is marked as undeliverable. `again` is set if it was marked before."""

    letter: int
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkBounced(Command[None, LetterBounced]):
    """Record a letter's final bounce. `status` is the mail server's RFC 3463 code, `request` the letter's request."""

    by: Actor
    letter: int
    request: str
    status: str


def mark_bounced(context: Context, command: MarkBounced) -> LetterBounced | Refused:
    """Record a letter's final bounce. The letter is listed for operators, and its request continues (R42)."""
    unit, now = context.unit, context.now
    letter = unit.notices.find(command.letter)
    if letter is None:
        return context.refuse(Reason.UNKNOWN_REQUEST, command.by)
    if letter.state is NoticeState.UNDELIVERABLE:
        return LetterBounced(command.letter, again=True)
    unit.notices.set_state(command.letter, NoticeState.UNDELIVERABLE, f"bounced {command.status}".strip(), now)
    request = unit.requests.find(letter.request)
    if request is not None:
        facts = {"letter": letter.kind, "status": command.status}
        unit.note(request, "LETTER_BOUNCED", facts, now, command.by, rule="R42")
    return LetterBounced(command.letter)

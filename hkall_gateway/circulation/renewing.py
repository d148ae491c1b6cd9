"""Renewals that the lender decides: it is asked first, or it refuses a renewal that we granted (R28)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Final, Unpack

from hkall_gateway.circulation.common.context import Context, flagged
from hkall_gateway.circulation.fines import fix_fine
from hkall_gateway.circulation.messages.results import DeliveryResult
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import past_lender
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.stored_words import DeliveryKind, RenewalSync, StaffFlag
from hkall_gateway.rules.vocabulary import Actor, Position, Request, RequestChange

ASK_FIRST: Final = "ask_first"
NOT_ASKED: Final[RequestChange] = {"renewal_sync": RenewalSync.NONE, "due_asked": None}
"""The facts of a loan about which no lender is being asked."""
RECALLED: Final = ("recall", "outstanding requests")
"""Words of a refusal whose reason is a recall. NISO's list has "Item Has Outstanding Requests" alone for it."""


def lender_decides(unit: Unit, request: Request) -> bool:
    """Whether the lender is asked before the patron may keep it longer."""
    partner = unit.partner(request.partner)
    return partner is not None and partner.renewal_mode == ASK_FIRST


def uncapped(request: Request) -> Request:
    """The loan without the date on which the lender expects it: the lender is about to name another one."""
    return replace(request, lender_due=None)


def ask_for_later_date(unit: Unit, request: Request, now: datetime, by: Actor) -> Request:
    """Ask a lender that answers RenewItem for the patron's date, where its own is earlier; the loan itself stays as it is.

    A lender that has recalled the book is not asked. Source: HKALL rules R19, R32.
    """
    if not past_lender(request) or request.recalled_on is not None or not lender_decides(unit, request):
        return request
    return unit.advance(request, Event.ASK_LATER_DATE, now, by, rule="R32")


def ask(unit: Unit, request: Request, until: date, now: datetime, by: Actor) -> Request:
    """Ask the lender whether the patron may keep it `until` then; the date in force stays until it answers."""
    return unit.advance(request, Event.RENEW_PENDING, now, by, rule="R28", renewal_sync=RenewalSync.PENDING, due_asked=until)


def answered(context: Context, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the lender's answer about a renewal, once; an answer for an earlier state of the loan is ignored."""
    request, work = context.unit.request(message.request), _ANSWERED.get(Notification(message.send))
    if work is not None and request is not None and request.position is Position.ON_LOAN:
        work(context, request, message, answer, by)


def _asked(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the answer to a renewal request: the earlier of its date and ours; without a date, the date asked for."""
    if request.renewal_sync != RenewalSync.PENDING or request.due_asked != message.due or answer.pending:
        return
    until = min((day for day in (message.due, answer.due) if day), default=None)
    if answer.kind == DeliveryKind.REFUSED or not until or not request.due or until <= request.due:
        _deny(context.unit, request, answer, context.now, by)
    else:
        _grant(context, request, until, answer.due, dates.civil(message.at), by)


def _grant(
    context: Context,
    request: Request,
    until: date,
    lender_due: date | None,
    asked_on: date,
    by: Actor,
) -> None:
    """Renew the loan. The fine runs until the patron asked; the days of the lender's decision cost no fine (R40)."""
    fix_fine(context, request, asked_on, by)
    expected = lender_due or (request.lender_due and max(request.lender_due, until))
    facts: RequestChange = {"due": until, "lender_due": expected, "renewals": request.renewals + 1, **NOT_ASKED}
    facts["renewed_at"] = context.now
    context.unit.advance(request, Event.RENEWAL_GRANTED, context.now, by, rule="R32", **facts)


def _deny(
    unit: Unit, request: Request, answer: DeliveryResult, now: datetime, by: Actor, **facts: Unpack[RequestChange]
) -> None:
    reason = answer.problem or answer.detail or "a shorter date"
    denied: RequestChange = {
        "renewal_sync": RenewalSync.DENIED,
        "due_asked": None,
        "due_before_renewal": None,
        "reason": reason,
        **facts,
    }
    unit.advance(request, Event.RENEWAL_DENIED, now, by, rule="R28", **denied)


def because_of_a_recall(answer: DeliveryResult) -> bool:
    """Whether a lender refuses a renewal since another patron has requested the book (R28)."""
    said = f"{answer.problem} {answer.detail}".lower()
    return answer.kind == DeliveryKind.REFUSED and any(words in said for words in RECALLED)


def took_back(request: Request, message: PartnerMessage, answer: DeliveryResult) -> bool:
    """Whether a lender refuses the renewal that was granted last."""
    last = request.due_before_renewal is not None and request.renewals == message.renewals
    return (
        answer.kind == DeliveryKind.REFUSED
        and message.send == Notification.TELL_LENDER_RENEWED.value
        and last
        and request.due is not None
    )


def _told(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the lender's answer to a renewal that we granted: it accepts the later date, or refuses the renewal."""
    if answer.kind != DeliveryKind.REFUSED:
        _later_date(context, request, message, answer, by)
    elif took_back(request, message, answer):
        _refused(context, request, message, answer, by)


def _refused(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Flag a renewal that its lender refuses, or restore the earlier date, as the policy says."""
    if context.library.policy.renewal.on_lender_refusal == "revert":
        _take_back(context.unit, request, answer, context.now, by)
        return
    context.unit.note(
        request, "RENEWAL_REFUSED", {"problem": answer.problem, "detail": answer.detail}, context.now, by, rule="R28"
    )
    context.unit.amend(request, context.now, by, rule="R28", flags=flagged(request, StaffFlag.refused_there(message.send)))


def _take_back(unit: Unit, request: Request, answer: DeliveryResult, now: datetime, by: Actor) -> None:
    """Restore the earlier due date, but never a date that passed before the patron could know."""
    before, due = request.due_before_renewal, request.due
    if before is None or due is None:
        return
    until = max(before, dates.civil(now))
    later = request.due_before_recall
    _deny(
        unit,
        request,
        answer,
        now,
        by,
        due=min(due, until),
        due_before_recall=min(later, until) if later else None,
        renewals=request.renewals - 1,
        renewed_at=None,
    )


def _later_date(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Take the date that the lender agreed to or named as the lender date, never an earlier one."""
    agreed = answer.due or message.due
    if answer.kind == DeliveryKind.REFUSED or answer.pending or answer.untold or agreed is None or request.lender_due is None:
        return
    if agreed > request.lender_due:
        context.unit.amend(request, context.now, by, "R32", lender_due=agreed)


Answered = Callable[[Context, Request, PartnerMessage, DeliveryResult, Actor], None]

_ANSWERED: Mapping[Notification, Answered] = {
    Notification.ASK_LENDER_TO_RENEW: _asked,
    Notification.TELL_LENDER_RENEWED: _told,
    Notification.ASK_LENDER_LATER_DATE: _later_date,
}

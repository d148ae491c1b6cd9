"""Recalls in both directions, and extensions by the owner (R23 to R28, R41)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Unpack

from hkall_gateway.circulation.borrowers import closed_days
from hkall_gateway.circulation.command import Command, Context, flagged
from hkall_gateway.circulation.find_request import StaffCommand, refuse_position, staff_result
from hkall_gateway.circulation.fines import fix_fine
from hkall_gateway.circulation.partner_notice import (
    PartnerNotice,
    hold_if_contradicted,
    is_old_news,
    keep_far_date_aside,
)
from hkall_gateway.circulation.results import DeliveryResult, Done, Noted, Refused, Renewed, noted_result
from hkall_gateway.db.requests_by_partner_id import asked_for
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import past_lender
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, RenewalSync, StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    ItemKey,
    Position,
    Request,
    RequestChange,
    Side,
)


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Result: the owner's recall, or its cancellation, was accepted.

    Attributes:
        due: Due date that now applies, or None before the loan.
        asked_due: Date that the owner named. If `due` is later, the reply must say so (R26).
        again: Whether the message was a repetition that changed nothing.
        position: Position of the request after the message.
        recalled: Whether a recall is in force.
    """

    request: str
    item: ItemKey | None
    due: date | None = None
    old_due: date | None = None
    asked_due: date | None = None
    again: bool = False
    late: bool = False
    position: Position | None = None
    recalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecalled(PartnerNotice, Command[None, Recalled]):
    """The owner recalls a book that we borrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallCancelled(PartnerNotice, Command[None, Recalled]):
    """The owner cancels its recall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalRefused(PartnerNotice, Command[None, Noted]):
    """A lender that had only confirmed receipt refuses the renewal for which we asked, or of which we told it."""


ASK_FIRST: Final = "ask_first"
NOT_ASKED: Final[RequestChange] = {"renewal_sync": RenewalSync.NONE, "due_asked": None}
"""Changes that end a pending renewal request to the lender."""
RECALLED: Final = ("recall", "outstanding requests")
"""Words in a lender's refusal that indicate a recall. NISO's list has only "Item Has Outstanding Requests" for this case."""


def lender_decides(unit: UnitOfWork, request: Request) -> bool:
    """Check whether the lender must be asked before a loan is renewed."""
    partner = unit.partners.find(request.partner)
    return partner is not None and partner.renewal_mode == ASK_FIRST


def without_lender_date(request: Request) -> Request:
    """Return the loan without the lender's due date, because the lender will name another date."""
    return replace(request, lender_due=None)


def ask_for_later_date(context: Context, request: Request, by: Actor) -> Request:
    """If the lender's due date is earlier than the patron's, ask the lender to move it (R19, R32).

    The loan itself does not change. Only lenders that answer RenewItem are asked, and only if they have not recalled the book.
    """
    if not past_lender(request) or request.recalled_on is not None or not lender_decides(context.unit, request):
        return request
    return context.unit.advance(request, Event.ASK_LATER_DATE, context.now, by, rule="R32")


def ask_lender(context: Context, request: Request, until: date, by: Actor) -> Request:
    """Ask the lender whether the patron may keep the book until `until`. The due date stays until the lender answers."""
    return context.unit.advance(
        request, Event.RENEW_PENDING, context.now, by, rule="R28", renewal_sync=RenewalSync.PENDING, due_asked=until
    )


def apply_renewal_answer(context: Context, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the lender's answer to a renewal message once. Ignore an answer for an earlier state of the loan."""
    request, work = context.unit.requests.find(message.request), ANSWERED[Notification(message.send)]
    if request is not None and request.position is Position.ON_LOAN:
        work(context, request, message, answer, by)


def _apply_to_pending(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the answer to a renewal request: renew until the requested date, or until the lender's earlier date."""
    if request.renewal_sync != RenewalSync.PENDING or request.due_asked != message.due or answer.pending:
        return
    until = min((day for day in (message.due, answer.due) if day), default=None)
    if answer.kind == DeliveryKind.REFUSED or not until or not request.due or until <= request.due:
        _deny_renewal(context, request, answer, by)
    else:
        fix_fine(context, request, dates.civil(message.at), by)
        expected = answer.due or (request.lender_due and max(request.lender_due, until))
        facts: RequestChange = {"due": until, "lender_due": expected, "renewals": request.renewals + 1, **NOT_ASKED}
        facts["renewed_at"] = context.now
        context.unit.advance(request, Event.RENEWAL_GRANTED, context.now, by, rule="R32", **facts)


def _deny_renewal(
    context: Context, request: Request, answer: DeliveryResult, by: Actor, **facts: Unpack[RequestChange]
) -> None:
    reason = answer.problem or answer.detail or "a shorter date"
    denied: RequestChange = {
        "renewal_sync": RenewalSync.DENIED,
        "due_asked": None,
        "due_before_renewal": None,
        "reason": reason,
        **facts,
    }
    context.unit.advance(request, Event.RENEWAL_DENIED, context.now, by, rule="R28", **denied)


def is_because_of_recall(answer: DeliveryResult) -> bool:
    """Check whether a lender refuses a renewal because another patron has requested the book (R28)."""
    text = f"{answer.problem} {answer.detail}".lower()
    return answer.kind == DeliveryKind.REFUSED and any(words in text for words in RECALLED)


def refuses_last_renewal(request: Request, message: PartnerMessage, answer: DeliveryResult) -> bool:
    """Check whether the answer refuses the last renewal that we granted."""
    last = request.due_before_renewal is not None and request.renewals == message.renewals
    return (
        answer.kind == DeliveryKind.REFUSED
        and message.send == Notification.TELL_LENDER_RENEWED.value
        and last
        and request.due is not None
    )


def _apply_to_granted(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Apply the lender's answer to a renewal that we have already granted.

    After a refusal, flag the loan for staff or restore the earlier due date, depending on the policy.
    """
    if answer.kind != DeliveryKind.REFUSED:
        _take_later_date(context, request, message, answer, by)
        return
    if refuses_last_renewal(request, message, answer):
        _refuse_granted(context, request, answer, by)


def _refuse_granted(context: Context, request: Request, answer: DeliveryResult, by: Actor) -> None:
    """Apply the lender's refusal of the last renewal that we granted."""
    before, due = request.due_before_renewal, request.due
    if before is None or due is None:
        return
    if context.library.policy.renewal.on_lender_refusal != "revert":
        facts = {"problem": answer.problem, "detail": answer.detail}
        context.unit.note(request, "RENEWAL_REFUSED", facts, context.now, by, rule="R28")
        flags = flagged(request, StaffFlag.refused_there(Notification.TELL_LENDER_RENEWED))
        context.unit.amend(request, context.now, by, rule="R28", flags=flags)
        return
    until = max(before, dates.civil(context.now))  # never a past date, which the patron could not have known
    _deny_renewal(
        context,
        request,
        answer,
        by,
        due=min(due, until),
        due_before_recall=min(request.due_before_recall, until) if request.due_before_recall else None,
        renewals=request.renewals - 1,
        renewed_at=None,
    )


def apply_later_refusal(context: Context, notice: PartnerNotice) -> Noted | Refused:
    """Apply a refusal of a renewal that comes in a message of its own, like one in the reply (R28).

    If no renewal waits for the lender, and none was granted since the last decision, the refusal changes nothing.
    """
    request = _find_owners_request(context, notice, News.RENEWED)
    if isinstance(request, Refused):
        return request
    is_asked = request.renewal_sync == RenewalSync.PENDING
    is_open = request.position is Position.ON_LOAN and (is_asked or request.due_before_renewal is not None)
    if not is_open or is_old_news(context, notice, request):
        context.unit.note(request, "LATE", {"message": notice.by.message}, context.now, notice.by)
        return noted_result(request, late=True)
    answer = DeliveryResult(kind=DeliveryKind.REFUSED, problem=notice.reason, detail=notice.detail)
    if is_asked:
        _deny_renewal(context, request, answer, notice.by)
    elif is_because_of_recall(answer):
        _shorten_loan(context, request, None, notice.by)
    else:
        _refuse_granted(context, request, answer, notice.by)
    return noted_result(request)


def _take_later_date(context: Context, request: Request, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Set the lender's due date to the date that the lender named or agreed to, but never to an earlier date."""
    agreed = answer.due or message.due
    is_decided = answer.kind != DeliveryKind.REFUSED and not answer.pending and not answer.untold
    if not is_decided or agreed is None or request.lender_due is None:
        return
    if agreed > request.lender_due:
        context.unit.amend(request, context.now, by, "R32", lender_due=agreed)


Answered = Callable[[Context, Request, PartnerMessage, DeliveryResult, Actor], None]

ANSWERED: Mapping[Notification, Answered] = {
    Notification.ASK_LENDER_TO_RENEW: _apply_to_pending,
    Notification.TELL_LENDER_RENEWED: _apply_to_granted,
    Notification.ASK_LENDER_LATER_DATE: _take_later_date,
}


P = Position


def apply_recall(context: Context, notice: PartnerNotice) -> Recalled | Refused:
    """Apply the owner's recall: shorten the loan and send one letter, or record a recall before the loan (R23 to R26).

    The recall of a book in return transit, or of an ended request, succeeds without effect. `notice.due` is the owner's date.
    """
    request = _find_owners_request(context, notice, News.RECALLED)
    if isinstance(request, Refused):
        return request
    if is_old_news(context, notice, request):
        return _accept_late(context, notice, request)
    notice, request = keep_far_date_aside(context, notice, request)
    if request.position is P.ON_LOAN:
        shortened = _shorten_loan(context, request, notice.due, notice.by)
        return (
            replace(_recalled_result(shortened, notice), old_due=request.due)
            if shortened
            else _recalled_result(request, notice, again=True)
        )
    is_former = request.partner != notice.partner or (notice.wire_id and request.wire_id != notice.wire_id)
    if is_former or not context.unit.can(request, Event.RECALL_NOTED):
        return _accept_late(context, notice, request)
    if request.recalled_on is not None:
        return _recalled_result(request, notice, again=True)
    after = context.unit.advance(
        request, Event.RECALL_NOTED, context.now, notice.by, rule="R24", recalled_on=dates.civil(context.now)
    )
    if context.library.policy.recall.before_pickup == "return" and context.unit.can(after, Event.RETURN_UNUSED):
        after = context.unit.advance(after, Event.RETURN_UNUSED, context.now, notice.by, rule="R24", reason="recalled")
    return _recalled_result(after, notice)


def apply_renewal_refused(context: Context, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Treat the owner's refusal of a granted renewal as a recall: another patron has requested the book (R28)."""
    request = context.unit.requests.find(message.request)
    if request and request.position is P.ON_LOAN and refuses_last_renewal(request, message, answer):
        _shorten_loan(context, request, None, by)


def _shorten_loan(context: Context, request: Request, wanted: date | None, by: Actor) -> Request | None:
    """Shorten a recalled loan. Return None if it was recalled before and the owner's date `wanted` changes nothing."""
    today, again = dates.civil(context.now), request.recalled_on is not None
    loan = replace(request, first_checkout=request.first_checkout or today)
    until = dates.recall_due(loan, context.library.policy, context.now, wanted, closed_days(context))
    if again and until == request.due:
        return None
    facts: RequestChange = {
        "due": until,
        "due_before_recall": request.due_before_recall if again else request.due,
        "recalled_on": request.recalled_on or today,
        "recall_was_on": None,
        "recall_cancelled_on": None,
        **(NOT_ASKED if request.renewal_sync == RenewalSync.PENDING else {}),
    }
    return context.unit.advance(request, Event.RECALL, context.now, by, rule="R25", **facts)


def send_delayed_letter(context: Context, request: Request, by: Actor) -> None:
    """Send the recall letter that was withheld while the book lay in the book drop, unless it was already sent (R24)."""
    known = replace(request, due=request.due_before_recall or request.due)
    context.unit.enqueue(Notification.LETTER_RECALLED, request, context.now, by, known)


def apply_recall_cancelled(context: Context, notice: PartnerNotice) -> Recalled | Refused:
    """Cancel the owner's recall, and restore the previous due date if it is later (R26)."""
    request = _find_owners_request(context, notice, News.RECALL_CANCELLED)
    if isinstance(request, Refused):
        return request
    if is_old_news(context, notice, request) or not context.unit.can(request, Event.CANCEL_RECALL):
        return _accept_late(context, notice, request)
    if request.recalled_on is None:
        return _recalled_result(request, notice, again=True)
    facts = _without_recall(context, request, dates.restored_due(request, context.library.policy))
    after = context.unit.advance(request, Event.CANCEL_RECALL, context.now, notice.by, rule="R26", **facts)
    return replace(_recalled_result(after, notice), old_due=request.due)


def _without_recall(context: Context, request: Request, until: date | None) -> RequestChange:
    """Return the changes that end a recall. The days of the recall stay recorded for the fine (R41)."""
    ended: RequestChange = {"due": until, "recalled_on": None, "due_before_recall": None}
    if request.due:
        ended |= {"recall_was_on": request.recalled_on, "recall_cancelled_on": dates.civil(context.now)}
    return ended


def apply_owner_renewal(context: Context, notice: PartnerNotice) -> Renewed | Refused:
    """Extend a loan to the date that its owner names, but never shorten it. An extension ends a recall.

    If a renewal request is pending, the extension counts as its late answer, and the new date is at most the requested date.
    Before the loan, only the lender's due date changes.
    """
    request = _find_owners_request(context, notice, News.RENEWED)
    if isinstance(request, Refused):
        return request
    if notice.due is None:
        return context.refuse(Reason.UNUSABLE_MESSAGE, notice.by, request)
    if is_old_news(context, notice, request):
        context.unit.note(request, "LATE", {"message": notice.by.message}, context.now, notice.by)
        return replace(_owner_renewed(request), late=True)
    notice, request = keep_far_date_aside(context, notice, request)
    if notice.due is None:
        return replace(_owner_renewed(request), held=True)
    longer = max(d for d in (request.lender_due, notice.due) if d)
    if context.unit.can(request, Event.OWNER_RENEW) and request.due:
        until = max(request.due, min(notice.due, request.due_asked or notice.due))
        facts: RequestChange = _without_recall(context, request, until) if request.recalled_on else {"due": until}
        facts |= NOT_ASKED
        facts["lender_due"] = longer
        if request.renewal_sync == RenewalSync.PENDING:
            facts |= {"renewals": request.renewals + 1, "renewed_at": context.now}
        if (until, longer) == (request.due, request.lender_due):
            return replace(_owner_renewed(request), again=True)
        request = context.unit.advance(request, Event.OWNER_RENEW, context.now, notice.by, **facts)
        if "recalled_on" in facts:  # the extension ended a recall
            context.unit.enqueue(Notification.LETTER_RECALL_CANCELLED, request, context.now, notice.by)
    elif context.unit.can(request, Event.RECALL_NOTED):  # nobody has relied on the date yet, so its owner may correct it
        request = context.unit.amend(request, context.now, notice.by, lender_due=notice.due)
    else:
        return context.refuse(Reason.NOT_ON_LOAN, notice.by, request)
    return _owner_renewed(request)


def _owner_renewed(request: Request) -> Renewed:
    return Renewed(
        request=request.id,
        item=request.item or ItemKey("", ""),
        card=request.patron,
        title=request.full_title,
        due=request.due,
        renewals=request.renewals,
    )


def _find_owners_request(context: Context, notice: PartnerNotice, news: News) -> Request | Refused:
    """Find the request that an owner's notice is about. Only the library that lends the book may send it (R23)."""
    unit = context.unit
    attempt = unit.requests.find_by_wire_id(notice.wire_id)
    request = attempt[0] if attempt else _find_by_copy(unit, notice.item)
    if request is None and notice.item:  # the copy has not arrived
        attempt = asked_for(unit, notice.item)
        request = attempt[0] if attempt else None
    if request is None:
        return context.refuse(Reason.UNKNOWN_REQUEST if notice.wire_id else Reason.UNKNOWN_ITEM, notice.by)
    owner = attempt[1].agency if attempt else request.item_agency or request.partner
    if owner != notice.partner or (notice.item and notice.item.agency != notice.partner):
        return context.refuse(Reason.AGENCY_NOT_OWNER, notice.by, request)
    return hold_if_contradicted(context, notice, request, news) or request


def _find_by_copy(unit: UnitOfWork, item: ItemKey | None) -> Request | None:
    """Find the request with which we borrow the copy: the open request, else the last one."""
    if item is None:
        return None
    held = [r for r in unit.requests.open_with_item(item.barcode, item.agency) if r.side is Side.BORROWING]
    last = held[0] if held else unit.requests.last_with_item(item)
    return last if last and last.side is Side.BORROWING else None


def _accept_late(context: Context, notice: PartnerNotice, request: Request) -> Recalled:
    context.unit.note(request, "LATE", {"message": notice.by.message}, context.now, notice.by)
    return replace(_recalled_result(request, notice), late=True)


def _recalled_result(request: Request, notice: PartnerNotice, *, again: bool = False) -> Recalled:
    return Recalled(
        request=request.id,
        item=request.item or notice.item,
        due=request.due,
        asked_due=notice.due,
        again=again,
        position=request.position,
        recalled=request.recalled_on is not None,
    )


def recall_lent(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Recall our lent copy for one of our patrons. The new due date is never later than the agreed date.

    `command.on` is the wanted due date. If it is None, the policy's `return_days` count from today.
    """
    if not context.unit.can(request, Event.RECALL_LENT):
        return refuse_position(context, command, request)
    today, again = dates.civil(context.now), request.recalled_on is not None
    wanted = max(today, command.on or today + timedelta(days=context.library.policy.recall.return_days))
    until = min(d for d in (wanted, request.lender_due) if d)
    if again and until == request.lender_due:
        return staff_result(request, again=True, due=until)
    facts: RequestChange = {
        "lender_due": until,
        "due_before_recall": request.due_before_recall if again else request.lender_due,
        "recalled_on": request.recalled_on or today,
        "reason": command.reason,
    }
    return staff_result(
        context.unit.advance(request, Event.RECALL_LENT, context.now, command.by, rule="R23", **facts), due=until
    )


def cancel_recall_lent(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Cancel the recall of our lent copy: the borrower may keep it until the previously agreed date."""
    if not context.unit.can(request, Event.CANCEL_RECALL_LENT):
        return refuse_position(context, command, request)
    if request.recalled_on is None:
        return staff_result(request, again=True, due=request.lender_due)
    until = max((d for d in (request.due_before_recall, request.lender_due) if d), default=None)
    facts: RequestChange = {"lender_due": until, "due_before_recall": None, "recalled_on": None, "reason": command.reason}
    return staff_result(
        context.unit.advance(request, Event.CANCEL_RECALL_LENT, context.now, command.by, rule="R26", **facts), due=until
    )

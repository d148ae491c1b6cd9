"""Recalls in both directions, and extensions by the owner (R23 to R28, R41)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from hkall_gateway.circulation import renewing
from hkall_gateway.circulation.common.context import Context, refused
from hkall_gateway.circulation.common.contradictions import contradicted
from hkall_gateway.circulation.common.counts import closed_days
from hkall_gateway.circulation.find_request import done, elsewhere
from hkall_gateway.circulation.messages.commands import PartnerNotice
from hkall_gateway.circulation.messages.results import DeliveryResult, Done, Recalled, Refused, Renewed
from hkall_gateway.circulation.messages.staff_commands import StaffCommand
from hkall_gateway.db.unannounced import asked_for
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates
from hkall_gateway.rules.evidence import News
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Refusal, Request, RequestChange, Side

P = Position


# ---- the owner of a book that we borrow


def recalled(context: Context, ask: PartnerNotice) -> Recalled | Refused:
    """Apply the owner's recall: a shorter loan and one letter, or, before the loan, a note for staff (R23 to R26).

    A recall of a book on its way home, or of an ended request, is a success without effect. `ask.due` is the date that the
    owner names.
    """
    request = _theirs(context, ask, News.RECALLED)
    if isinstance(request, Refused):
        return request
    if request.position is P.ON_LOAN:
        return _recall_loan(context, ask, request)
    if not context.unit.can(request, Event.RECALL_NOTED) or _former(request, ask):
        return _late(context.unit, ask, request, context.now)
    if request.recalled_on is not None:
        return _answer(request, ask, again=True)
    return _note(context, ask, request)


def _recall_loan(context: Context, ask: PartnerNotice, request: Request) -> Recalled:
    after = _shorten(context, request, ask.due, ask.by)
    return replace(_answer(after, ask), old_due=request.due) if after else _answer(request, ask, again=True)


def renewal_refused(context: Context, message: PartnerMessage, answer: DeliveryResult, by: Actor) -> None:
    """Treat the owner's refusal of a granted renewal as a recall: another patron has requested the book (R28)."""
    request = context.unit.request(message.request)
    if request and request.position is P.ON_LOAN and renewing.took_back(request, message, answer):
        _shorten(context, request, None, by)


def _shorten(context: Context, request: Request, wanted: date | None, by: Actor) -> Request | None:
    """The loan with the recall; None where it was recalled already and `wanted`, the owner's date, makes it no shorter."""
    today, again = dates.civil(context.now), request.recalled_on is not None
    loan = replace(request, first_checkout=request.first_checkout or today)
    until = dates.recall_due(loan, context.library.policy, context.now, wanted, closed_days(context.unit, context.library))
    if again and until == request.due:
        return None
    facts: RequestChange = {
        "due": until,
        "due_before_recall": request.due_before_recall if again else request.due,
        "recalled_on": request.recalled_on or today,
        "recall_was_on": None,
        "recall_cancelled_on": None,
        **_not_asked(request),
    }
    return context.unit.advance(request, Event.RECALL, context.now, by, rule="R25", **facts)


def tell_late(unit: Unit, request: Request, now: datetime, by: Actor) -> None:
    """Write the delayed letter of a recall after the book was not in the drop; a letter already written stays (R24)."""
    known = replace(request, due=request.due_before_recall or request.due)
    unit.enqueue(Notification.LETTER_RECALLED, request, now, by, known)


def _not_asked(request: Request) -> RequestChange:
    """Changes that end a pending renewal request: the owner's message is its answer."""
    return renewing.NOT_ASKED if request.renewal_sync == RenewalSync.PENDING else {}


def _note(context: Context, ask: PartnerNotice, request: Request) -> Recalled:
    """Note a recall before the loan: staff see it at the scan, or the book goes back at once, as the policy says."""
    after = context.unit.advance(
        request, Event.RECALL_NOTED, context.now, ask.by, rule="R24", recalled_on=dates.civil(context.now)
    )
    if context.library.policy.recall.before_pickup == "return" and context.unit.can(after, Event.RETURN_UNUSED):
        after = context.unit.advance(after, Event.RETURN_UNUSED, context.now, ask.by, rule="R24", reason="recalled")
    return _answer(after, ask)


def recall_cancelled(context: Context, ask: PartnerNotice) -> Recalled | Refused:
    """Cancel the owner's recall: the earlier due date is restored where it is later (R26)."""
    request = _theirs(context, ask, News.RECALL_CANCELLED)
    if isinstance(request, Refused):
        return request
    if not context.unit.can(request, Event.CANCEL_RECALL):
        return _late(context.unit, ask, request, context.now)
    if request.recalled_on is None:
        return _answer(request, ask, again=True)
    facts = _without_recall(request, dates.restored_due(request, context.library.policy), context.now)
    after = context.unit.advance(request, Event.CANCEL_RECALL, context.now, ask.by, rule="R26", **facts)
    return replace(_answer(after, ask), old_due=request.due)


def _without_recall(request: Request, until: date | None, now: datetime) -> RequestChange:
    """The fields of a request after its recall ended; the recall's days are kept for the fine (R41)."""
    ended: RequestChange = {"due": until, "recalled_on": None, "due_before_recall": None}
    if request.due:
        ended |= {"recall_was_on": request.recalled_on, "recall_cancelled_on": dates.civil(now)}
    return ended


def owner_renewed(context: Context, ask: PartnerNotice) -> Renewed | Refused:
    """Apply the owner's extension: its date, never an earlier one; it also ends a recall.

    If a renewal request is pending, this is its late answer, and the due date is at most the one asked for.
    Before the loan only the lender's date changes.
    """
    request = _theirs(context, ask, News.RENEWED)
    if isinstance(request, Refused):
        return request
    if ask.due is None:
        return _no(context.unit, ask, Reason.UNUSABLE_MESSAGE, context.now, request)
    longer = max(d for d in (request.lender_due, ask.due) if d)
    if context.unit.can(request, Event.OWNER_RENEW) and request.due:
        until = max(request.due, min(ask.due, request.due_asked or ask.due))
        facts: RequestChange = _without_recall(request, until, context.now) if request.recalled_on else {"due": until}
        facts |= renewing.NOT_ASKED
        facts["lender_due"] = longer
        if request.renewal_sync == RenewalSync.PENDING:
            facts |= {"renewals": request.renewals + 1, "renewed_at": context.now}
        if (until, longer) != (request.due, request.lender_due):
            request = context.unit.advance(request, Event.OWNER_RENEW, context.now, ask.by, **facts)
            if "recalled_on" in facts:  # the recall is over with it
                context.unit.enqueue(Notification.LETTER_RECALL_CANCELLED, request, context.now, ask.by)
    elif context.unit.can(request, Event.RECALL_NOTED):
        request = context.unit.amend(request, context.now, ask.by, lender_due=longer)
    else:
        return _no(context.unit, ask, Reason.NOT_ON_LOAN, context.now, request)
    item = request.item or ItemKey("", "")
    return Renewed(request.id, item, request.patron, request.title, request.due, request.renewals)


def _theirs(context: Context, ask: PartnerNotice, news: News) -> Request | Refused:
    """The request that an owner speaks of; only the library that lends the book may (R23)."""
    unit, now = context.unit, context.now
    asked = unit.request_asked(ask.wire_id)
    request = asked[0] if asked else _with_copy(unit, ask.item)
    if request is None and ask.item:  # the copy has not come, or never did
        asked = asked_for(unit, ask.item)
        request = asked[0] if asked else None
    if request is None:
        return _no(unit, ask, Reason.UNKNOWN_REQUEST if ask.wire_id else Reason.UNKNOWN_ITEM, now)
    owner = asked[1].agency if asked else request.item_agency or request.partner
    if owner != ask.partner or (ask.item and ask.item.agency != ask.partner):
        return _no(unit, ask, Reason.AGENCY_NOT_OWNER, now, request)
    return contradicted(context, ask, request, news) or request


def _with_copy(unit: Unit, item: ItemKey | None) -> Request | None:
    """The open request that holds the copy, else the last that did; never one where we lend."""
    if item is None:
        return None
    held = [r for r in unit.requests_with(item.barcode, item.agency) if r.side is Side.BORROWING]
    last = held[0] if held else unit.last_with(item)
    return last if last and last.side is Side.BORROWING else None


def _former(request: Request, ask: PartnerNotice) -> bool:
    """Whether the message is of a former lender or a former attempt, which cannot recall the book."""
    return request.partner != ask.partner or (bool(ask.wire_id) and request.wire_id != ask.wire_id)


def _late(unit: Unit, ask: PartnerNotice, request: Request, now: datetime) -> Recalled:
    unit.note(request, "LATE", {"message": ask.by.message}, now, ask.by)
    return replace(_answer(request, ask), late=True)


def _answer(request: Request, ask: PartnerNotice, *, again: bool = False) -> Recalled:
    state: dict[str, Any] = {"position": request.position, "recalled": request.recalled_on is not None}
    return Recalled(request.id, request.item, request.due, asked_due=ask.due, again=again, **state)


def _no(unit: Unit, ask: PartnerNotice, why: Reason, now: datetime, request: Request | None = None) -> Refused:
    unit.refuse(Refusal(why), now, ask.by, request)
    return refused(Refusal(why))


# ---- we, the owner of a book that is lent


def recall_lent(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Recall our lent copy for a patron of ours: the borrower gets a date, at the latest the one agreed before.

    `command.on` is the day by which we want it; else the policy's days to bring it back count from today.
    """
    if not context.unit.can(request, Event.RECALL_LENT):
        return elsewhere(context.unit, command, request, context.now)
    today, again = dates.civil(context.now), request.recalled_on is not None
    wanted = max(today, command.on or today + timedelta(days=context.library.policy.recall.return_days))
    until = min(d for d in (wanted, request.lender_due) if d)
    if again and until == request.lender_due:
        return done(request, again=True, due=until)
    facts: RequestChange = {
        "lender_due": until,
        "due_before_recall": request.due_before_recall if again else request.lender_due,
        "recalled_on": request.recalled_on or today,
        "reason": command.reason,
    }
    return done(context.unit.advance(request, Event.RECALL_LENT, context.now, command.by, rule="R23", **facts), due=until)


def cancel_recall_lent(context: Context, command: StaffCommand, request: Request) -> Done | Refused:
    """Cancel the recall of our lent copy: the borrower may keep it until the date agreed before."""
    if not context.unit.can(request, Event.CANCEL_RECALL_LENT):
        return elsewhere(context.unit, command, request, context.now)
    if request.recalled_on is None:
        return done(request, again=True, due=request.lender_due)
    until = max((d for d in (request.due_before_recall, request.lender_due) if d), default=None)
    facts: RequestChange = {"lender_due": until, "due_before_recall": None, "recalled_on": None, "reason": command.reason}
    return done(
        context.unit.advance(request, Event.CANCEL_RECALL_LENT, context.now, command.by, rule="R26", **facts), due=until
    )

"""The counter lends: checkout and renewal, each a function inside one unit of work."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from hkall_gateway.desk import renewing
from hkall_gateway.desk.common.counts import closed_days, counts
from hkall_gateway.desk.common.library import Library, refused
from hkall_gateway.desk.common.patron_blocks import patron_blocks
from hkall_gateway.desk.common.staff_flags import flagged
from hkall_gateway.desk.fines import dollars, fix_fine, left_to_charge
from hkall_gateway.desk.messages.commands import CheckOut, Renew
from hkall_gateway.desk.messages.results import CheckedOut, Outcome, Refused, Renewed
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.queries import one_with
from hkall_gateway.rules import eligibility, policy
from hkall_gateway.rules.dates import calendar
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.policy import Terminal
from hkall_gateway.rules.renewals import is_repetition
from hkall_gateway.rules.vocabulary import Borrower, Grant, ItemKey, Position, Reason, Refusal, Request, Side
from hkall_gateway.store.unit import Unit

P = Position


# ---- checkout


def check_out(unit: Unit, ask: CheckOut, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Lend a copy that waits on our hold shelf to the patron it was fetched for (R13 to R21)."""
    return lend(unit, ask, one_with(unit, ask.barcode, ask.agency, ask.card), facts, library, now)


def lend(
    unit: Unit, ask: CheckOut, found: Request | Refused | None, facts: BorrowerFacts, library: Library, now: datetime
) -> Outcome:
    """The same, with the copy's request already found."""
    if isinstance(found, Refused):
        return found
    if found is None or found.side is Side.LENDING:
        return _refuse(unit, Refusal(Reason.UNKNOWN_ITEM), ask, found, facts, now)
    if ask.undo:
        return _undo_checkout(unit, ask, found, facts, now)
    if facts.borrower is None:
        stranger = facts.stranger
        return _refuse(unit, Refusal(stranger), ask, _for_staff(unit, ask, found, stranger, now), facts, now)
    if found.position is P.ON_LOAN and found.patron == ask.card:
        return _again(unit, ask, found, facts, library, now)
    return _lend(unit, ask, found, facts, facts.borrower, library, now)


def _lend(
    unit: Unit, ask: CheckOut, request: Request, facts: BorrowerFacts, borrower: Borrower, library: Library, now: datetime
) -> Outcome:
    terminal = Terminal(ask.place.role, ask.place.location)
    took, closures, known = unit.at_once(
        lambda: counts(unit, borrower, library, without=request.id),
        lambda: closed_days(unit, library),
        lambda: patron_blocks(unit, borrower.barcode, library, now),
    )
    answer = policy.may_borrow(
        borrower, request, took, terminal, library.policy, now, closures, staff=ask.staff, standing=known
    )
    if ask.no_block:  # also offline, only the requester can borrow it
        answer = policy.not_theirs(borrower, request) or answer
    conflict = ""
    if isinstance(answer, Refusal):
        if not ask.no_block or request.patron != borrower.barcode or not unit.can(request, Event.CHECK_OUT):
            return _refuse(unit, answer, ask, _for_staff(unit, ask, request, answer.why, now), BorrowerFacts(borrower, ""), now)
        conflict = answer.why.value  # it happened offline: accepted, and shown to staff
    happened = ask.happened_at if ask.no_block and ask.happened_at else now
    granted = answer.due if isinstance(answer, Grant) and happened == now else None
    allowed = granted or policy.loan_due(borrower, request, library.policy, happened, closures)
    due = min(ask.due_told, allowed) if conflict and ask.due_told else allowed
    flags = flagged(request, f"offline:{conflict}" if conflict else "", facts.flag)
    lent = _record_loan(unit, ask, request, borrower, due, happened, library, now, flags)
    renewing.ask_for_later_date(unit, lent, now, ask.by)
    item, recalled = lent.item or ItemKey("", ""), lent.recalled_on is not None
    if recalled:
        unit.tell(Notification.LETTER_RECALLED, lent, now, ask.by)  # before the loan no letter was sent (R24)
    return CheckedOut(lent.id, item, ask.card, lent.title, due, borrower.language, conflict=conflict, recalled=recalled)


def _record_loan(
    unit: Unit,
    ask: CheckOut,
    request: Request,
    borrower: Borrower,
    due: date,
    happened: datetime,
    library: Library,
    now: datetime,
    flags: str,
) -> Request:
    category = eligibility.category_of(borrower, library.policy)
    return unit.advance(
        request,
        Event.CHECK_OUT,
        now,
        ask.by,
        rule="R19",
        due=due,
        due_before_recall=_without_recall(unit, request, borrower, library, happened) if request.recalled_on else None,
        first_checkout=request.first_checkout or calendar.civil(happened),
        loan_days=category.loan_days if category else request.loan_days,
        used=True,
        expired_pickup=False,
        flags=flags,
    )


def _without_recall(unit: Unit, request: Request, borrower: Borrower, library: Library, happened: datetime) -> date:
    """The due date without the recall that came before the loan; cancelling the recall restores it (R26)."""
    plain = replace(request, recalled_on=None)
    return policy.loan_due(borrower, plain, library.policy, happened, closed_days(unit, library))


def _for_staff(unit: Unit, ask: CheckOut, request: Request, why: Reason, now: datetime) -> Request:
    """Flag an offline checkout (no block) that cannot become a loan, for staff."""
    return unit.amend(request, now, ask.by, flags=flagged(request, f"offline:{why.value}")) if ask.no_block else request


def _again(unit: Unit, ask: CheckOut, request: Request, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Answer a repeated checkout by the same patron: the same success, or a renewal where the terminal asks for one.

    Most self-checks always ask for one; within the policy's window the repetition counts as the same scan, or as a resend after
    a lost reply.
    """
    language = facts.borrower.language if facts.borrower else ""
    if ask.renewal_allowed and not _just(request.moved_at, library, now):
        again = Renew(ask.by, ask.card, ask.barcode, ask.agency, fee_acknowledged=ask.fee_acknowledged)
        renewed = renew(unit, again, facts, library, now)
        if isinstance(renewed, Renewed) and not renewed.pending:
            return CheckedOut(request.id, renewed.item, ask.card, request.title, renewed.due, language, True, True)
        if isinstance(renewed, Refused):
            return renewed
    return CheckedOut(request.id, request.item or ItemKey("", ""), ask.card, request.title, request.due, language, again=True)


def _undo_checkout(unit: Unit, ask: CheckOut, request: Request, facts: BorrowerFacts, now: datetime) -> Outcome:
    """Undo a checkout that the terminal could not finish: the copy is on the hold shelf again. Repeating it is a success."""
    if ask.card and request.patron != ask.card:
        return _refuse(unit, Refusal(Reason.NOT_REQUESTER), ask, request, facts, now)
    after = request
    if unit.can(request, Event.UNDO_CHECK_OUT):
        blank: dict[str, Any] = {
            "due": None,
            "due_before_recall": None,
            "first_checkout": None,
            "used": False,
            "dropped_on": None,
        }
        after = unit.advance(request, Event.UNDO_CHECK_OUT, now, ask.by, **blank)
    elif request.position is not P.RECEIVED:
        return _refuse(unit, Refusal(Reason.NOT_ON_LOAN), ask, request, facts, now)
    return CheckedOut(after.id, after.item or ItemKey("", ""), ask.card, after.title, None, undone=True)


def _refuse(
    unit: Unit, refusal: Refusal, ask: CheckOut | Renew, request: Request | None, facts: BorrowerFacts, now: datetime
) -> Refused:
    unit.refuse(refusal, now, ask.by, request, patron=ask.card)
    language = facts.borrower.language if facts.borrower else ""
    no = refused(refusal, language, request.title if request else "")
    return replace(no, item=request.item if request else None, due=request.due if request else None)


# ---- renewal


def renew(unit: Unit, ask: Renew, facts: BorrowerFacts, library: Library, now: datetime) -> Outcome:
    """Set a later due date (R27 to R33). The same renewal again gets the same answer while no other event followed it."""
    found = _to_renew(unit, ask)
    if isinstance(found, Refused):
        return found
    if ask.card and facts.replaced:
        return _refuse(unit, Refusal(facts.stranger), ask, None, facts, now)
    if found is None or found.position is not P.ON_LOAN:
        return _refuse(unit, Refusal(Reason.NOT_ON_LOAN), ask, found, facts, now)
    if ask.card and found.patron != ask.card:
        return _refuse(unit, Refusal(Reason.ON_LOAN_TO_ANOTHER), ask, found, facts, now)
    if is_repetition(found, library.policy, now) or found.renewal_sync == renewing.PENDING:
        return _renewed(found, facts)
    first = renewing.lender_decides(unit, found)
    loan = renewing.uncapped(found) if first else found
    borrower = facts.borrower or unit.patron(found.patron)
    known = patron_blocks(unit, found.patron, library, now)
    answer = policy.may_renew(
        loan, library.policy, now, closed_days(unit, library), staff=ask.staff, borrower=borrower, standing=known
    )
    if isinstance(answer, Refusal):
        return _refuse(unit, answer, ask, found, facts, now)
    cents = 0 if ask.fee_acknowledged else left_to_charge(unit, found, calendar.civil(now), library)
    if cents:
        return _refuse(unit, Refusal(Reason.FEE_NOT_ACKNOWLEDGED, {"fee": dollars(cents)}), ask, found, facts, now)
    if first and answer.due:
        return _renewed(renewing.ask(unit, found, answer.due, now, ask.by), facts)
    return _prolong(unit, ask, found, answer, facts, library, now)


def _to_renew(unit: Unit, ask: Renew) -> Request | Refused | None:
    if ask.barcode:
        return one_with(unit, ask.barcode, ask.agency, ask.card)
    titles = [r for r in unit.open_requests(ask.card) if r.title == ask.title and r.position is P.ON_LOAN]
    return titles[0] if len(titles) == 1 else Refused(Reason.AMBIGUOUS_ITEM) if titles else None


def _just(done_at: datetime | None, library: Library, now: datetime) -> bool:
    """Whether an event is so recent that the same command again counts as a repetition."""
    window = timedelta(seconds=library.policy.renewal.repeat_window_s)
    return done_at is not None and now - done_at < window


def _prolong(
    unit: Unit, ask: Renew, request: Request, grant: Grant, facts: BorrowerFacts, library: Library, now: datetime
) -> Renewed:
    """Renew the loan and fix the fine that has accrued up to today as a charge (R40)."""
    cents = fix_fine(unit, request, calendar.civil(now), library, now, ask.by)
    after = unit.advance(
        request,
        Event.RENEW,
        now,
        ask.by,
        rule="R32",
        due=grant.due,
        due_before_renewal=request.due,
        renewal_sync=renewing.NONE,
        renewals=request.renewals + 1,
        renewed_at=now,
    )
    return replace(_renewed(after, facts), fine_cents=cents)


def _renewed(request: Request, facts: BorrowerFacts) -> Renewed:
    language = facts.borrower.language if facts.borrower else ""
    item = request.item or ItemKey("", "")
    pending = request.renewal_sync == renewing.PENDING
    return Renewed(request.id, item, request.patron, request.title, request.due, request.renewals, language, pending)

"""Loans at the counter: checkout and renewal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from hkall_gateway.circulation import lending, recalls
from hkall_gateway.circulation.borrowers import closed_days, counts, patron_blocks
from hkall_gateway.circulation.command import Command, Context, Query, flagged, refused
from hkall_gateway.circulation.find_request import find_open_request
from hkall_gateway.circulation.fines import dollars, fix_fine, left_to_charge
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import CheckedOut, Refused, Renewed
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, eligibility, policy
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.policy import Place, is_repetition
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import RenewalSync, StaffFlag
from hkall_gateway.rules.vocabulary import (
    NOTHING,
    Actor,
    Borrower,
    Grant,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestChange,
    Sensitive,
    Side,
)


@record
@dataclass(frozen=True, slots=True)
class AllRenewed:
    """Result: the renewed loans, and the refusals for all other loans."""

    renewed: tuple[Renewed, ...]
    refused: tuple[Refused, ...]
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAll(Command[BorrowerFacts, "AllRenewed"]):
    """Renew all loans of a card. `fee_acknowledged` means that the caller accepts the fines."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    fee_acknowledged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOut(Command[BorrowerFacts, CheckedOut]):
    """Lend a copy to a card, or, with `undo`, take back a checkout that the terminal could not finish.

    `staff` lifts refusals that bind only patrons: a book past its pickup deadline, or recalled before the checkout.
    """

    by: Actor
    place: Place
    card: str
    barcode: str
    agency: str = ""
    pin: Sensitive = NOTHING
    pin_given: bool = False
    no_block: bool = False
    renewal_allowed: bool = False
    fee_acknowledged: bool = True
    happened_at: datetime | None = None
    due_told: date | None = None
    undo: bool = False
    staff: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew(Command[BorrowerFacts, Renewed]):
    """Renew a loan.

    Attributes:
        card: The patron's card, or "" if staff renew by the copy alone.
        staff: Whether staff renew the loan, which lifts refusals that bind only patrons.
        fee_acknowledged: Whether the caller accepts the fine that has accrued so far.
    """

    by: Actor
    card: str
    barcode: str = ""
    agency: str = ""
    title: str = ""
    pin: Sensitive = NOTHING
    pin_given: bool = False
    staff: bool = False
    fee_acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class FindFixedLoans(Query[BorrowerFacts, frozenset[str]]):
    """Query the numbers of a patron's loans that cannot be renewed now."""

    card: str


P = Position


def check_out(context: Context, command: CheckOut, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Lend a copy on our hold shelf to its requester (R13 to R21). For a partner's card, ship our copy instead."""
    partner = context.unit.partners.with_card(command.card)
    if partner is not None:
        return lending.ship_at_counter(context, command.by, command.place.role, command.card, command.barcode, partner)
    found = find_open_request(context.unit, command.barcode, command.agency, command.card)
    if isinstance(found, Refused):
        return _refuse(context, found.why, command, None, facts)
    if found is None or found.side is Side.LENDING:
        return _refuse(context, Reason.UNKNOWN_ITEM, command, found, facts)
    if command.undo:
        return _undo_checkout(context, command, found, facts)
    if facts.borrower is None:
        stranger = facts.stranger
        return _refuse(context, stranger, command, _flag_offline(context, command, found, stranger), facts)
    if found.position is P.ON_LOAN and found.patron == command.card:
        return _repeat_checkout(context, command, found, facts)
    return _lend_copy(context, command, found, facts, facts.borrower)


def _lend_copy(
    context: Context, command: CheckOut, request: Request, facts: BorrowerFacts, borrower: Borrower
) -> CheckedOut | Refused:
    terminal = command.place
    took = counts(context, borrower, without=request.id)
    closures, known = closed_days(context), patron_blocks(context, borrower.barcode)
    answer = policy.may_borrow(
        borrower, request, took, terminal, context.library.policy, context.now, closures, staff=command.staff, blocks=known
    )
    if command.no_block:  # even offline, only the requester can borrow the copy
        answer = policy.not_theirs(borrower, request) or answer
    conflict = ""
    if isinstance(answer, Refusal):
        if not command.no_block or request.patron != borrower.barcode or not context.unit.can(request, Event.CHECK_OUT):
            return _refuse(
                context,
                answer,
                command,
                _flag_offline(context, command, request, answer.why),
                BorrowerFacts(borrower=borrower, source=""),
            )
        conflict = answer.why.value  # the loan has already happened offline: accept it, and flag it for staff
    happened = command.happened_at if command.no_block and command.happened_at else context.now
    granted = answer.due if isinstance(answer, Grant) and happened == context.now else None
    allowed = granted or policy.loan_due(borrower, request, context.library.policy, happened, closures)
    due = min(command.due_told, allowed) if conflict and command.due_told else allowed
    flags = request.flags
    if conflict or facts.flag:
        flags = flagged(request, StaffFlag.offline(conflict) if conflict else "", facts.flag)
    lent = _record_loan(context, command, request, borrower, due, happened, flags)
    if dates.past_lender(lent):
        recalls.ask_for_later_date(context, lent, command.by)
    item, recalled = lent.item or ItemKey("", ""), lent.recalled_on is not None
    if recalled:
        context.unit.enqueue(Notification.LETTER_RECALLED, lent, context.now, command.by)  # withheld until the loan (R24)
    language, title = borrower.language, lent.full_title
    return CheckedOut(
        request=lent.id,
        item=item,
        card=command.card,
        title=title,
        due=due,
        language=language,
        conflict=conflict,
        recalled=recalled,
    )


def _record_loan(
    context: Context,
    command: CheckOut,
    request: Request,
    borrower: Borrower,
    due: date,
    happened: datetime,
    flags: str,
) -> Request:
    category = eligibility.category_of(borrower, context.library.policy)
    return context.unit.advance(
        request,
        Event.CHECK_OUT,
        context.now,
        command.by,
        rule="R19",
        due=due,
        due_before_recall=_due_without_recall(context, request, borrower, happened) if request.recalled_on else None,
        first_checkout=request.first_checkout or dates.civil(happened),
        loan_days=category.loan_days if category else request.loan_days,
        used=True,
        expired_pickup=False,
        flags=flags,
    )


def _due_without_recall(context: Context, request: Request, borrower: Borrower, happened: datetime) -> date:
    """Compute the due date as if the book had not been recalled. A cancelled recall restores this date (R26)."""
    plain = replace(request, recalled_on=None)
    return policy.loan_due(borrower, plain, context.library.policy, happened, closed_days(context))


def _flag_offline(context: Context, command: CheckOut, request: Request, why: Reason) -> Request:
    """Flag for staff an offline checkout (no block) that cannot become a loan."""
    if not command.no_block:
        return request
    return context.unit.amend(request, context.now, command.by, flags=flagged(request, StaffFlag.offline(why)))


def _repeat_checkout(context: Context, command: CheckOut, request: Request, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Answer a repeated checkout by the same patron with the same success, or renew if the terminal allows renewals.

    Most self-checks always allow renewals. A repetition within the policy's `repeat_window_s` counts as the same scan, or as a
    resend after a lost reply, and does not renew.
    """
    language = facts.borrower.language if facts.borrower else ""
    if command.renewal_allowed and not _is_recent(context, request.moved_at):
        again = Renew(
            by=command.by,
            card=command.card,
            barcode=command.barcode,
            agency=command.agency,
            fee_acknowledged=command.fee_acknowledged,
        )
        renewed = renew(context, again, facts)
        if isinstance(renewed, Renewed) and not renewed.pending:
            return CheckedOut(
                request=request.id,
                item=renewed.item,
                card=command.card,
                title=request.full_title,
                due=renewed.due,
                language=language,
                again=True,
                renewed=True,
            )
        if isinstance(renewed, Refused):
            return renewed
    return CheckedOut(
        request=request.id,
        item=request.item or ItemKey("", ""),
        card=command.card,
        title=request.full_title,
        due=request.due,
        language=language,
        again=True,
    )


def _undo_checkout(context: Context, command: CheckOut, request: Request, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Undo an unfinished checkout: put the copy back on the hold shelf. A repetition succeeds."""
    if command.card and request.patron != command.card:
        return _refuse(context, Reason.NOT_REQUESTER, command, request, facts)
    after = request
    if context.unit.can(request, Event.UNDO_CHECK_OUT):
        blank: RequestChange = {
            "due": None,
            "due_before_recall": None,
            "first_checkout": None,
            "used": False,
            "dropped_on": None,
        }
        after = context.unit.advance(request, Event.UNDO_CHECK_OUT, context.now, command.by, **blank)
    elif request.position is not P.RECEIVED:
        return _refuse(context, Reason.NOT_ON_LOAN, command, request, facts)
    return CheckedOut(
        request=after.id, item=after.item or ItemKey("", ""), card=command.card, title=after.full_title, due=None, undone=True
    )


def _refuse(
    context: Context, why: Refusal | Reason, command: CheckOut | Renew, request: Request | None, facts: BorrowerFacts
) -> Refused:
    language = facts.borrower.language if facts.borrower else ""
    no = context.refuse(why, command.by, request, patron=command.card, language=language)
    return replace(no, item=request.item if request else None, due=request.due if request else None)


def renew(context: Context, command: Renew, facts: BorrowerFacts) -> Renewed | Refused:
    """Renew a loan (R27 to R33). A repetition gets the same answer until another event follows."""
    found = _find_loan(context.unit, command)
    if isinstance(found, Refused):
        return _refuse(context, found.why, command, None, facts)
    if command.card and facts.replaced:
        return _refuse(context, facts.stranger, command, None, facts)
    if found is None or found.position is not P.ON_LOAN:
        return _refuse(context, Reason.NOT_ON_LOAN, command, found, facts)
    if command.card and found.patron != command.card:
        return _refuse(context, Reason.ON_LOAN_TO_ANOTHER, command, found, facts)
    if is_repetition(found, context.library.policy, context.now) or found.renewal_sync == RenewalSync.PENDING:
        return _renewed_result(found, facts)
    first = recalls.lender_decides(context.unit, found)
    answer = may_renew(context, found, facts, staff=command.staff)
    if isinstance(answer, Refusal):
        return _refuse(context, answer, command, found, facts)
    cents = 0 if command.fee_acknowledged else left_to_charge(context, found, dates.civil(context.now))
    if cents:
        return _refuse(context, Refusal(Reason.FEE_NOT_ACKNOWLEDGED, detail={"fee": dollars(cents)}), command, found, facts)
    if first and answer.due:
        return _renewed_result(recalls.ask_lender(context, found, answer.due, command.by), facts)
    charged_cents = fix_fine(context, found, dates.civil(context.now), command.by)  # charges the fine until today (R40)
    after = context.unit.advance(
        found,
        Event.RENEW,
        context.now,
        command.by,
        rule="R32",
        due=answer.due,
        due_before_renewal=found.due,
        renewal_sync=RenewalSync.NONE,
        renewals=found.renewals + 1,
        renewed_at=context.now,
    )
    return replace(_renewed_result(after, facts), fine_cents=charged_cents)


def may_renew(context: Context, loan: Request, facts: BorrowerFacts, *, staff: bool = False) -> Grant | Refusal:
    """Decide whether a loan may be renewed now, and until when. A lender that is asked first may name another date."""
    uncapped = recalls.without_lender_date(loan) if recalls.lender_decides(context.unit, loan) else loan
    return policy.may_renew(
        uncapped,
        context.library.policy,
        context.now,
        closed_days(context),
        staff=staff,
        borrower=facts.borrower or context.unit.patrons.find(loan.patron),
        blocks=patron_blocks(context, loan.patron),
    )


def find_fixed_loans(context: Context, query: FindFixedLoans, facts: BorrowerFacts) -> frozenset[str]:
    """Return the numbers of the loans that this card cannot renew now."""
    loans = [request for request in context.unit.requests.open_of_patron(query.card) if request.position is P.ON_LOAN]
    return frozenset(loan.id for loan in loans if isinstance(may_renew(context, loan, facts), Refusal))


def _find_loan(unit: UnitOfWork, command: Renew) -> Request | Refused | None:
    if command.barcode:
        return find_open_request(unit, command.barcode, command.agency, command.card)
    titles = [r for r in unit.requests.open_of_patron(command.card) if r.is_named(command.title) and r.position is P.ON_LOAN]
    return titles[0] if len(titles) == 1 else Refused(why=Reason.AMBIGUOUS_ITEM) if titles else None


def _is_recent(context: Context, done_at: datetime | None) -> bool:
    """Check whether an event is so recent that the same command counts as a repetition."""
    window = timedelta(seconds=context.library.policy.renewal.repeat_window_s)
    return done_at is not None and context.now - done_at < window


def _renewed_result(request: Request, facts: BorrowerFacts) -> Renewed:
    language = facts.borrower.language if facts.borrower else ""
    item = request.item or ItemKey("", "")
    pending = request.renewal_sync == RenewalSync.PENDING
    return Renewed(
        request=request.id,
        item=item,
        card=request.patron,
        title=request.full_title,
        due=request.due,
        renewals=request.renewals,
        language=language,
        pending=pending,
    )


def renew_all(context: Context, command: RenewAll, facts: BorrowerFacts) -> AllRenewed | Refused:
    """Renew every loan of a patron that may be renewed (R27 to R33)."""
    if facts.borrower is None:
        context.unit.refuse(Refusal(facts.stranger), context.now, command.by, patron=command.card)
        return refused(Refusal(facts.stranger))
    loans = [r for r in context.unit.requests.open_of_patron(command.card) if r.position is P.ON_LOAN and r.item]
    answers = [
        renew(
            context,
            Renew(
                by=command.by,
                card=command.card,
                barcode=r.item_barcode,
                agency=r.item_agency,
                fee_acknowledged=command.fee_acknowledged,
            ),
            facts,
        )
        for r in loans
    ]
    return AllRenewed(
        tuple(answer for answer in answers if isinstance(answer, Renewed)),
        tuple(answer for answer in answers if isinstance(answer, Refused)),
        facts.borrower.language,
    )

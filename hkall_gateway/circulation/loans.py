"""The counter lends: checkout and renewal, each a function inside one unit of work."""

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
    """The renewed loans, and the refused ones with reasons; each loan is in one of the two."""

    renewed: tuple[Renewed, ...]
    refused: tuple[Refused, ...]
    language: str = ""


@dataclass(frozen=True, slots=True)
class RenewAll(Command[BorrowerFacts, "AllRenewed"]):
    """Renews all loans. `fee_acknowledged`: the caller accepts the fines."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    fee_acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class CheckOut(Command[BorrowerFacts, CheckedOut]):
    """Lends this copy to this card. `undo` takes back a checkout that the terminal could not finish.

    `staff` lifts refusals that apply to patrons only: a book that waited too long, or that its owner has recalled since.
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


@dataclass(frozen=True, slots=True)
class Renew(Command[BorrowerFacts, Renewed]):
    """Renews a loan. `card` is empty when the caller need not name it (staff).

    `staff` lifts refusals that apply to patrons only. `fee_acknowledged`: the caller accepts the fine that has accrued until
    now.
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
    """Asks for the numbers of a patron's loans that could not be renewed now."""

    card: str


P = Position


def check_out(context: Context, ask: CheckOut, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Lend a copy that waits on our hold shelf to the patron it was fetched for (R13 to R21). A partner's card ships it."""
    partner = context.unit.partners.with_card(ask.card)
    if partner is not None:
        return lending.ship_at_counter(context, ask.by, ask.place.role, ask.card, ask.barcode, partner)
    found = find_open_request(context.unit, ask.barcode, ask.agency, ask.card)
    if isinstance(found, Refused):
        return found
    if found is None or found.side is Side.LENDING:
        return _refuse(context, Reason.UNKNOWN_ITEM, ask, found, facts)
    if ask.undo:
        return _undo_checkout(context, ask, found, facts)
    if facts.borrower is None:
        stranger = facts.stranger
        return _refuse(context, stranger, ask, _flag_offline(context, ask, found, stranger), facts)
    if found.position is P.ON_LOAN and found.patron == ask.card:
        return _repeat_checkout(context, ask, found, facts)
    return _lend_copy(context, ask, found, facts, facts.borrower)


def _lend_copy(
    context: Context, ask: CheckOut, request: Request, facts: BorrowerFacts, borrower: Borrower
) -> CheckedOut | Refused:
    terminal = ask.place
    took = counts(context, borrower, without=request.id)
    closures, known = closed_days(context), patron_blocks(context, borrower.barcode)
    answer = policy.may_borrow(
        borrower, request, took, terminal, context.library.policy, context.now, closures, staff=ask.staff, blocks=known
    )
    if ask.no_block:  # also offline, only the requester can borrow it
        answer = policy.not_theirs(borrower, request) or answer
    conflict = ""
    if isinstance(answer, Refusal):
        if not ask.no_block or request.patron != borrower.barcode or not context.unit.can(request, Event.CHECK_OUT):
            return _refuse(context, answer, ask, _flag_offline(context, ask, request, answer.why), BorrowerFacts(borrower, ""))
        conflict = answer.why.value  # it happened offline: accepted, and shown to staff
    happened = ask.happened_at if ask.no_block and ask.happened_at else context.now
    granted = answer.due if isinstance(answer, Grant) and happened == context.now else None
    allowed = granted or policy.loan_due(borrower, request, context.library.policy, happened, closures)
    due = min(ask.due_told, allowed) if conflict and ask.due_told else allowed
    flags = request.flags
    if conflict or facts.flag:
        flags = flagged(request, StaffFlag.offline(conflict) if conflict else "", facts.flag)
    lent = _record_loan(context, ask, request, borrower, due, happened, flags)
    if dates.past_lender(lent):
        recalls.ask_for_later_date(context, lent, ask.by)
    item, recalled = lent.item or ItemKey("", ""), lent.recalled_on is not None
    if recalled:
        context.unit.enqueue(Notification.LETTER_RECALLED, lent, context.now, ask.by)  # no letter before the loan (R24)
    return CheckedOut(lent.id, item, ask.card, lent.title, due, borrower.language, conflict=conflict, recalled=recalled)


def _record_loan(
    context: Context,
    ask: CheckOut,
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
        ask.by,
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
    """The due date without the recall that came before the loan; cancelling the recall restores it (R26)."""
    plain = replace(request, recalled_on=None)
    return policy.loan_due(borrower, plain, context.library.policy, happened, closed_days(context))


def _flag_offline(context: Context, ask: CheckOut, request: Request, why: Reason) -> Request:
    """Flag an offline checkout (no block) that cannot become a loan, for staff."""
    if not ask.no_block:
        return request
    return context.unit.amend(request, context.now, ask.by, flags=flagged(request, StaffFlag.offline(why)))


def _repeat_checkout(context: Context, ask: CheckOut, request: Request, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Answer a repeated checkout by the same patron: the same success, or a renewal where the terminal asks for one.

    Most self-checks always ask for one; within the policy's window the repetition counts as the same scan, or as a resend after
    a lost reply.
    """
    language = facts.borrower.language if facts.borrower else ""
    if ask.renewal_allowed and not _is_recent(context, request.moved_at):
        again = Renew(ask.by, ask.card, ask.barcode, ask.agency, fee_acknowledged=ask.fee_acknowledged)
        renewed = renew(context, again, facts)
        if isinstance(renewed, Renewed) and not renewed.pending:
            return CheckedOut(request.id, renewed.item, ask.card, request.title, renewed.due, language, True, True)
        if isinstance(renewed, Refused):
            return renewed
    return CheckedOut(request.id, request.item or ItemKey("", ""), ask.card, request.title, request.due, language, again=True)


def _undo_checkout(context: Context, ask: CheckOut, request: Request, facts: BorrowerFacts) -> CheckedOut | Refused:
    """Undo a checkout that the terminal could not finish: the copy is on the hold shelf again. Repeating it is a success."""
    if ask.card and request.patron != ask.card:
        return _refuse(context, Reason.NOT_REQUESTER, ask, request, facts)
    after = request
    if context.unit.can(request, Event.UNDO_CHECK_OUT):
        blank: RequestChange = {
            "due": None,
            "due_before_recall": None,
            "first_checkout": None,
            "used": False,
            "dropped_on": None,
        }
        after = context.unit.advance(request, Event.UNDO_CHECK_OUT, context.now, ask.by, **blank)
    elif request.position is not P.RECEIVED:
        return _refuse(context, Reason.NOT_ON_LOAN, ask, request, facts)
    return CheckedOut(after.id, after.item or ItemKey("", ""), ask.card, after.title, None, undone=True)


def _refuse(
    context: Context, why: Refusal | Reason, ask: CheckOut | Renew, request: Request | None, facts: BorrowerFacts
) -> Refused:
    language = facts.borrower.language if facts.borrower else ""
    no = context.refuse(why, ask.by, request, patron=ask.card, language=language)
    return replace(no, item=request.item if request else None, due=request.due if request else None)


def renew(context: Context, ask: Renew, facts: BorrowerFacts) -> Renewed | Refused:
    """Set a later due date (R27 to R33). The same renewal again gets the same answer while no other event followed it."""
    found = _find_loan(context.unit, ask)
    if isinstance(found, Refused):
        return found
    if ask.card and facts.replaced:
        return _refuse(context, facts.stranger, ask, None, facts)
    if found is None or found.position is not P.ON_LOAN:
        return _refuse(context, Reason.NOT_ON_LOAN, ask, found, facts)
    if ask.card and found.patron != ask.card:
        return _refuse(context, Reason.ON_LOAN_TO_ANOTHER, ask, found, facts)
    if is_repetition(found, context.library.policy, context.now) or found.renewal_sync == RenewalSync.PENDING:
        return _renewed_result(found, facts)
    first = recalls.lender_decides(context.unit, found)
    answer = may_renew(context, found, facts, staff=ask.staff)
    if isinstance(answer, Refusal):
        return _refuse(context, answer, ask, found, facts)
    cents = 0 if ask.fee_acknowledged else left_to_charge(context, found, dates.civil(context.now))
    if cents:
        return _refuse(context, Refusal(Reason.FEE_NOT_ACKNOWLEDGED, {"fee": dollars(cents)}), ask, found, facts)
    if first and answer.due:
        return _renewed_result(recalls.ask_lender(context, found, answer.due, ask.by), facts)
    charged_cents = fix_fine(context, found, dates.civil(context.now), ask.by)  # what has accrued until today (R40)
    after = context.unit.advance(
        found,
        Event.RENEW,
        context.now,
        ask.by,
        rule="R32",
        due=answer.due,
        due_before_renewal=found.due,
        renewal_sync=RenewalSync.NONE,
        renewals=found.renewals + 1,
        renewed_at=context.now,
    )
    return replace(_renewed_result(after, facts), fine_cents=charged_cents)


def may_renew(context: Context, loan: Request, facts: BorrowerFacts, *, staff: bool = False) -> Grant | Refusal:
    """Whether a loan may be renewed now, and until when; a lender that decides itself may name a date of its own."""
    asked = recalls.without_lender_date(loan) if recalls.lender_decides(context.unit, loan) else loan
    return policy.may_renew(
        asked,
        context.library.policy,
        context.now,
        closed_days(context),
        staff=staff,
        borrower=facts.borrower or context.unit.patrons.find(loan.patron),
        blocks=patron_blocks(context, loan.patron),
    )


def find_fixed_loans(context: Context, query: FindFixedLoans, facts: BorrowerFacts) -> frozenset[str]:
    """The numbers of the loans that this card could not renew now."""
    loans = [request for request in context.unit.requests.open_of(query.card) if request.position is P.ON_LOAN]
    return frozenset(loan.id for loan in loans if isinstance(may_renew(context, loan, facts), Refusal))


def _find_loan(unit: UnitOfWork, ask: Renew) -> Request | Refused | None:
    if ask.barcode:
        return find_open_request(unit, ask.barcode, ask.agency, ask.card)
    titles = [r for r in unit.requests.open_of(ask.card) if r.title == ask.title and r.position is P.ON_LOAN]
    return titles[0] if len(titles) == 1 else Refused(Reason.AMBIGUOUS_ITEM) if titles else None


def _is_recent(context: Context, done_at: datetime | None) -> bool:
    """Whether an event is so recent that the same command again counts as a repetition."""
    window = timedelta(seconds=context.library.policy.renewal.repeat_window_s)
    return done_at is not None and context.now - done_at < window


def _renewed_result(request: Request, facts: BorrowerFacts) -> Renewed:
    language = facts.borrower.language if facts.borrower else ""
    item = request.item or ItemKey("", "")
    pending = request.renewal_sync == RenewalSync.PENDING
    return Renewed(request.id, item, request.patron, request.title, request.due, request.renewals, language, pending)


def renew_all(context: Context, ask: RenewAll, facts: BorrowerFacts) -> AllRenewed | Refused:
    """Renew every loan of a patron that may be renewed (R27 to R33)."""
    if facts.borrower is None:
        context.unit.refuse(Refusal(facts.stranger), context.now, ask.by, patron=ask.card)
        return refused(Refusal(facts.stranger))
    loans = [r for r in context.unit.requests.open_of(ask.card) if r.position is P.ON_LOAN and r.item]
    answers = [
        renew(context, Renew(ask.by, ask.card, r.item_barcode, r.item_agency, fee_acknowledged=ask.fee_acknowledged), facts)
        for r in loans
    ]
    return AllRenewed(
        tuple(answer for answer in answers if isinstance(answer, Renewed)),
        tuple(answer for answer in answers if isinstance(answer, Refused)),
        facts.borrower.language,
    )

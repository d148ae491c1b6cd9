"""The counter: who is this, what is this copy, lend it, keep it longer. Each a function inside one unit of work."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from hkall_gateway.desk.asks import (
    CheckedOut,
    CheckOut,
    ItemSeen,
    LoanLine,
    Outcome,
    PatronSeen,
    Refused,
    Renew,
    Renewed,
    SeeItem,
    SeePatron,
)
from hkall_gateway.desk.house import House, refused
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.tally import closed_days, counts, fine_cents
from hkall_gateway.rules import calendar, eligibility, policy
from hkall_gateway.rules.calendar import Closures
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.policy import Terminal
from hkall_gateway.rules.vocabulary import NOTHING, RULES, Borrower, Grant, ItemKey, Position, Refusal, Request, Side, Why
from hkall_gateway.store.unit import Unit

P = Position
LENT = frozenset({P.ON_LOAN})


# ---- who and what


def see_patron(
    unit: Unit, ask: SeePatron, facts: BorrowerFacts, pin_ok: bool | None, house: House, now: datetime
) -> PatronSeen:
    """A patron's record: may they borrow, what do they have, what do they owe. It decides nothing."""
    borrower = facts.borrower
    if borrower is None:
        return _stranger(ask)
    answer = eligibility.may_use(borrower, house.policy, now)
    category = eligibility.category_of(borrower, house.policy)
    closed = closed_days(unit, house)
    return PatronSeen(
        card=borrower.barcode,
        name=borrower.name,
        name_zh=borrower.name_zh,
        email=borrower.email,
        language=borrower.language,
        category=category.key if category else "",
        valid=isinstance(answer, Grant),
        refusal=refused(answer, borrower.language) if isinstance(answer, Refusal) else None,
        pin_ok=pin_ok,
        lines=tuple(loan_line(r, house, now, closed) for r in unit.open_requests(borrower.barcode)),
        loans_limit=category.quota if category else 0,
        owed_cents=unit.owed_cents(borrower.barcode),
        expires=borrower.expires,
    )


def _stranger(ask: SeePatron) -> PatronSeen:
    no = Refused(Why.UNKNOWN_BORROWER, RULES[Why.UNKNOWN_BORROWER])
    return PatronSeen(ask.card, NOTHING, NOTHING, NOTHING, "", "", False, no, None, (), 0, 0, None)


def loan_line(request: Request, house: House, now: datetime, closed: Closures) -> LoanLine:
    """One line of a patron's record, with the label that patrons see (R35)."""
    return LoanLine(
        request=request.id,
        placed_by=request.placed_by,
        placed_id=request.placed_id,
        position=request.position,
        label=house.policy.labels.get(request.position.value, request.position.value),
        title=request.title,
        item=request.item,
        bib_id=request.bib_id,
        due=request.due,
        placed_at=request.placed_at,
        pickup_last=request.pickup_last,
        pickup_location=request.pickup_location,
        recalled=request.recalled_on is not None,
        overdue=request.position in LENT and request.due is not None and calendar.civil(now) > request.due,
        renewals=request.renewals,
        fine_cents=fine_cents(request, calendar.civil(now), house, closed) if request.position in LENT else 0,
    )


def see_item(unit: Unit, ask: SeeItem, house: House) -> ItemSeen | Refused:
    """What this copy is doing: its part in a request, or its place on a shelf we know of."""
    found = one_with(unit, ask.barcode, ask.agency)
    if isinstance(found, Refused):
        return found
    if found is not None:
        return _seen_in_request(unit, found, house)
    holding = unit.holding(ItemKey(ask.agency or house.agency, ask.barcode))
    if holding is None:
        return Refused(Why.UNKNOWN_ITEM)
    return ItemSeen(
        holding.key,
        holding.title,
        None,
        None,
        holding.agency,
        status=holding.status,
        call_number=holding.call_number,
        author=holding.author,
    )


def _seen_in_request(unit: Unit, request: Request, house: House) -> ItemSeen:
    item = request.item or ItemKey("", "")
    holding = unit.holding(item)
    first = request.first_checkout
    return ItemSeen(
        item=item,
        title=request.title,
        position=request.position,
        side=request.side,
        owner=item.agency,
        request=request.id,
        status=holding.status if holding else "",
        call_number=holding.call_number if holding else "",
        author=holding.author if holding else "",
        due=request.due if request.side is Side.BORROWING else request.lender_due,
        recalled_on=request.recalled_on,
        earliest_recall=first + timedelta(days=house.policy.recall.min_use_days) if first else None,
        pickup_last=request.pickup_last,
        claimed=request.claimed_on is not None,
        lost=request.lost_on is not None,
        held_for=request.patron if request.position is P.RECEIVED else "",
        destination=_destination(request),
    )


def _destination(request: Request) -> str:
    going_home = request.position in {P.TO_RETURN, P.RETURN_TRANSIT} or request.unwanted
    if request.side is Side.LENDING or going_home:
        return request.partner
    return request.pickup_location


def one_with(unit: Unit, barcode: str, agency: str, card: str = "") -> Request | Refused | None:
    """The one open request that holds this copy; None if none; a refusal if the barcode fits copies of two libraries."""
    held = unit.requests_with(barcode, agency)
    mine = [r for r in held if r.patron == card] if card else []
    held = tuple(mine) or held
    if len(held) > 1:
        return Refused(Why.AMBIGUOUS_ITEM)
    return held[0] if held else None


# ---- checkout


def check_out(unit: Unit, ask: CheckOut, facts: BorrowerFacts, house: House, now: datetime) -> Outcome:
    """Lend a copy that waits on our hold shelf to the patron it was fetched for (R13 to R21)."""
    found = one_with(unit, ask.barcode, ask.agency, ask.card)
    if isinstance(found, Refused):
        return found
    if found is None or found.side is Side.LENDING:
        return _refuse(unit, Refusal(Why.UNKNOWN_ITEM), ask, found, facts, now)
    if ask.undo:
        return _undo_checkout(unit, ask, found, facts, now)
    if facts.borrower is None:
        return _refuse(unit, Refusal(Why.UNKNOWN_BORROWER), ask, found, facts, now)
    if found.position is P.ON_LOAN and found.patron == ask.card:
        return _again(unit, ask, found, facts, house, now)
    return _lend(unit, ask, found, facts.borrower, house, now)


def _lend(unit: Unit, ask: CheckOut, request: Request, borrower: Borrower, house: House, now: datetime) -> Outcome:
    terminal = Terminal(ask.place.role, ask.place.location)
    took = counts(unit, borrower, house, without=request.id)
    closures = closed_days(unit, house)
    answer = policy.may_borrow(borrower, request, took, terminal, house.policy, now, closures)
    conflict = ""
    if isinstance(answer, Refusal):
        if not ask.no_block or not unit.can(request, Event.CHECK_OUT):
            return _refuse(unit, answer, ask, request, BorrowerFacts(borrower, ""), now)
        conflict = answer.why.value  # it happened while the line was down: taken, and shown to staff
    happened = ask.happened_at if ask.no_block and ask.happened_at else now
    due = ask.due_told if conflict and ask.due_told else policy.loan_due(borrower, request, house.policy, happened, closures)
    lent = _record_loan(unit, ask, request, borrower, due, happened, house, now, conflict)
    return CheckedOut(lent.id, lent.item or ItemKey("", ""), ask.card, lent.title, due, borrower.language, conflict=conflict)


def _record_loan(
    unit: Unit,
    ask: CheckOut,
    request: Request,
    borrower: Borrower,
    due: date,
    happened: datetime,
    house: House,
    now: datetime,
    conflict: str,
) -> Request:
    category = eligibility.category_of(borrower, house.policy)
    return unit.advance(
        request,
        Event.CHECK_OUT,
        now,
        ask.by,
        rule="R19",
        due=due,
        first_checkout=request.first_checkout or calendar.civil(happened),
        loan_days=category.loan_days if category else request.loan_days,
        used=True,
        expired_pickup=False,
        flags=_flagged(request, conflict),
    )


def _flagged(request: Request, conflict: str) -> str:
    return " ".join(filter(None, [request.flags, f"offline:{conflict}" if conflict else ""]))


def _again(unit: Unit, ask: CheckOut, request: Request, facts: BorrowerFacts, house: House, now: datetime) -> Outcome:
    """The same patron again: the same success, or a renewal where the terminal says that it means one."""
    language = facts.borrower.language if facts.borrower else ""
    if ask.renewal_allowed:
        renewed = renew(unit, Renew(ask.by, ask.card, ask.barcode, ask.agency), facts, house, now)
        if isinstance(renewed, Renewed):
            return CheckedOut(request.id, renewed.item, ask.card, request.title, renewed.due, language, True, True)
        return renewed
    return CheckedOut(request.id, request.item or ItemKey("", ""), ask.card, request.title, request.due, language, again=True)


def _undo_checkout(unit: Unit, ask: CheckOut, request: Request, facts: BorrowerFacts, now: datetime) -> Outcome:
    """The terminal could not finish: the copy is on the hold shelf as before. Asked again it is a success again."""
    if ask.card and request.patron != ask.card:
        return _refuse(unit, Refusal(Why.NOT_REQUESTER), ask, request, facts, now)
    after = request
    if unit.can(request, Event.UNDO_CHECK_OUT):
        after = unit.advance(request, Event.UNDO_CHECK_OUT, now, ask.by, due=None, first_checkout=None, used=False)
    elif request.position is not P.RECEIVED:
        return _refuse(unit, Refusal(Why.NOT_ON_LOAN), ask, request, facts, now)
    return CheckedOut(after.id, after.item or ItemKey("", ""), ask.card, after.title, None, undone=True)


def _refuse(
    unit: Unit, refusal: Refusal, ask: CheckOut | Renew, request: Request | None, facts: BorrowerFacts, now: datetime
) -> Refused:
    unit.refuse(refusal, now, ask.by, request, patron=ask.card)
    language = facts.borrower.language if facts.borrower else ""
    no = refused(refusal, language, request.title if request else "")
    return replace(no, item=request.item if request else None, due=request.due if request else None)


# ---- renewal


def renew(unit: Unit, ask: Renew, facts: BorrowerFacts, house: House, now: datetime) -> Outcome:
    """A later due date (R27 to R33). The same wish again within the policy's window gets the same answer."""
    found = _to_renew(unit, ask)
    if isinstance(found, Refused):
        return found
    if found is None or found.position is not P.ON_LOAN:
        return _refuse(unit, Refusal(Why.NOT_ON_LOAN), ask, found, facts, now)
    if ask.card and found.patron != ask.card:
        return _refuse(unit, Refusal(Why.ON_LOAN_TO_ANOTHER), ask, found, facts, now)
    if _just_renewed(found, house, now):
        return _renewed(found, facts)
    answer = policy.may_renew(found, house.policy, now, closed_days(unit, house), staff=ask.staff)
    if isinstance(answer, Refusal):
        return _refuse(unit, answer, ask, found, facts, now)
    return _prolong(unit, ask, found, answer, facts, now)


def _to_renew(unit: Unit, ask: Renew) -> Request | Refused | None:
    if ask.barcode:
        return one_with(unit, ask.barcode, ask.agency, ask.card)
    titles = [r for r in unit.open_requests(ask.card) if r.title == ask.title and r.position is P.ON_LOAN]
    return titles[0] if len(titles) == 1 else Refused(Why.AMBIGUOUS_ITEM) if titles else None


def _just_renewed(request: Request, house: House, now: datetime) -> bool:
    window = timedelta(seconds=house.policy.renewal.repeat_window_s)
    return request.renewed_at is not None and now - request.renewed_at < window


def _prolong(unit: Unit, ask: Renew, request: Request, grant: Grant, facts: BorrowerFacts, now: datetime) -> Renewed:
    after = unit.advance(
        request,
        Event.RENEW,
        now,
        ask.by,
        rule="R32",
        due=grant.due,
        renewals=request.renewals + 1,
        renewed_at=now,
    )
    return _renewed(after, facts)


def _renewed(request: Request, facts: BorrowerFacts) -> Renewed:
    language = facts.borrower.language if facts.borrower else ""
    item = request.item or ItemKey("", "")
    return Renewed(request.id, item, request.patron, request.title, request.due, request.renewals, language)

"""Queries for a patron's record and a copy's state. They change no data."""

from __future__ import annotations

from datetime import timedelta

from hkall_gateway.circulation.command import Context, Library, refused
from hkall_gateway.circulation.counts import blocks_of, waited_too_long
from hkall_gateway.circulation.fines import charge_lines, left_to_charge
from hkall_gateway.circulation.messages.commands import SeeItem, SeePatron
from hkall_gateway.circulation.ports import Identified
from hkall_gateway.circulation.results import ItemSeen, LoanEntry, PatronSeen, Refused
from hkall_gateway.db.cards import properties_of
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules import dates, eligibility
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import (
    NOTHING,
    Grant,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestEntry,
    Side,
)

P = Position
LENT = frozenset({P.ON_LOAN})


def see_patron(context: Context, ask: SeePatron, who: Identified) -> PatronSeen:
    """A patron's record: whether they may borrow, their loans and requests, and their charges."""
    borrower = who.facts.borrower
    if borrower is None:
        return _nobody(ask, who)
    has, charged = context.unit.open_lines(borrower.barcode), context.unit.charges(borrower.barcode)
    owed_cents = sum([one.left_cents for one in charged])
    category = eligibility.category_of(borrower, context.library.policy)
    answer = eligibility.may_use_as(
        category, borrower, context.library.policy, context.now, blocks_of(has, owed_cents, context.library, context.now)
    )
    return PatronSeen(
        card=borrower.barcode,
        name=borrower.name,
        name_zh=borrower.name_zh,
        email=borrower.email,
        language=borrower.language,
        category=category.key if category else "",
        valid=isinstance(answer, Grant),
        refusal=refused(answer, borrower.language) if isinstance(answer, Refusal) else None,
        pin_ok=who.pin_ok,
        lines=tuple([loan_line(context, request) for request in has]),
        loans_limit=category.quota if category else 0,
        owed_cents=max(0, owed_cents),
        expires=borrower.expires,
        charges=charge_lines(context.unit, charged),
        known=who.unsure,
        may_renew=isinstance(answer, Grant) or context.library.policy.renewal.expired_or_blocked == "allow",
    )


def _nobody(ask: SeePatron, who: Identified) -> PatronSeen:
    """The record for a card without a borrower: unknown, replaced, or not to be checked at the moment."""
    why = who.facts.stranger if who.facts.reachable else Reason.TRY_AGAIN
    no = Refused(why, why.rule)
    return PatronSeen(ask.card, NOTHING, NOTHING, NOTHING, "", "", False, no, None, (), 0, 0, None, known=who.unsure)


def not_theirs(unit: Unit, card: str) -> Reason:
    """The refusal of a card that does not own the request: it was replaced, or it has no such request."""
    return Reason.CARD_REPLACED if card and card_now(unit, card) != card else Reason.UNKNOWN_REQUEST


def loan_line(context: Context, request: RequestEntry) -> LoanEntry:
    """One entry of a patron's record, with the label that patrons see (R35) and the fine of a loan that is not charged yet."""
    position, today = request.position, dates.civil(context.now)
    overdue = position in LENT and request.due is not None and today > request.due
    fine_cents = _fine_cents(context, request.id) if overdue else 0
    late = waited_too_long(context, request)
    return LoanEntry(request, context.library.policy.labels.get(position, position), overdue, fine_cents, late)


def _fine_cents(context: Context, number: str) -> int:
    request = context.unit.request(number)
    return left_to_charge(context.unit, request, dates.civil(context.now), context.library) if request else 0


def see_item(context: Context, ask: SeeItem) -> ItemSeen | Refused:
    """The state of a copy: its part in a request, or its place on a shelf that we know of."""
    unit, library = context.unit, context.library
    found = one_with(unit, ask.barcode, ask.agency)
    if isinstance(found, Refused):
        return found
    if found is not None:
        return _seen_in_request(unit, found, library)
    holding = unit.holding(ItemKey(ask.agency or library.agency, ask.barcode))
    if holding is None:
        return Refused(Reason.UNKNOWN_ITEM)
    return ItemSeen(
        holding.key,
        holding.title,
        None,
        None,
        holding.agency,
        status=holding.status,
        call_number=holding.call_number,
        author=holding.author,
        bib_id=holding.bib_id,
        volume=holding.volume,
        properties=properties_of(unit, holding.key),
    )


def _seen_in_request(unit: Unit, request: Request, library: Library) -> ItemSeen:
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
        bib_id=request.bib_id,
        volume=request.volume or (holding.volume if holding else ""),
        due=request.due if request.side is Side.BORROWING else request.lender_due,
        recalled_on=request.recalled_on,
        earliest_recall=first + timedelta(days=library.policy.recall.min_use_days) if first else None,
        pickup_last=request.pickup_last,
        claimed=request.claimed_on is not None,
        lost=request.lost_on is not None,
        held_for=request.patron if request.position is P.RECEIVED else "",
        destination=_destination(request),
        properties=properties_of(unit, item),
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
        return Refused(Reason.AMBIGUOUS_ITEM)
    return held[0] if held else None

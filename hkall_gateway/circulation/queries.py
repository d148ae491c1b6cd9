"""Queries for a patron's record and the state of a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

from hkall_gateway.circulation.borrowers import blocks_of, closed_days, waited_too_long
from hkall_gateway.circulation.command import Context, Query, question, refused
from hkall_gateway.circulation.find_request import AwaitedCopy, find_awaited_copy, find_open_request, find_owner_elsewhere
from hkall_gateway.circulation.fines import (
    ChargeEntry,
    charge_lines,
    credit_lines,
    left_to_charge,
    to_pay_cents,
    to_refund_cents,
)
from hkall_gateway.circulation.ports import Identified
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import quarantine
from hkall_gateway.db.cards import properties_of
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.rules import dates, eligibility
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import GOING_HOME, WITH_PATRON
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import (
    NOTHING,
    Actor,
    Borrower,
    Grant,
    Holding,
    ItemKey,
    Position,
    Refusal,
    Request,
    RequestEntry,
    Sensitive,
    Side,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanEntry:
    """One entry of a patron's record: a loan, or a waiting request, with the `label` that patrons see.

    `fine_cents` is the accrued fine that is not charged yet. `uncollected` means that the pickup deadline has passed.
    """

    request: RequestEntry
    label: str
    overdue: bool
    fine_cents: int = 0
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class HkallRecord:
    """The loans, requests and charges of a card in HKALL."""

    lines: tuple[LoanEntry, ...] = ()
    charges: tuple[ChargeEntry, ...] = ()


class CopySystem(StrEnum):
    """The system responsible for a copy: HKALL, the local system, both (lent to a partner), or possibly either of them.

    NOT_FOR_CARD: An HKALL copy for another patron, or a partner's copy for which no request waits. If the local system has a
    copy with this barcode, that copy is meant.
    """

    OURS = "ours"
    THEIRS = "theirs"
    LENT = "lent"
    EITHER = "either"
    NOT_FOR_CARD = "not_for_card"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatronSeen:
    """A patron's record. Names and addresses stay wrapped in `Sensitive` until a reply needs them.

    Attributes:
        pin_ok: Result of the PIN check, or None if no PIN was given.
        owed_cents: Sum of `charges`, which the patron is to pay.
        credit_cents: Sum of `credits`, which we owe the patron.
        may_renew: Whether the rules for using the service permit renewals with this card (R2).
        known: Whether the card has an owner although the PIN cannot be checked.
    """

    card: str
    name: Sensitive
    name_zh: Sensitive
    email: Sensitive
    language: str
    category: str
    valid: bool
    refusal: Refused | None
    pin_ok: bool | None
    lines: tuple[LoanEntry, ...]
    loans_limit: int
    owed_cents: int
    expires: date | None
    charges: tuple[ChargeEntry, ...] = ()
    credits: tuple[ChargeEntry, ...] = ()
    credit_cents: int = 0
    may_renew: bool = False
    known: bool = False

    @property
    def lost_right(self) -> Refused | None:
        """The reason why the patron may not borrow, or None if the patron may, or this cannot be checked at the moment."""
        if self.refusal is None or self.refusal.why is Reason.TRY_AGAIN:
            return None
        return self.refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSeen:
    """The state of a copy, from its open request or from the loaded holdings."""

    item: ItemKey
    title: str
    position: Position | None
    side: Side | None
    owner: str
    request: str = ""
    status: str = ""
    call_number: str = ""
    author: str = ""
    bib_id: str = ""
    volume: str = ""
    due: date | None = None
    recalled_on: date | None = None
    earliest_recall: date | None = None
    pickup_last: date | None = None
    claimed: bool = False
    lost: bool = False
    held_for: str = ""
    destination: str = ""
    properties: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeePatron(Query[Identified, PatronSeen]):
    """Query a patron's record. `pin_given` distinguishes an empty PIN from a missing PIN."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING
    pin_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeItem(Query[None, ItemSeen | Refused]):
    """Query the state of a copy. `agency` is empty if only a barcode was scanned."""

    by: Actor
    barcode: str
    agency: str = ""


@dataclass(frozen=True, slots=True)
class SeeRecord(Query[None, HkallRecord]):
    """Query a card's loans, requests and charges in HKALL, without contacting the local system."""

    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindCopySystem(Query[None, CopySystem]):
    """Query which system is responsible for a copy: HKALL or the local system.

    Attributes:
        card: The patron who wants to borrow or renew the copy.
        institution: Owner that the terminal names, if it is another library.
        arriving: Whether to consider copies that have arrived without a shipped message.
    """

    barcode: str
    card: str = ""
    institution: str = ""
    arriving: bool = False


P = Position


def see_patron(context: Context, query: SeePatron, who: Identified) -> PatronSeen:
    """Compile a patron's record: permission to borrow, loans and requests with labels (R35), and charges."""
    borrower = who.facts.borrower
    if borrower is None:
        why = who.facts.stranger if who.facts.reachable else Reason.TRY_AGAIN
        no = Refused(why=why, rule=why.rule)
        return PatronSeen(
            card=query.card,
            name=NOTHING,
            name_zh=NOTHING,
            email=NOTHING,
            language="",
            category="",
            valid=False,
            refusal=no,
            pin_ok=None,
            lines=(),
            loans_limit=0,
            owed_cents=0,
            expires=None,
            known=who.unsure,
        )
    has, charged = context.unit.patrons.open_lines(borrower.barcode), context.unit.patrons.charges(borrower.barcode)
    net_cents = sum([charge.left_cents for charge in charged])
    category = eligibility.category_of(borrower, context.library.policy)
    blocks = blocks_of(context, has, net_cents)
    answer = eligibility.may_use(borrower, context.library.policy, context.now, blocks)
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
        lines=tuple([_loan_entry(context, request) for request in has]),
        loans_limit=category.quota if category else 0,
        owed_cents=to_pay_cents(charged),
        expires=borrower.expires,
        charges=charge_lines(context.unit, charged),
        credits=credit_lines(context.unit, charged),
        credit_cents=to_refund_cents(charged),
        known=who.unsure,
        may_renew=isinstance(answer, Grant) or context.library.policy.renewal.expired_or_blocked == "allow",
    )


def _loan_entry(context: Context, request: RequestEntry) -> LoanEntry:
    """Create an entry of a patron's record, with the label that patrons see (R35) and the uncharged fine of a loan."""
    position, today = request.position, dates.civil(context.now)
    overdue = position in WITH_PATRON and request.due is not None and today > request.due
    loan = context.unit.requests.find(request.id) if overdue else None
    fine_cents = left_to_charge(context, loan, today) if loan else 0
    late = waited_too_long(context, request)
    return LoanEntry(
        request=request,
        label=context.library.policy.labels.get(position, position),
        overdue=overdue,
        fine_cents=fine_cents,
        uncollected=late,
    )


def see_item(context: Context, query: SeeItem) -> ItemSeen | Refused:
    """Return the state of a copy from its open request, else from the loaded holdings."""
    unit, library = context.unit, context.library
    found = find_open_request(unit, query.barcode, query.agency)
    if isinstance(found, Refused):
        return found
    item = (found.item or ItemKey("", "")) if found else ItemKey(query.agency or library.agency, query.barcode)
    copy = unit.holdings.find(item)
    if found is None and copy is None:
        return Refused(why=Reason.UNKNOWN_ITEM)
    copy = copy or Holding(agency=item.agency, barcode=item.barcode, bib_id="", title="", status="")
    seen = ItemSeen(
        item=item,
        title="" if found else unit.holdings.full_title(copy),
        position=found.position if found else None,
        side=None,
        owner=item.agency,
        status=copy.status,
        call_number=copy.call_number,
        author=copy.author,
        bib_id=copy.bib_id,
        volume=copy.volume,
        properties=properties_of(unit, item),
    )
    if found is None:
        return seen
    first = found.first_checkout
    return replace(
        seen,
        title=found.full_title,
        side=found.side,
        request=found.id,
        bib_id=found.bib_id,
        volume=found.volume or seen.volume,
        due=found.due if found.side is Side.BORROWING else found.lender_due,
        recalled_on=found.recalled_on,
        earliest_recall=first + timedelta(days=library.policy.recall.min_use_days) if first else None,
        pickup_last=found.pickup_last,
        claimed=found.claimed_on is not None,
        lost=found.lost_on is not None,
        held_for=found.patron if found.position is P.RECEIVED else "",
        destination=_destination_of(found),
    )


def _destination_of(request: Request) -> str:
    going_home = request.position in GOING_HOME or request.unwanted
    if request.side is Side.LENDING or going_home:
        return request.partner
    return request.pickup_location


def find_copy_system(context: Context, query: FindCopySystem) -> CopySystem:
    """Decide which system is responsible for the copy with this barcode.

    Our own copy concerns both systems while it is lent to a partner. If the terminal names the owner as `institution`, the
    owner decides. Otherwise, if a `card` is given, HKALL is responsible only for a copy that came for this patron: no other
    patron can have it in hand, and a book of our own may have the same barcode.
    """
    unit, library, barcode, card = context.unit, context.library, query.barcode, query.card
    held = unit.requests.open_with_item(barcode)
    if any(request.side is Side.LENDING for request in held):
        return CopySystem.LENT
    coming = find_awaited_copy(unit, barcode, "", library) if query.arriving and not held else Reason.UNKNOWN_ITEM
    if not held and not isinstance(coming, AwaitedCopy) and coming is not Reason.AMBIGUOUS_ITEM:
        elsewhere = find_owner_elsewhere(unit, barcode, "", library) if query.arriving else None
        return CopySystem.NOT_FOR_CARD if elsewhere else CopySystem.THEIRS
    if any(request.item_agency == query.institution for request in held):
        return CopySystem.OURS
    for_another = bool(card) and all(request.patron != card for request in held)
    if unit.holdings.find(ItemKey(library.agency, barcode)) is None:
        return CopySystem.NOT_FOR_CARD if for_another else CopySystem.OURS
    return CopySystem.THEIRS if for_another else CopySystem.EITHER


def see_record(context: Context, query: SeeRecord) -> HkallRecord:
    """Return the loans, requests and charges of a card. The record of an unknown card is empty."""
    lines = tuple(_loan_entry(context, line) for line in context.unit.patrons.open_lines(query.card))
    return HkallRecord(lines, charge_lines(context.unit, context.unit.patrons.charges(query.card)))


@question
def present_card(context: Context, card: str) -> str:
    """Return the card that is in use now: this card, or the one that replaced it."""
    return card_now(context.unit, card)


@question
def find_request(context: Context, number: str) -> Request | None:
    """Return the request with this number, or None."""
    return context.unit.requests.find(number)


@question
def find_requests(context: Context, numbers: Sequence[str]) -> tuple[Request, ...]:
    """Return the requests with these numbers, in this order, without unknown numbers."""
    requests = (context.unit.requests.find(number) for number in numbers)
    return tuple(request for request in requests if request is not None)


@question
def find_loaded_patron(context: Context, card: str) -> Borrower | None:
    """Return the patron whom the last load named, or None."""
    return context.unit.patrons.find(card)


@question
def find_partner(context: Context, agency: str) -> Partner | None:
    """Return a library of the directory, or None."""
    return context.unit.partners.find(agency)


@question
def own_closed_days(context: Context) -> dates.Closures:
    """Return the days on which our own counter is closed."""
    return closed_days(context)


@question
def find_partners(context: Context, agencies: Collection[str]) -> Mapping[str, Partner]:
    """Return the libraries of the directory with these agencies, by agency."""
    return context.unit.partners.among(agencies)


@question
def find_partner_by_card(context: Context, card: str) -> Partner | None:
    """Return the library that borrows at our counter with this institutional card, or None."""
    return context.unit.partners.with_card(card)


@question
def has_title(context: Context, bib_id: str) -> bool:
    """Return whether any library has a copy of the title."""
    return bool(context.unit.holdings.of_title(bib_id))


@question
def lent_item(context: Context, owner: str, number: str) -> ItemKey | Refused:
    """Return the copy lent for a request. Report another patron's request as unknown."""
    request = context.unit.requests.find(number)
    if request is None or request.patron != owner:
        return Refused(why=Reason.UNKNOWN_REQUEST)
    if request.item is None:
        return Refused(why=Reason.NOT_ON_LOAN)
    return request.item


@question
def find_quarantined(context: Context, number: int) -> QuarantinedDocument | None:
    """Return the quarantined document with this number, or None."""
    return quarantine.one(context.unit, number)

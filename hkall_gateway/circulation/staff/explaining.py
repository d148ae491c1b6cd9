"""Explain a decision by its rules and facts. The command's own handler decides, and the caller rolls back the changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from hkall_gateway.circulation import borrowing, loans, recalls
from hkall_gateway.circulation.borrowers import LOADED, closed_days, counts, known_since, loaded_facts
from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import TRY_AGAIN, CheckedOut, Refused, Renewed
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.loads.loading import loaded_at
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.eligibility import category_of
from hkall_gateway.rules.overdue_fine import fine_for
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.published_rules import keys_of
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey

OURS = "our record"

PATRON = ("category", "study_mode", "expires", "blocked", "local_loans", "total_quota")
LOAN = (
    "position",
    "patron",
    "received_on",
    "pickup_last",
    "expired_pickup",
    "first_checkout",
    "loan_days",
    "due",
    "lender_due",
    "renewals",
    "renewal_sync",
    "recalled_on",
    "due_before_recall",
    "claimed_on",
    "dropped_on",
    "lost_on",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact with its source and time. `as_of` is None if the data was never loaded."""

    fact: str
    value: object
    source: str
    as_of: datetime | None


def of_patron(context: Context, card: str, facts: BorrowerFacts, now: datetime) -> Iterator[Fact]:
    """Yield the local system's facts about a patron with their age, and our own counts at `now`."""
    unit, borrower, source = context.unit, facts.borrower, facts.source
    since = known_since(unit, facts)
    if facts.flag or not facts.reachable:
        yield Fact(fact="local system", value="away", source=OURS, as_of=now)
    if facts.replaced:
        present = card_now(unit, card)
        yield Fact(fact=f"card {card}", value=f"replaced by {present}", source=OURS, as_of=now)
        if unit.patrons.find(present):
            yield from of_patron(context, present, loaded_facts(unit, present), now)
        return
    if borrower is None:
        yield Fact(
            fact=f"card {card}", value="not known" if facts.reachable else "nobody can tell", source=source or OURS, as_of=since
        )
        return
    for name in PATRON:
        yield Fact(fact=name, value=getattr(borrower, name), source=source, as_of=since)
    yield Fact(fact="hkall_used", value=counts(context, borrower).hkall_used, source=OURS, as_of=now)
    yield Fact(fact="owed_cents", value=max(0, unit.patrons.owed_cents(borrower.barcode)), source=OURS, as_of=now)


def of_copy(unit: UnitOfWork, barcode: str, agency: str, now: datetime) -> Iterator[Fact]:
    """Yield the facts of every open request that holds a copy with this barcode."""
    held = unit.requests.open_with_item(barcode, agency)
    if not held:
        yield Fact(fact=f"copy {barcode}", value="in no open request", source=OURS, as_of=now)
    for request in held:
        for name in LOAN:
            value = getattr(request, name)
            if value not in (None, "", False):
                yield Fact(fact=name, value=value, source=f"{OURS} {request.id}", as_of=now)


def of_title(unit: UnitOfWork, bib: str, volume: str, now: datetime) -> Iterator[Fact]:
    """Yield the statuses of a title's copies at all libraries, and the copies that our requests hold."""
    copies, loaded = unit.holdings.of_title(bib), loaded_at(unit, "holdings")
    if not copies:
        yield Fact(fact=f"title {bib}", value="not known", source=LOADED, as_of=loaded)
    held = unit.holdings.in_use(bib).held
    for copy in copies:
        if not volume or copy.volume == volume:
            name = f"copy {copy.agency}/{copy.barcode}"
            yield Fact(fact=name, value=copy.status, source=LOADED, as_of=loaded)
            if copy.key in held:
                yield Fact(fact=name, value=f"in use: {held[copy.key]}", source=OURS, as_of=now)


REQUEST: Final = ("R1", "R2", "R4", "R5", "R6", "R7", "R11a", "R18", "R20", "R21", "R22")
BORROW: Final = ("R13", "R14", "R16", "R18", "R19", "R20", "R21")
RENEW: Final = ("R2", "R27", "R28", "R29", "R32")
RECALL: Final = ("R23", "R24", "R25", "R26")
FINE: Final = ("R40", "R41")


@dataclass(frozen=True, slots=True)
class FineNow:
    """The fine of a loan if the copy is returned on `day`."""

    request: str
    cents: int
    day: date


Decided = Requested | CheckedOut | Renewed | Recalled | FineNow
"""Results of questions that are answered with a grant."""
Decide = Callable[[Context, BorrowerFacts], Decided | Refused]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainQuestion:
    """A question, with the function that decides it, the rules that a grant is based on, and the patron's card.

    `item` is (agency or "", barcode), `title` is (record number, volume), and `role` is the terminal's role.
    """

    decide: Decide
    rules: tuple[str, ...]
    patron: str = ""
    item: tuple[str, str] = ("", "")
    title: tuple[str, str] = ("", "")
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision made at the time `at`, with the facts before the decision.

    Attributes:
        rules: Rule of the refusal, or the rules that the grant is based on.
        policy: Policy keys that these rules read, with their values.
    """

    outcome: Decided | Refused
    at: datetime
    rules: tuple[str, ...]
    facts: tuple[Fact, ...]
    policy: Mapping[str, object]

    @property
    def refused(self) -> bool:
        """Whether the decision is a refusal."""
        return isinstance(self.outcome, Refused)


def request(by: Actor, patron: str, bib: str, volume: str = "", pickup: str = "", *, hold: bool = False) -> ExplainQuestion:
    """Build a question: may this patron request this title, and which lenders would be asked?"""
    ask = RequestTitle(by=by, patron=patron, bib_id=bib, volume=volume, pickup_location=pickup, hold=hold)
    return ExplainQuestion(
        decide=lambda context, known: borrowing.request_title(context, ask, known),
        rules=REQUEST,
        patron=patron,
        title=(bib, volume),
    )


def borrow(by: Actor, patron: str, item: str, role: str = "counter") -> ExplainQuestion:
    """Build a question: may this patron borrow this copy at a terminal of this role, and until when?"""
    agency, barcode = parse_item(item)

    def decide(context: Context, known: BorrowerFacts) -> CheckedOut | Refused:
        place = Place(role=role, location=context.library.pickup_locations[0])
        return loans.check_out(context, CheckOut(by=by, place=place, card=patron, barcode=barcode, agency=agency), known)

    return ExplainQuestion(decide=decide, rules=BORROW, patron=patron, item=(agency, barcode), role=role)


def renew(by: Actor, item: str, patron: str = "", *, staff: bool = False) -> ExplainQuestion:
    """Build a question: may this loan be renewed, and until when? If `patron` is empty, the copy's borrower renews."""
    agency, barcode = parse_item(item)
    ask = Renew(by=by, card=patron, barcode=barcode, agency=agency, staff=staff)
    return ExplainQuestion(
        decide=lambda context, known: loans.renew(context, ask, known), rules=RENEW, patron=patron, item=(agency, barcode)
    )


def recall(by: Actor, item: str, sender: str = "", owner_says: date | None = None) -> ExplainQuestion:
    """Build a question: until when could the patron keep this copy if its owner recalled it?"""
    agency, barcode = parse_item(item)

    def decide(context: Context, _known: BorrowerFacts) -> Recalled | Refused:
        held = context.unit.requests.open_with_item(barcode, agency)
        owner = held[0].item_agency if len(held) == 1 else agency
        return recalls.apply_recall(
            context, PartnerNotice(by=by, partner=sender or owner, item=ItemKey(owner, barcode), due=owner_says)
        )

    return ExplainQuestion(decide=decide, rules=RECALL, item=(agency, barcode))


def fine(item: str) -> ExplainQuestion:
    """Build a question: what is the fine if this copy is returned now?"""
    agency, barcode = parse_item(item)

    def decide(context: Context, _known: BorrowerFacts) -> FineNow | Refused:
        loans = [loan for loan in context.unit.requests.open_with_item(barcode, agency) if loan.due is not None]
        if len(loans) != 1:
            return Refused(why=Reason.NOT_ON_LOAN, rule=Reason.NOT_ON_LOAN.rule)
        day, closures = dates.civil(context.now), closed_days(context)
        return FineNow(loans[0].id, fine_for(loans[0], day, context.library.policy, closures), day)

    return ExplainQuestion(decide=decide, rules=FINE, item=(agency, barcode))


def parse_item(item: str) -> tuple[str, str]:
    """Split "AGENCY/BARCODE" or a barcode into (agency or "", barcode)."""
    agency, slash, barcode = item.rpartition("/")
    return (agency, barcode) if slash else ("", item)


def decide(
    context: Context,
    question: ExplainQuestion,
    borrower: BorrowerFacts,
    asked_at: datetime,
    partners: Sequence[Partner] = (),
) -> Explanation:
    """Decide a question at the time `context.now`. Roll the transaction back afterwards.

    Args:
        context: The context of the decision.
        question: The question.
        borrower: The facts about the patron.
        asked_at: Time at which the facts were read.
        partners: Partners of the configuration file, which a gateway writes into the database when it starts.
    """
    if partners:
        context.unit.partners.write(partners)
    before = tuple(_facts_behind(context, question, borrower, asked_at))
    result = question.decide(context, borrower) if borrower.reachable else TRY_AGAIN
    if isinstance(result, Requested):
        for one in context.unit.candidates.of_request(result.request):
            place = "passed over" if one.skip else f"lender {one.rank}"
            before += (
                Fact(fact=place, value=f"{one.agency}/{one.barcode}: {one.skip or one.reason}", source=OURS, as_of=asked_at),
            )
    rule = result.rule if isinstance(result, Refused) else ""
    rules = (rule,) if rule else question.rules
    patron = context.unit.patrons.find(question.patron) if question.patron else None
    category = category_of(patron, context.library.policy) if patron else None
    about = (question.role, category.key) if category else (question.role,)
    return Explanation(
        outcome=result, at=context.now, rules=rules, facts=before, policy=keys_of(context.library.policy, rules, about)
    )


def _facts_behind(context: Context, question: ExplainQuestion, borrower: BorrowerFacts, asked_at: datetime) -> Iterator[Fact]:
    unit = context.unit
    if question.patron:
        yield from of_patron(context, question.patron, borrower, asked_at)
    if question.item[1]:
        agency, barcode = question.item
        yield from of_copy(unit, barcode, agency, asked_at)
    if question.title[0]:
        yield from of_title(unit, *question.title, asked_at)

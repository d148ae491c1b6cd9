"""The facts behind a decision, each with its source and its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from hkall_gateway.circulation.common import counts
from hkall_gateway.circulation.common.context import Library
from hkall_gateway.circulation.ils.local_system import LOADED, loaded_facts
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.db.instances import copies_in_use
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.loads.loading import loaded_at
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.eligibility import category_of

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


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: where it comes from, and since when it is so known. `as_of` None: it was never loaded."""

    fact: str
    value: object
    source: str
    as_of: datetime | None


def of_patron(unit: Unit, card: str, facts: BorrowerFacts, library: Library, now: datetime) -> Iterator[Fact]:
    """Yield the local system's facts about a patron with their age, and our own counts."""
    borrower, source = facts.borrower, facts.source
    since = loaded_at(unit, "patrons") if source == LOADED else facts.as_of
    if facts.flag or not facts.reachable:
        yield Fact("local system", "away", OURS, now)
    if facts.replaced:
        yield from _of_the_owner_now(unit, card, library, now)
        return
    if borrower is None:
        yield Fact(f"card {card}", "not known" if facts.reachable else "nobody can tell", source or OURS, since)
        return
    for name in PATRON:
        yield Fact(name, getattr(borrower, name), source, since)
    yield Fact("hkall_used", counts.counts(unit, borrower, library).hkall_used, OURS, now)
    yield Fact("owed_cents", max(0, unit.owed_cents(borrower.barcode)), OURS, now)


def _of_the_owner_now(unit: Unit, card: str, library: Library, now: datetime) -> Iterator[Fact]:
    """Yield the card that replaced this one, and the loaded facts of its owner."""
    present = card_now(unit, card)
    yield Fact(f"card {card}", f"replaced by {present}", OURS, now)
    if unit.patron(present):
        yield from of_patron(unit, present, loaded_facts(unit, present), library, now)


def of_copy(unit: Unit, barcode: str, agency: str, now: datetime) -> Iterator[Fact]:
    """Yield the facts of every open request that holds a copy with this barcode."""
    held = unit.requests_with(barcode, agency)
    if not held:
        yield Fact(f"copy {barcode}", "in no open request", OURS, now)
    for request in held:
        for name in LOAN:
            value = getattr(request, name)
            if value not in (None, "", False):
                yield Fact(name, value, f"{OURS} {request.id}", now)


def of_title(unit: Unit, bib: str, volume: str, now: datetime) -> Iterator[Fact]:
    """Where the copies of a title are, ours and the others', and which of them our own requests have."""
    copies, loaded = unit.copies(bib), loaded_at(unit, "holdings")
    if not copies:
        yield Fact(f"title {bib}", "not known", LOADED, loaded)
    held = copies_in_use(unit, bib).held
    for copy in copies:
        if not volume or copy.volume == volume:
            name = f"copy {copy.agency}/{copy.barcode}"
            yield Fact(name, copy.status, LOADED, loaded)
            if copy.key in held:
                yield Fact(name, f"in use: {held[copy.key]}", OURS, now)


def of_lenders(unit: Unit, request: str, now: datetime) -> Iterator[Fact]:
    """Yield the candidates of a request in the order of asking, and those passed over, each with its reason."""
    for one in unit.candidates(request):
        place = "passed over" if one.skip else f"lender {one.rank}"
        yield Fact(place, f"{one.agency}/{one.barcode}: {one.skip or one.reason}", OURS, now)


def named_rows(unit: Unit, card: str, library: Library) -> tuple[str, ...]:
    """The rows of the policy that are about this patron: the category's key."""
    borrower = unit.patron(card) if card else None
    category = category_of(borrower, library.policy) if borrower else None
    return (category.key,) if category else ()

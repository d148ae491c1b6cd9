"""One patron for staff: found by card or name; requests, loans, fines, blocks, and what the library's own system says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.borrowers import counts, known_since
from hkall_gateway.circulation.command import Context, Query
from hkall_gateway.circulation.ports import BorrowerFacts, Identified
from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.db.cards import is_blocked
from hkall_gateway.db.loads import former_cards
from hkall_gateway.db.patrons import named
from hkall_gateway.rules.vocabulary import Actor, Borrower

MOST: Final = 25
"""Patrons that a search by name returns."""
BY: Final = Actor("console", "web")


@dataclass(frozen=True, slots=True)
class PatronPage:
    """Everything about one patron.

    `borrower` is what the library's own system says of the card, by `source`, as of `as_of`; None where it knows no such card,
    or (`reachable` False) cannot answer. `seen` is our own record; `blocked_here`: a terminal blocked the card here;
    `hkall_used` counts against the quota (R20). `former` are earlier cards.
    """

    card: str
    borrower: Borrower | None
    source: str
    as_of: datetime | None
    reachable: bool
    seen: PatronSeen
    hkall_used: int
    blocked_here: bool
    former: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeePatronPage(Query[BorrowerFacts, PatronPage]):
    """Asks for everything about one patron, with the present answer of the library's own system."""

    card: str


def patron_page(context: Context, query: SeePatronPage, facts: BorrowerFacts) -> PatronPage:
    """The page of one patron, from the facts that the library's own system told just now."""
    unit, card, borrower = context.unit, query.card, facts.borrower
    return PatronPage(
        card=borrower.barcode if borrower else card,
        borrower=borrower,
        source=facts.source,
        as_of=known_since(unit, facts),
        reachable=facts.reachable,
        seen=queries.see_patron(context, SeePatron(BY, card), Identified(facts)),
        hkall_used=counts(context, borrower).hkall_used if borrower else 0,
        blocked_here=is_blocked(unit, card),
        former=former_cards.cards_of(unit, card)[1:],
    )


def find_patrons(context: Context, words: str) -> Sequence[Borrower]:
    """Loaded patrons with this card, a former card, or these words in the name; at most MOST."""
    words = words.strip()
    present = context.unit.patrons.find(former_cards.card_now(context.unit, words)) if words else None
    return (present,) if present else named(context.unit.connection, words, MOST)


def has_records(context: Context, card: str) -> bool:
    """Whether we have open requests, charges or a block of this card, also if no patron of this card is loaded."""
    return former_cards.has_anything(context.unit, card)

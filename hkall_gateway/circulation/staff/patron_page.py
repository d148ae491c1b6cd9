"""Staff view of one patron: search by card or name, requests, loans, fines, blocks, and the local system's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.borrowers import counts, known_since
from hkall_gateway.circulation.command import Context, Query, question
from hkall_gateway.circulation.ports import BorrowerFacts, Identified
from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.db.cards import is_blocked
from hkall_gateway.db.loads import former_cards
from hkall_gateway.db.patrons import named
from hkall_gateway.rules.vocabulary import Actor, Borrower

MOST: Final = 25
"""Maximum number of patrons that a search by name returns."""
BY: Final = Actor(who="console", channel="web")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatronPage:
    """Everything about one patron.

    Attributes:
        borrower: The local system's record, or None if the card is unknown there or `reachable` is False.
        source: Origin of `borrower`, which was read at the time `as_of`.
        seen: Our own record.
        hkall_used: Number of loans and requests that count against the quota (R20).
        blocked_here: Whether a terminal has blocked the card in HKALL.
        former: Earlier cards of the patron.
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
    """Query everything about one patron, including a fresh answer from the local system."""

    card: str


def patron_page(context: Context, query: SeePatronPage, facts: BorrowerFacts) -> PatronPage:
    """Compile the page of one patron from the local system's current answer and our own record."""
    unit, card, borrower = context.unit, query.card, facts.borrower
    return PatronPage(
        card=borrower.barcode if borrower else card,
        borrower=borrower,
        source=facts.source,
        as_of=known_since(unit, facts),
        reachable=facts.reachable,
        seen=queries.see_patron(context, SeePatron(by=BY, card=card), Identified(facts)),
        hkall_used=counts(context, borrower).hkall_used if borrower else 0,
        blocked_here=is_blocked(unit, card),
        former=former_cards.cards_of(unit, card)[1:],
    )


@question
def find_patrons(context: Context, words: str) -> Sequence[Borrower]:
    """Find at most MOST loaded patrons by card, former card, or words of the name."""
    words = words.strip()
    present = context.unit.patrons.find(former_cards.card_now(context.unit, words)) if words else None
    return (present,) if present else named(context.unit.connection, words, MOST)


@question
def has_records(context: Context, card: str) -> bool:
    """Check whether we have open requests, charges or a block for this card, even if its patron is not loaded."""
    return former_cards.has_anything(context.unit, card)

"""Helpers of the connectors to a live system: its facts override those of the loaded file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.db import bind
from hkall_gateway.db.database import Store
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Holding, Sensitive

MOST_COPIES = 20
"""Limit of copies looked up for one title; a title with more is not scarce."""


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """A live system's facts about a borrower. None and "" where it gives none.

    `card` is the card in its answer, which may differ from the one asked about. `former` are cards of earlier days.
    """

    blocked: bool
    local_loans: int | None = None
    total_quota: int | None = None
    name: Sensitive = NOTHING
    email: Sensitive = NOTHING
    category: str = ""
    expires: date | None = None
    language: str = ""
    card: str = ""
    former: tuple[str, ...] = ()


async def over_loaded(store: Store, card: str, live: LiveFacts, source: str, as_of: datetime) -> BorrowerFacts:
    """Return the borrower with the live system's facts. Missing ones stay as loaded.

    Blocks, counts and the last day of the card are the system's. The rest of the loaded file (category, study mode, language,
    address) is the library's own choice, and wins.
    """
    present = live.card or card
    loaded = await store.read(bind(find_patron, card))
    if loaded is None and present != card:
        loaded = await store.read(bind(find_patron, present))
    known = loaded or Borrower(present, live.name, live.category, language=live.language or "en", local_loans=None)
    borrower = replace(
        known,
        barcode=present,
        name=known.name or live.name,
        email=known.email or live.email,
        category=known.category or live.category,
        expires=live.expires or known.expires,
        blocked=live.blocked,
        local_loans=known.local_loans if live.local_loans is None else live.local_loans,
        total_quota=known.total_quota if live.total_quota is None else live.total_quota,
    )
    return BorrowerFacts(borrower, source, as_of, former=live.former)


async def copies_at_home(store: Store, bib_id: str, agency: str) -> tuple[Holding, ...]:
    """Return our own items of a title, as they were loaded."""
    return (await store.read(bind(find_copies, bib_id, agency), is_long=True))[:MOST_COPIES]


def find_patron(unit: UnitOfWork, card: str) -> Borrower | None:
    """Find a loaded patron."""
    return unit.patrons.find(card)


def find_copies(unit: UnitOfWork, bib_id: str, agency: str) -> tuple[Holding, ...]:
    """Find the loaded items of a title."""
    return unit.holdings.of_title(bib_id, agency)

"""What the connectors to a living system share: its facts are laid over those of the loaded file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Holding, Sensitive
from hkall_gateway.store.engine.database import Store
from hkall_gateway.store.unit import Unit

FOLLOW = "follow"
"""The setting `answered_card` where another card in the answer is the one that the reader has now."""
MOST_COPIES = 20
"""So many copies of one title are looked at; a title with more is not scarce."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a living system says of a borrower; None and "" where it does not say.

    `card` is the card that it answers, which may be another than the one asked about; `former` are cards of earlier days.
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


async def over_loaded(store: Store, card: str, told: Told, source: str, as_of: datetime) -> BorrowerFacts:
    """The borrower as the system says now; what it does not say is as it was loaded.

    Blocks, counts and the last day of the card are its own; the rest of the loaded file (category, study mode, language,
    address) is what the library itself chose to load, and wins.
    """
    present = told.card or card
    loaded = await store.glance(_patron, card) or (await store.glance(_patron, present) if present != card else None)
    known = loaded or Borrower(present, told.name, told.category, language=told.language or "en", local_loans=None)
    borrower = replace(
        known,
        barcode=present,
        name=known.name or told.name,
        email=known.email or told.email,
        category=known.category or told.category,
        expires=told.expires or known.expires,
        blocked=told.blocked,
        local_loans=known.local_loans if told.local_loans is None else told.local_loans,
        total_quota=known.total_quota if told.total_quota is None else told.total_quota,
    )
    return BorrowerFacts(borrower, source, as_of, former=told.former)


async def copies_at_home(store: Store, bib_id: str, agency: str) -> tuple[Holding, ...]:
    """Our own copies of a title, as they were loaded."""
    return (await store.read(_copies, bib_id, agency))[:MOST_COPIES]


def _patron(unit: Unit, card: str) -> Borrower | None:
    return unit.patron(card)


def _copies(unit: Unit, bib_id: str, agency: str) -> tuple[Holding, ...]:
    return unit.copies(bib_id, agency)

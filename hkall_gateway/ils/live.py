"""Helpers with which connectors combine a live system's data with the data loaded from files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.db.database import Store
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Holding, Sensitive

MOST_COPIES = 20
"""Maximum number of items looked up for one title. A title with more items is not scarce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFacts:
    """A live system's data about a borrower. Fields are None or "" if the system does not send them.

    `card` is the card number in the reply, which may differ from the queried number. `former` lists former card numbers.
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
    """Combine the live system's data about a borrower with the loaded row.

    If the live system sends blocks, counts and the expiry date, they take precedence. For all other data (category, study mode,
    language, e-mail), loaded values take precedence, since the library chose to load them.
    """
    present = live.card or card
    loaded = await store.read(lambda unit: unit.patrons.find(card))
    if loaded is None and present != card:
        loaded = await store.read(lambda unit: unit.patrons.find(present))
    known = loaded or Borrower(
        barcode=present, name=live.name, category=live.category, language=live.language or "en", local_loans=None
    )
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
    return BorrowerFacts(borrower=borrower, source=source, as_of=as_of, former=live.former)


async def copies_at_home(store: Store, bib_id: str, agency: str) -> tuple[Holding, ...]:
    """Return our own loaded items of a title, but at most MOST_COPIES items."""
    return (await store.read(lambda unit: unit.holdings.of_title(bib_id, agency), is_long=True))[:MOST_COPIES]

"""The union catalogue for visitors: search, title pages, and whether a title can be requested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final

from hkall_gateway.circulation import borrowing, choosing
from hkall_gateway.circulation.command import Context, Query, question, refused
from hkall_gateway.circulation.ports import CopyStatus, LiveStatuses
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.loads import loading
from hkall_gateway.db.search import searching
from hkall_gateway.db.search.parsing import BadQuery, SearchField
from hkall_gateway.db.search.searching import FoundTitles, IsAvailable, Narrowing
from hkall_gateway.rules import lenders, policy
from hkall_gateway.rules.dates import suspended
from hkall_gateway.rules.lenders import InUse, LenderChoice
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vendor_words.availability import Availability, availability
from hkall_gateway.rules.vocabulary import Holding, Refusal, Title


@dataclass(frozen=True, slots=True)
class FindClosedVolumes(Query[None, frozenset[tuple[str, str]]]):
    """Query the volumes of these titles that no patron can request now, as (record number, volume)."""

    bib_ids: frozenset[str]


MOST_VOLUMES: Final = 200
"""Maximum number of volumes offered for one title."""
MOST_LIBRARIES: Final = 500
"""Maximum number of directory entries that are counted."""


class CopyState(StrEnum):
    """Whether a copy is available. OUT: The library's status explains it. IN_USE: One of our open requests holds the copy."""

    AVAILABLE = "available"
    NOT_LENT = "not lent"
    IN_USE = "in use"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class CopySeen:
    """One copy of a title. Our own copy is AVAILABLE if it is on its shelf, a partner's copy if it can be requested."""

    copy: Holding
    state: CopyState


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    """One volume of a title ("" for a title without volumes). `refusal` is None if the volume can be requested."""

    volume: str
    refusal: Refused | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleSeen:
    """A title with its copies: our own copies first, then the available ones.

    Attributes:
        names: Names of the partners, by agency.
        as_of: Time of the last load of copies.
        answering: Partners that answer status queries.
    """

    title: Title
    copies: tuple[CopySeen, ...]
    volumes: tuple[VolumeSeen, ...]
    names: Mapping[str, str]
    as_of: datetime | None
    answering: frozenset[str] = frozenset()

    def to_ask(self, most: int) -> list[Holding]:
        """Return the copies among the first `most` whose libraries answer status queries."""
        return [one.copy for one in self.copies[:most] if one.copy.agency in self.answering]


@question
def see_title(context: Context, bib_id: str) -> TitleSeen | None:
    """Return a title as a visitor may see it, or None if no library has a copy."""
    copies = context.unit.holdings.of_title(bib_id)
    if not copies:
        return None
    in_use = context.unit.holdings.in_use(bib_id)
    choice = choosing.choice_today(context, {copy.agency for copy in copies}, in_use=in_use)
    sent = [copy for copy in copies if not lenders.passed_over(copy, choice)]
    seen = [CopySeen(copy, _copy_state(copy, choice)) for copy in copies]
    volumes = sorted({copy.volume for copy in copies}, key=shelving_key)[:MOST_VOLUMES]
    partners = context.unit.partners.among({copy.agency for copy in copies})
    copy = copies[0]
    return TitleSeen(
        title=searching.title(context.unit.connection, bib_id)
        or Title(bib_id=copy.bib_id, title=copy.title, author=copy.author, isbns=(copy.isbn,) if copy.isbn else ()),
        copies=tuple(sorted(seen, key=lambda one: _sort_key(one, context.library.agency))),
        volumes=tuple(VolumeSeen(volume, _volume_refusal(context, copies, sent, volume, in_use)) for volume in volumes),
        names={agency: partner.name for agency, partner in partners.items()},
        as_of=loading.loaded_at(context.unit, "holdings"),
        answering=frozenset(agency for agency, partner in partners.items() if partner.can_lookup_items and partner.url),
    )


def closed_volumes(context: Context, query: FindClosedVolumes) -> frozenset[tuple[str, str]]:
    """Return the (record number, volume) pairs of these titles that no patron can request now."""
    seen = [(bib_id, see_title.within(context, bib_id)) for bib_id in query.bib_ids]
    return frozenset((bib_id, one.volume) for bib_id, title in seen if title for one in title.volumes if one.refusal)


def with_live_statuses(seen: TitleSeen, live: LiveStatuses, rules: Policy) -> TitleSeen:
    """Replace the loaded statuses of a title's copies by live statuses. An available copy may become unavailable.

    A copy that was loaded as unavailable gets the new text but stays unavailable, because loaded data decide about requests.
    """
    return replace(seen, copies=tuple(_with_live_status(one, live.statuses.get(one.copy.key), rules) for one in seen.copies))


def _with_live_status(one: CopySeen, live: CopyStatus | None, rules: Policy) -> CopySeen:
    if live is None:
        return one
    is_there = availability(live.status, rules.lendable_statuses) is Availability.AVAILABLE
    taken = one.state is CopyState.AVAILABLE and not is_there
    return CopySeen(replace(one.copy, status=live.status), CopyState.OUT if taken else one.state)


@question
def search_titles(
    context: Context, typed: str, field: SearchField = SearchField.ANY, narrowing: Narrowing | None = None
) -> FoundTitles | BadQuery:
    """Return one page of the titles that match a query, narrowed and sorted as wanted."""
    return searching.search(context.unit.connection, typed, _is_available(context), field, narrowing)


@question
def find_suspension(context: Context) -> Refused | None:
    """Return the refusal if requests are suspended today, or None."""
    found = suspended("borrow_request", context.library.policy, context.now)
    return refused(found) if found else None


@question
def count_libraries(context: Context) -> int:
    """Count the libraries that can be searched, including our library."""
    return len({*context.unit.circuits.listed(MOST_LIBRARIES), context.library.agency})


def _volume_refusal(
    context: Context, copies: tuple[Holding, ...], sent: Sequence[Holding], volume: str, in_use: InUse
) -> Refused | None:
    """Return the reason why no patron can request this volume, or None. The loaded status of our own copies counts."""
    facts = borrowing.about_title(context.library, copies, copies, volume, in_use)
    candidates = sum(not volume or copy.volume == volume for copy in sent)
    answer = policy.may_be_requested(replace(facts, candidates=candidates), context.library.policy, context.now)
    return refused(answer) if isinstance(answer, Refusal) else None


def _copy_state(copy: Holding, choice: LenderChoice) -> CopyState:
    if copy.key in choice.in_use.held:
        return CopyState.IN_USE
    if not lenders.passed_over(copy, choice):
        return CopyState.AVAILABLE
    ours, rules = copy.agency == choice.own, choice.policy
    on_shelf = availability(copy.status, rules.local_available_statuses if ours else rules.lendable_statuses)
    if on_shelf is not Availability.AVAILABLE:
        return CopyState.OUT
    return CopyState.AVAILABLE if ours else CopyState.NOT_LENT


def _sort_key(seen: CopySeen, own: str) -> tuple[bool, bool, str, str, str]:
    copy = seen.copy
    return copy.agency != own, seen.state is not CopyState.AVAILABLE, copy.agency, shelving_key(copy.volume), copy.barcode


def _is_available(context: Context) -> IsAvailable:
    """Create a function that decides whether a title's page shows a copy as available unless one of our requests holds it."""
    choice_of = cache(lambda agency: choosing.choice_today(context, {agency}))

    @cache
    def is_available(agency: str, status: str, material: str, lendable: bool) -> bool:
        copy = Holding(agency=agency, barcode="", bib_id="", title="", status=status, material=material, lendable=lendable)
        return _copy_state(copy, choice_of(agency)) is CopyState.AVAILABLE

    return is_available

"""The union catalogue for visitors: search, and a title with its copies and whether it may be requested at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final

from hkall_gateway.desk import borrowing
from hkall_gateway.desk.common import choosing
from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.common.library import refused
from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.desk.ports import CopyStatus, LiveStatuses
from hkall_gateway.rules import policy
from hkall_gateway.rules.dates.service_windows import stopped_with, suspended
from hkall_gateway.rules.lenders import InUse
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vendor_words.availability import Availability, availability
from hkall_gateway.rules.vocabulary import Holding, Refusal, Title
from hkall_gateway.store.in_use import copies_in_use
from hkall_gateway.store.loads import loading
from hkall_gateway.store.search import searching, titles
from hkall_gateway.store.search.query import BadQuery, SearchField
from hkall_gateway.store.search.searching import FoundTitles

MOST_VOLUMES: Final = 200
"""Volumes of a title that can be chosen from."""
MOST_LIBRARIES: Final = 500
"""Libraries of the directory that are looked at."""


class CopyState(StrEnum):
    """Whether a copy can be had. `OUT`: its library's own word says why. `IN_USE`: an open request of ours has it."""

    AVAILABLE = "available"
    NOT_LENT = "not lent"
    IN_USE = "in use"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class CopySeen:
    """One copy of a title. Our own one is AVAILABLE on its shelf, another one if it could be asked for."""

    copy: Holding
    state: CopyState


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    """One volume of a title, "" for a title without volumes, and why it cannot be requested; None if it can."""

    volume: str
    refusal: Refused | None


@dataclass(frozen=True, slots=True)
class TitleSeen:
    """A title with its copies: our own first, then available ones.

    `names` are the names of the partners, by agency; `answering` are those that answer look-ups. `as_of` is the instant of
    the last load of copies.
    """

    title: Title
    copies: tuple[CopySeen, ...]
    volumes: tuple[VolumeSeen, ...]
    names: Mapping[str, str]
    as_of: datetime | None
    answering: frozenset[str] = frozenset()

    def to_ask(self, most: int) -> list[Holding]:
        """Return those of the first `most` copies whose library can be asked for their status."""
        return [one.copy for one in self.copies[:most] if one.copy.agency in self.answering]


def see_title(context: Context, bib_id: str) -> TitleSeen | None:
    """Return a title as a visitor may see it; None if no library has a copy."""
    copies = context.unit.copies(bib_id)
    if not copies:
        return None
    in_use = copies_in_use(context.unit, bib_id)
    against = choosing.reasons(context, copies, "", in_use)
    sent = [copy for copy, reason in zip(copies, against, strict=True) if not reason]
    keys = {copy.key for copy in sent}
    seen = [CopySeen(copy, _state(context, copy, in_use, sendable=copy.key in keys)) for copy in copies]
    volumes = sorted({copy.volume for copy in copies}, key=shelving_key)[:MOST_VOLUMES]
    partners = context.unit.partners({copy.agency for copy in copies})
    return TitleSeen(
        titles.title(context.unit.connection, bib_id) or _described(copies[0]),
        tuple(sorted(seen, key=lambda one: _place(one, context.library.agency))),
        tuple(VolumeSeen(volume, _refusal(context, copies, sent, volume, in_use)) for volume in volumes),
        {agency: partner.name for agency, partner in partners.items()},
        loading.loaded_at(context.unit, "holdings"),
        frozenset(agency for agency, partner in partners.items() if partner.can_lookup_items and partner.url),
    )


def as_said(seen: TitleSeen, live: LiveStatuses, rules: Policy) -> TitleSeen:
    """Return a title with the live statuses of its copies, by which an available copy may become unavailable.

    A copy that was loaded as unavailable is shown with the new word, but not as available: a request is decided by the loaded
    facts.
    """
    return replace(seen, copies=tuple(_as_said(one, live.statuses.get(one.copy.key), rules) for one in seen.copies))


def _as_said(one: CopySeen, said: CopyStatus | None, rules: Policy) -> CopySeen:
    if said is None:
        return one
    is_there = availability(said.status, rules.lendable_statuses) is Availability.AVAILABLE
    taken = one.state is CopyState.AVAILABLE and not is_there
    return CopySeen(replace(one.copy, status=said.status), CopyState.OUT if taken else one.state)


def search_titles(
    context: Context, typed: str, field: SearchField = SearchField.ANY, *, available: bool = False, page: int = 1
) -> FoundTitles | BadQuery:
    """Return a page of the titles that match a query. `available`: only those with a copy that is available."""
    return searching.search(context.unit.connection, typed, _is_available(context), field, available=available, page=page)


def suspension(context: Context) -> Refused | None:
    """Return why requests are suspended today, or None."""
    found = suspended("borrow_request", context.library.policy, context.now)
    return refused(found) if found else None


def libraries(context: Context) -> int:
    """Return the number of libraries that can be searched, with ours."""
    return len({*context.unit.circuits.listed(MOST_LIBRARIES), context.library.agency})


def _described(copy: Holding) -> Title:
    return Title(copy.bib_id, copy.title, copy.author, (copy.isbn,) if copy.isbn else ())


def _refusal(
    context: Context, copies: tuple[Holding, ...], sent: Sequence[Holding], volume: str, in_use: InUse
) -> Refused | None:
    """Return why no patron could request this volume. Our own copies count as they were loaded."""
    facts = borrowing.about_title(context.library, copies, copies, volume, in_use)
    candidates = sum(not volume or copy.volume == volume for copy in sent)
    answer = policy.may_be_requested(replace(facts, candidates=candidates), context.library.policy, context.now)
    return refused(answer) if isinstance(answer, Refusal) else None


def _state(context: Context, copy: Holding, in_use: InUse, *, sendable: bool) -> CopyState:
    if copy.key in in_use.held:
        return CopyState.IN_USE
    if sendable:
        return CopyState.AVAILABLE
    ours, rules = copy.agency == context.library.agency, context.library.policy
    on_shelf = availability(copy.status, rules.local_available_statuses if ours else rules.lendable_statuses)
    if on_shelf is not Availability.AVAILABLE:
        return CopyState.OUT
    return CopyState.AVAILABLE if ours else CopyState.NOT_LENT


def _place(seen: CopySeen, own: str) -> tuple[bool, bool, str, str, str]:
    copy = seen.copy
    return copy.agency != own, seen.state is not CopyState.AVAILABLE, copy.agency, shelving_key(copy.volume), copy.barcode


def _is_available(context: Context) -> Callable[[str, str], bool]:
    """Return whether a lendable copy of a library, with this word for its state, is on our shelf or may be asked for."""
    own, rules = context.library.agency, context.library.policy
    partners = context.unit.partners(context.unit.circuits.listed(MOST_LIBRARIES))
    lending = {
        agency
        for agency, partner in partners.items()
        if partner.lending and not stopped_with(agency, "borrow_request", rules, context.now)
    }

    @cache
    def is_available(agency: str, status: str) -> bool:
        if agency != own and agency not in lending:
            return False
        listed = rules.local_available_statuses if agency == own else rules.lendable_statuses
        return availability(status, listed) is Availability.AVAILABLE

    return is_available

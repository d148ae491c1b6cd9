"""Chooses the lenders for a request and their order, and decides whether we may lend an item to another library."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from operator import itemgetter

from hkall_gateway.rules.dates import ALWAYS_OPEN, Closures, after, civil, stopped_with, suspended
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vendor_words.availability import Availability, availability
from hkall_gateway.rules.vocabulary import Candidate, Grant, Holding, ItemKey, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The data about a partner that influence the partner's rank as a lender.

    Attributes:
        lent: Number of books that the partner lent to us in the last 30 days, including open requests.
        borrowed: Number of books that the partner borrowed from us in the last 30 days.
        declines: Recent share of declined requests, 0 to 1.
        down: Whether the channel to the partner has been down for too long.
    """

    closures: Closures = ALWAYS_OPEN
    lent: int = 0
    borrowed: int = 0
    declines: float = 0.0
    down: bool = False


@dataclass(frozen=True, slots=True)
class InUse:
    """Items of a title that are used by our other open requests.

    Attributes:
        held: Location by item. These items are not available, even if the catalogue of their library says so.
        asked: Items that were requested but not sent yet. They rank last, since they may be sent for the other request.
    """

    held: Mapping[ItemKey, str] = field(default_factory=dict)
    asked: frozenset[ItemKey] = frozenset()


NOT_IN_USE = InUse()
UNKNOWN_RECORD = Record()
SPARE = "another copy of this library is asked for"

Rank = tuple[bool, int, bool, float, float, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LenderChoice:
    """The input for choosing lenders, apart from the items.

    Attributes:
        partners: Partners by AgencyId.
        own: Our AgencyId, since we never request our own items.
        volume: The wanted volume; "" accepts any item.
        tried: AgencyIds of libraries that were already asked.
        records: Data about lenders by AgencyId.
    """

    partners: Mapping[str, Partner]
    policy: Policy
    now: datetime
    own: str = ""
    volume: str = ""
    tried: Collection[str] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    in_use: InUse = NOT_IN_USE

    def record(self, agency: str) -> Record:
        """Return the data about a lender."""
        return self.records.get(agency, UNKNOWN_RECORD)


def choose_lender(copies: Sequence[Holding], choice: LenderChoice, request_id: str) -> tuple[Candidate, ...]:
    """Rank items in the order in which their libraries are asked. Rejected items follow, with the reason in `skip`.

    Each library is asked only for its best item. A hash of `request_id` and the library breaks ties, so that a request always
    gets the same list and requests are spread evenly. Source: HKALL rules R3, R5, R7, R8, R11.
    """
    tomorrow = after(civil(choice.now), 1)

    def rank(copy: Holding) -> Rank:
        record = choice.record(copy.agency)
        balance = record.lent / (record.borrowed + 1)
        chance = sha256(f"{request_id}|{copy.agency}".encode()).hexdigest()
        priority, asked = choice.partners[copy.agency].priority, copy.key in choice.in_use.asked
        return asked, priority, tomorrow in record.closures, balance, record.declines, chance, copy.barcode

    judged = [(c, passed_over(c, choice)) for c in copies]
    fit = sorted([(rank(c), c) for c, reason in judged if not reason], key=itemgetter(0))
    first = {c.agency: c for _, c in reversed(fit)}
    rows = [
        *((c, "", _rank_words(place)) for place, c in fit if first[c.agency] is c),
        *((c, SPARE, _rank_words(place)) for place, c in fit if first[c.agency] is not c),
        *((c, reason, "") for c, reason in sorted(judged, key=lambda one: one[0].key) if reason),
    ]
    return tuple(
        Candidate(
            request=request_id,
            rank=number,
            agency=c.agency,
            barcode=c.barcode,
            local_bib_id=c.local_bib_id,
            skip=skip,
            reason=words,
        )
        for number, (c, skip, words) in enumerate(rows, start=1)
    )


def may_lend(
    partner: Partner | None,
    copies: Sequence[Holding],
    policy: Policy,
    now: datetime,
    volume: str = "",
    *,
    known: bool = True,
) -> Holding | Refusal:
    """Return the item that we lend to a partner (the item with the lowest barcode), or a refusal.

    `copies` are our own items of the title that no request uses. `known` tells whether we own the title at all.
    Source: HKALL rules R1, R5, R7, R8.
    """
    if partner is None:
        return Refusal(Reason.AGENCY_NOT_ALLOWED)
    if not policy.lending.open:
        return Refusal(Reason.LENDING_SUSPENDED)
    if refusal := suspended("lend_request", policy, now, partner.agency):
        return Refusal(Reason.LENDING_SUSPENDED, detail=refusal.detail)
    if not known:
        return Refusal(Reason.UNKNOWN_TITLE)
    wanted = sorted((c for c in copies if not volume or c.volume == volume), key=lambda c: c.barcode)
    answers = [(c, may_leave(c, policy)) for c in wanted]
    free = next((c for c, answer in answers if isinstance(answer, Grant)), None)
    refusals = [answer for _, answer in answers if isinstance(answer, Refusal)]
    return free or next(iter(refusals), Refusal(Reason.NO_AVAILABLE_COPY))


def may_leave(copy: Holding, policy: Policy) -> Grant | Refusal:
    """Check whether an item's material and status allow lending it to another library. Source: HKALL rules R5, R7."""
    if copy.material not in policy.materials:
        return Refusal(Reason.MATERIAL_NOT_REQUESTABLE, detail={"material": copy.material})
    if not copy.lendable:
        return Refusal(Reason.ITEM_NOT_LENDABLE)
    free = availability(copy.status, policy.lendable_statuses) is Availability.AVAILABLE
    return Grant() if free else Refusal(Reason.NO_AVAILABLE_COPY, detail={"status": copy.status})


def passed_over(copy: Holding, choice: LenderChoice) -> str:
    """Return the reason why an item cannot be requested, for staff, or "". Source: HKALL rules R3, R5, R7, R8, R22."""
    if copy.agency == choice.own:
        return "our own copy"
    partner = choice.partners.get(copy.agency)
    if partner is None:
        return "not a partner"
    if copy.key in choice.in_use.held:
        return f"with us: {choice.in_use.held[copy.key]}"
    return _library_passed_over(partner, choice) or _copy_passed_over(copy, choice)


def _library_passed_over(partner: Partner, choice: LenderChoice) -> str:
    if partner.agency in choice.tried:
        return "already asked"
    if stop := stopped_with(partner.agency, "borrow_request", choice.policy, choice.now):
        return f"suspended until {stop.end}"
    record, today = choice.record(partner.agency), civil(choice.now)
    if today in record.closures:
        return f"closed {today}"
    return "cannot be reached" if record.down else ""


def _copy_passed_over(copy: Holding, choice: LenderChoice) -> str:
    if choice.volume and copy.volume != choice.volume:
        return f"another volume: {copy.volume or 'none'}"
    match may_leave(copy, choice.policy):
        case Refusal(Reason.MATERIAL_NOT_REQUESTABLE):
            return f"material {copy.material}"
        case Refusal(Reason.ITEM_NOT_LENDABLE):
            return "not lendable"
        case Refusal():
            return f"status {copy.status}"
    return ""


def _rank_words(rank: Rank) -> str:
    """Return the ranking criteria of an item as text, in order of importance."""
    asked, priority, closed_tomorrow, balance, declines, *_chance = rank
    closed = "closed tomorrow, " if closed_tomorrow else ""
    rivals = "asked for by another request, " if asked else ""
    return f"{rivals}priority {priority}, {closed}balance {balance:.2f}, declines {declines:.0%}"

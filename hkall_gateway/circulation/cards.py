"""Terminal commands for cards, holds and copy properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hkall_gateway.circulation import borrowing
from hkall_gateway.circulation.borrowing import CancelRequest, Requested, RequestTitle
from hkall_gateway.circulation.command import Command, Context, Query
from hkall_gateway.circulation.find_request import find_open_request
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db import cards, requests_by_partner_id
from hkall_gateway.rules.dates import over
from hkall_gateway.rules.positions import NOT_HERE_YET, PATRON_WAITS
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Actor, ItemKey, Position, Refusal, Request, RequestChange, Sensitive, Side


@dataclass(frozen=True, slots=True)
class CardSet:
    """Result: the card is blocked or enabled. `again` is set if nothing had to be changed."""

    card: str
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCard(Command[BorrowerFacts, "CardSet"]):
    """Block a card with the terminal's message `text`. `retained` means that the terminal has kept the card."""

    by: Actor
    card: str
    text: str = ""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class EnableCard(Command[BorrowerFacts, "CardSet"]):
    """Lift a block that a terminal set in HKALL. A block in the local system stays."""

    by: Actor
    card: str
    pin: Sensitive = NOTHING


class HoldMode(StrEnum):
    """Operations on a hold at a terminal."""

    PLACE = "place"
    CANCEL = "cancel"
    CHANGE = "change"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldResult:
    """Result: the request after the operation."""

    request: str
    title: str
    item: ItemKey | None
    position: Position
    pickup_location: str
    need_before: date | None
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Command[BorrowerFacts, "HoldResult"]):
    """Place, cancel or change a patron's hold at a terminal.

    Attributes:
        barcode: Barcode of a copy of the title. If empty, `title` identifies the title.
        title: Name of the title, or its record number in the union catalogue.
        need_before: Last day of the hold.
        this_copy: Whether the patron wants only this copy.
        request_ids: Numbers of requests whose text in the patron record equals the text that the terminal sent back.
    """

    by: Actor
    mode: HoldMode
    card: str
    barcode: str = ""
    title: str = ""
    pickup_location: str = ""
    need_before: date | None = None
    this_copy: bool = False
    request_ids: frozenset[str] = frozenset()
    pin: Sensitive = NOTHING


@dataclass(frozen=True, slots=True)
class ConcernsHkall(Query[None, bool]):
    """Query whether a hold concerns HKALL rather than the library's own holds."""

    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertiesNoted:
    """Result: the copy with its recorded properties."""

    item: ItemKey
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteProperties(Command[None, "PropertiesNoted"]):
    """Record the properties that a terminal reports for a copy."""

    by: Actor
    barcode: str
    text: str


P = Position


def block_card(context: Context, command: BlockCard, facts: BorrowerFacts) -> CardSet | Refused:
    """Block a card for a terminal. An unknown card is refused."""
    if facts.borrower is None:
        return context.refuse(facts.stranger, command.by, patron=command.card)
    return CardSet(
        command.card,
        again=not cards.block(context.unit, command.card, command.text, context.now, command.by, retained=command.retained),
    )


def enable_card(context: Context, command: EnableCard, facts: BorrowerFacts) -> CardSet | Refused:
    """Lift a block that a terminal set in HKALL."""
    if facts.borrower is None:
        return context.refuse(facts.stranger, command.by, patron=command.card)
    return CardSet(command.card, again=not cards.lift(context.unit, command.card, context.now, command.by))


def hold(context: Context, command: Hold, facts: BorrowerFacts) -> HoldResult | Refused:
    """Place, cancel or change a patron's request from a terminal (R4 to R7, R22, R34)."""
    if facts.replaced:
        return context.refuse(facts.stranger, command.by, patron=command.card)
    return _HOLDS[command.mode](context, command, facts)


def _place_hold(context: Context, ask: Hold, facts: BorrowerFacts) -> HoldResult | Refused:
    wanted = _find_title(context, ask)
    if isinstance(wanted, Reason):
        return context.refuse(wanted, ask.by, patron=ask.card, language=_language_of(facts))
    bib_id, volume = wanted
    command = RequestTitle(
        by=ask.by,
        patron=ask.card,
        bib_id=bib_id,
        volume=volume,
        pickup_location=ask.pickup_location,
        need_before=ask.need_before,
    )
    result = borrowing.request_title(context, command, facts)
    if not isinstance(result, Requested):
        return result if isinstance(result, Refused) else context.refuse(Reason.WRONG_POSITION, ask.by, patron=ask.card)
    placed = context.unit.requests.find(result.request)
    assert placed is not None  # placed in this unit of work
    return _hold_result(placed, facts)


def _find_title(context: Context, command: Hold) -> tuple[str, str] | Reason:
    """Find the record number and the volume of the title.

    Holds on one specific copy, or on a copy that came from a partner, are not allowed (R22).
    """
    if command.this_copy:
        return Reason.HOLDS_NOT_ALLOWED
    if command.barcode:
        if any(request.side is Side.BORROWING for request in context.unit.requests.open_with_item(command.barcode)):
            return Reason.HOLDS_NOT_ALLOWED
        ours = context.unit.holdings.find(ItemKey(context.library.agency, command.barcode))
        if ours:
            return ours.bib_id, ours.volume
        return (
            Reason.HOLDS_NOT_ALLOWED
            if requests_by_partner_id.copies_with(context.unit, command.barcode)
            else Reason.UNKNOWN_ITEM
        )
    found = cards.titles(context.unit, command.title) if command.title else ()
    if len(found) == 1:
        return found[0], ""
    return Reason.AMBIGUOUS_ITEM if found else Reason.UNKNOWN_TITLE


def concerns_hkall(context: Context, query: ConcernsHkall) -> bool:
    """Return whether a hold concerns an HKALL request or book rather than the library's own holds."""
    ask = query.hold
    if ask.mode is not HoldMode.PLACE:
        return _find_hold(context, ask) not in {Reason.UNKNOWN_REQUEST, Reason.WRONG_POSITION}
    if ask.barcode:
        return bool(context.unit.requests.open_with_item(ask.barcode))
    return bool(cards.titles(context.unit, ask.title))


def _cancel_hold(context: Context, command: Hold, facts: BorrowerFacts) -> HoldResult | Refused:
    request = _find_hold(context, command)
    if isinstance(request, Reason):
        return context.refuse(request, command.by, patron=command.card, language=_language_of(facts))
    result = borrowing.cancel(context, CancelRequest(by=command.by, patron=command.card, request=request.id))
    return result if isinstance(result, Refused) else _hold_result(context.unit.requests.find(request.id) or request, facts)


def _change_hold(context: Context, command: Hold, facts: BorrowerFacts) -> HoldResult | Refused:
    """Change a request's last day or, until the book arrives, its pickup location."""
    request = _find_hold(context, command)
    if isinstance(request, Reason):
        return context.refuse(request, command.by, patron=command.card, language=_language_of(facts))
    place = command.pickup_location or request.pickup_location
    if place not in context.library.pickup_locations:
        detail = {"place": ", ".join(context.library.pickup_locations)}
        return context.refuse(
            Refusal(Reason.PICKUP_LOCATION, detail=detail), command.by, patron=command.card, language=_language_of(facts)
        )
    if place != request.pickup_location and request.position not in NOT_HERE_YET:
        return context.refuse(Reason.WRONG_POSITION, command.by, patron=command.card, language=_language_of(facts))
    if late := over(command.need_before, context.now):
        return context.refuse(late, command.by, patron=command.card, language=_language_of(facts))
    facts_now: RequestChange = {"pickup_location": place, "need_before": command.need_before or request.need_before}
    return _hold_result(context.unit.amend(request, context.now, command.by, "R4", **facts_now), facts)


def _find_hold(context: Context, command: Hold) -> Request | Reason:
    """Find the patron's waiting request that the command identifies.

    A request whose cancellation the lender has not confirmed yet is chosen only if no other request matches. Of several such
    requests, the last one is chosen.
    """
    ours = context.unit.holdings.find(ItemKey(context.library.agency, command.barcode)) if command.barcode else None
    names = {name for name in (ours.bib_id if ours else "", "" if command.barcode else command.title) if name}

    def is_named(request: Request) -> bool:
        copy = bool(command.barcode) and request.item_barcode == command.barcode
        known = any(name in {request.bib_id, request.id} or request.is_named(name) for name in names)
        return copy or known or request.id in command.request_ids

    meant = [r for r in context.unit.requests.open_of_patron(command.card) if r.side is Side.BORROWING and is_named(r)]
    waiting = [r for r in meant if r.position in PATRON_WAITS]
    uncancelled = [request for request in waiting if request.position is not P.CANCELLING]
    if len(uncancelled) == 1:
        return uncancelled[0]
    if waiting and not uncancelled:
        # Every request is cancelled already. The patron repeats the last cancellation and gets its answer again.
        return max(waiting, key=lambda request: (request.placed_at is not None, request.placed_at, request.id))
    return Reason.AMBIGUOUS_ITEM if waiting else Reason.WRONG_POSITION if meant else Reason.UNKNOWN_REQUEST


_HOLDS: dict[HoldMode, Callable[[Context, Hold, BorrowerFacts], HoldResult | Refused]] = {
    HoldMode.PLACE: _place_hold,
    HoldMode.CANCEL: _cancel_hold,
    HoldMode.CHANGE: _change_hold,
}


def _hold_result(request: Request, facts: BorrowerFacts) -> HoldResult:
    return HoldResult(
        request=request.id,
        title=request.full_title,
        item=request.item,
        position=request.position,
        pickup_location=request.pickup_location,
        need_before=request.need_before,
        language=_language_of(facts),
    )


def note_properties(context: Context, command: NoteProperties) -> PropertiesNoted | Refused:
    """Record the properties that a terminal reports for a copy. Refuse an unknown copy."""
    request = find_open_request(context.unit, command.barcode, "")
    if isinstance(request, Refused):
        return context.refuse(request.why, command.by)
    if request is not None:
        item, title = request.item, request.full_title
    else:
        item, title = _find_own_copy(context, command.barcode)
    if item is None:
        return context.refuse(Reason.UNKNOWN_ITEM, command.by)
    cards.note_properties(context.unit, item, command.text, context.now, command.by)
    return PropertiesNoted(item=item, title=title, text=command.text)


def _find_own_copy(context: Context, barcode: str) -> tuple[ItemKey | None, str]:
    """Return the key and the title of our copy, or (None, "") if we have none."""
    holdings = context.unit.holdings
    copy = holdings.find(ItemKey(context.library.agency, barcode))
    if copy is None:
        return None, ""
    return copy.key, holdings.full_title(copy)


def _language_of(facts: BorrowerFacts) -> str:
    return facts.borrower.language if facts.borrower else ""

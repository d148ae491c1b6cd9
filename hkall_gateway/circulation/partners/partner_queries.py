"""UnitOfWork and reports of other systems beside borrowing: request state, shelves, item status, claims, bills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from typing import Final

from hkall_gateway.circulation.borrowers import waited_too_long
from hkall_gateway.circulation.command import Command, Context, Query
from hkall_gateway.circulation.find_request import StaffCommand, done, not_theirs
from hkall_gateway.circulation.queries import ItemSeen, SeeItem, see_item
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import losses
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.requests_by_partner_id import borrowed_under, held_with
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import over
from hkall_gateway.rules.messages.json_records import record
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Partner, Position, Refusal, Request, Side


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """The state of a request. `patron` is empty where we lend; `copy` is the state of its copy, if it has one.

    `label` is the word of the patron's record (R35), "" where we lend.
    `uncollected`, for the patron's own system: its last day on the hold shelf is over (R14).
    """

    request: str
    side: Side
    position: Position
    title: str
    patron: str
    item: ItemKey | None
    pickup_location: str
    pickup_last: date | None
    placed_at: datetime | None
    need_before: date | None
    copy: ItemSeen | None
    label: str = ""
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class SeeRequest(Query[None, "RequestSeen | Refused"]):
    """Asks for a request's state. `agency`/`value` are its RequestId; without one, the request that holds `item`, for `card`.

    `caller` may see the requests it placed, those it borrows from us, and those we sent to it; a `client` also those under our
    own number.
    """

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class SeeCopyOf(Query[None, ItemSeen | Refused]):
    """Asks for the state of the copy of a request."""

    request: SeeRequest


@dataclass(frozen=True, slots=True)
class ServesPatron(Query[None, bool]):
    """Asks whether a partner has an open request for one of our patrons."""

    partner: str
    card: str


@dataclass(frozen=True, slots=True)
class FindInstitution(Query[None, Partner | None]):
    """Asks which partner an institutional card belongs to."""

    card: str


@dataclass(frozen=True, slots=True)
class KeepUnplaced(Command[None, bool]):
    """Keeps a partner's notice that fits no request in the quarantine; the result is False where it has too many there."""

    by: Actor
    digest: str
    document: str
    why: Reason


@dataclass(frozen=True, slots=True)
class TitleCopies:
    """The copies of one title at one library; `copies` is empty and `unknown` true if there is no such title or copy."""

    bib_id: str
    agency: str
    copies: tuple[ItemSeen, ...]
    wanted: ItemKey | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ShelvesSeen:
    """The shelves, in the order asked for. `token` asks for the rest; "" when there is none."""

    shelves: tuple[TitleCopies, ...]
    token: str = ""


@dataclass(frozen=True, slots=True)
class SeeShelves(Query[None, "ShelvesSeen | Refused"]):
    """Asks for the copies of titles, or the state of copies. At most `limit` copies, after `token`.

    `ours_only`: a partner sees our own copies only.
    """

    by: Actor
    titles: tuple[str, ...] = ()
    items: tuple[ItemKey, ...] = ()
    ours_only: bool = False
    limit: int = 100
    token: str = ""


@record
@dataclass(frozen=True, slots=True)
class Changed:
    """The changed request, with its values after the change. `patron` is empty where we lend."""

    request: str
    placed_by: str
    placed_id: str
    patron: str
    item: ItemKey | None
    pickup_location: str = ""
    need_before: date | None = None


@dataclass(frozen=True, slots=True)
class ChangeRequest(Command[None, "Changed"]):
    """Changes the pickup location or the `need_before` date of a request. Named as for SeeRequest."""

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None
    pickup_location: str = ""
    need_before: date | None = None


@record
@dataclass(frozen=True, slots=True)
class StatusSet:
    """The copy's status is recorded. `again`: it was the same before."""

    item: ItemKey
    again: bool = False
    status: str = ""


@dataclass(frozen=True, slots=True)
class SetStatus(Command[None, "StatusSet"]):
    """A library sets the status of its own copy (`status`: NCIP CirculationStatus)."""

    by: Actor
    item: ItemKey
    status: str


@dataclass(frozen=True, slots=True)
class CopyReport(Command[None, Done]):
    """A borrower's report that a copy was returned, never borrowed, lost or is missing. `partner` or `card` names the holder.

    `command` is the matching staff command: claim or lost.
    """

    by: Actor
    command: str
    item: ItemKey
    partner: str = ""
    card: str = ""
    reason: str = ""
    on: date | None = None


@record
@dataclass(frozen=True, slots=True)
class Billed:
    """The bill is charged to the patron. `fine` is our number of the charge."""

    card: str
    reference: str
    fine: int


@dataclass(frozen=True, slots=True)
class Bill(Command[None, "Billed"]):
    """Another system charges one of our patrons, in cents, under its own `reference`, perhaps for one request or copy."""

    by: Actor
    card: str
    cents: int
    kind: str
    reference: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None


P = Position
MOVABLE: Final = frozenset({P.NEW, P.REQUESTED, P.IN_TRANSIT, P.PAGED})
"""Positions in which the pickup location can still change."""

WAITING: Final = frozenset({P.NEW, P.REQUESTED, P.IN_TRANSIT, P.RECEIVED, P.PAGED})
FEE: Final = "fee"


def see_request(context: Context, ask: SeeRequest) -> RequestSeen | Refused:
    """The state of a request, for the systems it belongs to; UNKNOWN_REQUEST for all others."""
    found = _of(context, ask)
    if found is None:
        return Refused(Reason.UNKNOWN_REQUEST)
    copy = see_item(context, SeeItem(ask.by, found.item_barcode, found.item_agency)) if found.item else None
    return RequestSeen(
        request=found.id,
        side=found.side,
        position=found.position,
        title=found.title,
        patron=found.patron if ask.client else "",
        item=found.item,
        pickup_location=found.pickup_location,
        pickup_last=found.pickup_last,
        placed_at=found.placed_at,
        need_before=found.need_before,
        copy=copy if isinstance(copy, ItemSeen) else None,
        label=context.library.policy.labels.get(found.position, "") if found.side is Side.BORROWING else "",
        uncollected=ask.client and waited_too_long(context, found),
    )


def copy_of(context: Context, query: SeeCopyOf) -> ItemSeen | Refused:
    """The state of a request's copy; UNKNOWN_ITEM for a request without a copy."""
    seen = see_request(context, query.request)
    if isinstance(seen, Refused):
        return seen
    return seen.copy or Refused(Reason.UNKNOWN_ITEM)


def _of(context: Context, ask: SeeRequest | ChangeRequest) -> Request | None:
    found = _by_number(context, ask)
    if found or ask.value or ask.item is None:
        return found
    held = context.unit.requests.with_copy(ask.item.barcode, ask.item.agency)
    mine = [r for r in held if (r.patron == ask.card if ask.client else r.partner == ask.caller)]
    return mine[0] if len(mine) == 1 else None


def _by_number(context: Context, ask: SeeRequest | ChangeRequest) -> Request | None:
    agency, value = ask.agency or ask.caller, ask.value
    if not value:
        return None
    if ask.client:
        ours = (
            context.unit.requests.find(value)
            if agency == context.library.agency
            else context.unit.requests.placed(agency, value)
        )
        return ours if ours and ours.side is Side.BORROWING and ours.placed_by in {"", ask.caller} else None
    asked = context.unit.requests.asked(value) if agency == context.library.agency else None
    if asked:
        return asked[0] if asked[1].agency == ask.caller else None
    lent = context.unit.requests.lent(agency, value)
    if lent and lent.partner == ask.caller:
        return lent
    numbered = context.unit.requests.numbered(ask.caller, f"{agency}:{value}")
    return borrowed_under(context.unit, ask.caller, value) or (numbered[0] if numbered else None)


def change_request(context: Context, ask: ChangeRequest) -> Changed | Refused:
    """Change the pickup location of a request that is not here yet, or its last day; repeating it is a success (R4)."""
    found = _of(context, ask)
    if found is None or (ask.client and ask.card and ask.card != found.patron):
        return context.refuse(Refusal(not_theirs(context.unit, ask.card)), ask.by)
    place, need = ask.pickup_location or found.pickup_location, ask.need_before or found.need_before
    if (place, need) == (found.pickup_location, found.need_before):
        return _changed(found)
    if found.side is Side.BORROWING and place not in context.library.pickup_locations:
        return context.refuse(
            Refusal(Reason.PICKUP_LOCATION, {"place": ", ".join(context.library.pickup_locations)}), ask.by, found
        )
    if found.position not in (MOVABLE if place != found.pickup_location else WAITING):
        return context.refuse(Reason.WRONG_POSITION, ask.by, found)
    if late := over(ask.need_before, context.now):
        return context.refuse(late, ask.by, found)
    return _changed(context.unit.amend(found, context.now, ask.by, "R4", pickup_location=place, need_before=need))


def _changed(request: Request) -> Changed:
    placed = (request.placed_by, request.placed_id)
    named = placed if request.side is Side.BORROWING else (request.wire_agency, request.wire_id)
    return Changed(request.id, *named, request.patron, request.item, request.pickup_location, request.need_before)


def serves_patron(context: Context, query: ServesPatron) -> bool:
    """Return whether a partner has an open request for one of our patrons."""
    return any(request.partner == query.partner for request in context.unit.requests.open_of(query.card))


def institution(context: Context, query: FindInstitution) -> Partner | None:
    """Return the partner that borrows from us on this card."""
    return context.unit.partners.with_card(query.card)


def keep_unplaced(context: Context, command: KeepUnplaced) -> bool:
    """Keep a notice that fits no request; False where too many of the partner's documents are quarantined already."""
    what = (command.by.who, command.digest, command.by.message, command.document, command.why.value)
    return quarantine.keep(context.unit, *what, context.now)


def see_shelves(context: Context, ask: SeeShelves) -> ShelvesSeen | Refused:
    """The copies of titles, or single copies, one page at a time, as loaded and as our own requests hold them."""
    start = _start(ask.token)
    if start is None:
        return Refused(Reason.UNUSABLE_MESSAGE)
    rows = list(_rows(context, ask))
    page = rows[start : start + ask.limit]
    shelves = tuple(_shelf(context, list(group), ask.by) for _, group in groupby(page, key=lambda row: row[:3]))
    rest = start + ask.limit
    return ShelvesSeen(shelves, f"from-{rest}" if rest < len(rows) else "")


def _start(token: str) -> int | None:
    """The first row of a page. A token is a word of ours and never "0", which PHP treats as empty."""
    if not token:
        return 0
    return whole_number(token.removeprefix("from-")) if token.startswith("from-") else None


_Row = tuple[str, str, ItemKey | None, ItemKey | None]
"""(title, library, the copy that was asked for by name, a copy); no copy where there is none."""


def _rows(context: Context, ask: SeeShelves) -> Iterator[_Row]:
    for title in dict.fromkeys(ask.titles):
        copies = (
            context.unit.holdings.of_title(title, context.library.agency)
            if ask.ours_only
            else (context.unit.holdings.of_title(title) or context.unit.holdings.of_title(title, context.library.agency))
        )
        yield from ((title, copy.agency, None, copy.key) for copy in copies)
        if not copies:
            yield title, "", None, None
    for item in dict.fromkeys(ask.items):
        holding = context.unit.holdings.find(item)
        shown = holding is not None and (not ask.ours_only or item.agency == context.library.agency)
        yield holding.bib_id if holding and shown else "", item.agency, item, item if shown else None


def _shelf(context: Context, rows: list[_Row], by: Actor) -> TitleCopies:
    title, agency, wanted, _ = rows[0]
    seen = [see_item(context, SeeItem(by, key.barcode, key.agency)) for *_, key in rows if key]
    copies = tuple(copy for copy in seen if isinstance(copy, ItemSeen))
    return TitleCopies(title, agency, copies, wanted, unknown=not copies)


def set_status(context: Context, ask: SetStatus) -> StatusSet | Refused:
    """Set the status of a library's own copy, in place of the loaded one."""
    holding = context.unit.holdings.find(ask.item)
    if holding is None:
        return context.refuse(Reason.UNKNOWN_ITEM, ask.by)
    if holding.status == ask.status:
        return StatusSet(ask.item, again=True, status=ask.status)
    context.unit.holdings.set_status(ask.item, ask.status)
    return StatusSet(ask.item, status=ask.status)


def report(context: Context, ask: CopyReport) -> Done | Refused:
    """Record the holder's report that a book is returned, lost or missing: a claim or a loss, as staff would declare it."""
    held = context.unit.requests.with_copy(ask.item.barcode, ask.item.agency)
    mine = [r for r in held if _has_it(r, ask)]
    if not held and (last := context.unit.requests.last_with(ask.item)) and _has_it(last, ask):
        context.unit.note(last, "LATE", {"message": ask.by.message}, context.now, ask.by)
        return done(last, again=True)
    if len(mine) != 1:
        return context.refuse(Refusal(Reason.NOT_ON_LOAN if held else Reason.UNKNOWN_ITEM), ask.by)
    work = losses.claim if ask.command == "claim" else losses.lose
    said = work(context, StaffCommand(ask.by, mine[0].id, reason=ask.reason, on=ask.on), mine[0])
    return replace(said, mark="claimed_on" if ask.command == "claim" else "lost_on") if isinstance(said, Done) else said


def _has_it(request: Request, ask: CopyReport) -> bool:
    if ask.partner:
        return request.side is Side.LENDING and request.partner == ask.partner
    return request.side is Side.BORROWING and request.patron == ask.card and bool(ask.card)


def bill(context: Context, ask: Bill) -> Billed | Refused:
    """Charge a patron for another system's bill, once for each of its references; it may name a former card."""
    ask = replace(ask, card=card_now(context.unit, ask.card))
    if context.unit.patrons.find(ask.card) is None:
        return context.refuse(Reason.UNKNOWN_BORROWER, ask.by, patron=ask.card)
    if ask.cents <= 0:
        return context.refuse(Refusal(Reason.NOT_OWED, {"owed": "more than nothing"}), ask.by, patron=ask.card)
    mark = f"{ask.by.who}:{ask.reference}"
    known = [one for one in context.unit.patrons.charges(ask.card) if one.reason == mark] if ask.reference else []
    if known:
        same = known[0].cents == ask.cents
        return _billed(ask, known[0].id) if same else context.refuse(Reason.TRANSACTION_REUSED, ask.by)
    about = _billed_for(context.unit, ask) or Request("", Side.BORROWING, P.NEW, "", "", patron=ask.card)
    return _billed(ask, fines.charge(context.unit, about, ask.kind or FEE, ask.cents, mark, context.now, ask.by))


def _billed_for(unit: UnitOfWork, ask: Bill) -> Request | None:
    found = borrowed_under(unit, ask.by.who, ask.wire_id)
    if found is None and ask.item:
        found = held_with(unit, ask.by.who, ask.item.barcode)
    return found if found and found.patron == ask.card else None


def _billed(ask: Bill, number: int) -> Billed:
    return Billed(ask.card, ask.reference or str(number), number)


# ---- no

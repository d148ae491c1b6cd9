"""Queries of other systems: the state of a request, shelves, and the owner of a card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

from hkall_gateway.circulation.borrowers import waited_too_long
from hkall_gateway.circulation.command import Context, Query
from hkall_gateway.circulation.queries import ItemSeen, SeeItem, see_item
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.requests_by_partner_id import borrowed_under
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request, Side


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
class RequestReference:
    """Names a request by its RequestId, `agency` and `value`, or without one by the `item` it holds, for `card`.

    `caller` may see the requests it placed, those it borrows from us, and those we sent to it. A `client` may also see those
    under our own number.
    """

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True)
class SeeRequest(RequestReference, Query[None, "RequestSeen | Refused"]):
    """Ask for the state of a request."""


@dataclass(frozen=True, slots=True)
class SeeCopyOf(Query[None, ItemSeen | Refused]):
    """Ask for the state of the copy of a request."""

    request: SeeRequest


@dataclass(frozen=True, slots=True)
class ServesPatron(Query[None, bool]):
    """Ask whether a partner has an open request for one of our patrons."""

    partner: str
    card: str


@dataclass(frozen=True, slots=True)
class FindInstitution(Query[None, Partner | None]):
    """Ask which partner an institutional card belongs to."""

    card: str


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
    """Ask for the copies of titles, or the state of copies: at most `limit` copies, after `token`.

    `ours_only`: a partner sees our own copies only.
    """

    by: Actor
    titles: tuple[str, ...] = ()
    items: tuple[ItemKey, ...] = ()
    ours_only: bool = False
    limit: int = 100
    token: str = ""


P = Position


def see_request(context: Context, query: SeeRequest) -> RequestSeen | Refused:
    """Return the state of a request to the systems that it belongs to. For all others it is unknown."""
    found = find_by_reference(context, query)
    if found is None:
        return Refused(Reason.UNKNOWN_REQUEST)
    copy = see_item(context, SeeItem(query.by, found.item_barcode, found.item_agency)) if found.item else None
    return RequestSeen(
        request=found.id,
        side=found.side,
        position=found.position,
        title=found.title,
        patron=found.patron if query.client else "",
        item=found.item,
        pickup_location=found.pickup_location,
        pickup_last=found.pickup_last,
        placed_at=found.placed_at,
        need_before=found.need_before,
        copy=copy if isinstance(copy, ItemSeen) else None,
        label=context.library.policy.labels.get(found.position, "") if found.side is Side.BORROWING else "",
        uncollected=query.client and waited_too_long(context, found),
    )


def see_copy_of(context: Context, query: SeeCopyOf) -> ItemSeen | Refused:
    """Return the state of a request's copy. A request without a copy has UNKNOWN_ITEM."""
    seen = see_request(context, query.request)
    if isinstance(seen, Refused):
        return seen
    return seen.copy or Refused(Reason.UNKNOWN_ITEM)


def find_by_reference(context: Context, reference: RequestReference) -> Request | None:
    """Find the request that a system names, if it may see it."""
    found = _find_by_number(context, reference)
    if found or reference.value or reference.item is None:
        return found
    held = context.unit.requests.open_with_item(reference.item.barcode, reference.item.agency)
    mine = [r for r in held if (r.patron == reference.card if reference.client else r.partner == reference.caller)]
    return mine[0] if len(mine) == 1 else None


def _find_by_number(context: Context, reference: RequestReference) -> Request | None:
    agency, value = reference.agency or reference.caller, reference.value
    if not value:
        return None
    if reference.client:
        ours = (
            context.unit.requests.find(value)
            if agency == context.library.agency
            else context.unit.requests.find_placed(agency, value)
        )
        return ours if ours and ours.side is Side.BORROWING and ours.placed_by in {"", reference.caller} else None
    attempt = context.unit.requests.find_by_wire_id(value) if agency == context.library.agency else None
    if attempt:
        return attempt[0] if attempt[1].agency == reference.caller else None
    lent = context.unit.requests.find_lent(agency, value)
    if lent and lent.partner == reference.caller:
        return lent
    numbered = context.unit.requests.find_by_lender_number(reference.caller, f"{agency}:{value}")
    return borrowed_under(context.unit, reference.caller, value) or (numbered[0] if numbered else None)


def serves_patron(context: Context, query: ServesPatron) -> bool:
    """Return whether a partner has an open request for one of our patrons."""
    return any(request.partner == query.partner for request in context.unit.requests.open_of_patron(query.card))


def find_institution(context: Context, query: FindInstitution) -> Partner | None:
    """Return the partner that borrows from us on this card."""
    return context.unit.partners.with_card(query.card)


def see_shelves(context: Context, query: SeeShelves) -> ShelvesSeen | Refused:
    """Return the copies of titles, or single copies, one page at a time, as loaded and as our requests hold them."""
    start = _parse_token(query.token)
    if start is None:
        return Refused(Reason.UNUSABLE_MESSAGE)
    rows = list(_shelf_rows(context, query))
    page = rows[start : start + query.limit]
    shelves = tuple(_make_shelf(context, list(group), query.by) for _, group in groupby(page, key=lambda row: row[:3]))
    rest = start + query.limit
    return ShelvesSeen(shelves, f"from-{rest}" if rest < len(rows) else "")


def _parse_token(token: str) -> int | None:
    """Return the first row of a page. A token is a word of ours and never "0", which PHP treats as empty."""
    if not token:
        return 0
    return whole_number(token.removeprefix("from-")) if token.startswith("from-") else None


_Row = tuple[str, str, ItemKey | None, ItemKey | None]
"""(title, library, the copy that was asked for by name, a copy); no copy where there is none."""


def _shelf_rows(context: Context, query: SeeShelves) -> Iterator[_Row]:
    for title in dict.fromkeys(query.titles):
        copies = (
            context.unit.holdings.of_title(title, context.library.agency)
            if query.ours_only
            else (context.unit.holdings.of_title(title) or context.unit.holdings.of_title(title, context.library.agency))
        )
        yield from ((title, copy.agency, None, copy.key) for copy in copies)
        if not copies:
            yield title, "", None, None
    for item in dict.fromkeys(query.items):
        holding = context.unit.holdings.find(item)
        shown = holding is not None and (not query.ours_only or item.agency == context.library.agency)
        yield holding.bib_id if holding and shown else "", item.agency, item, item if shown else None


def _make_shelf(context: Context, rows: list[_Row], by: Actor) -> TitleCopies:
    title, agency, wanted, _ = rows[0]
    seen = [see_item(context, SeeItem(by, key.barcode, key.agency)) for *_, key in rows if key]
    copies = tuple(copy for copy in seen if isinstance(copy, ItemSeen))
    return TitleCopies(title, agency, copies, wanted, unknown=not copies)


# ---- no

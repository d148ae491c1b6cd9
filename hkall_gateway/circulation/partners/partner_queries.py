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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSeen:
    """The state of a request.

    Attributes:
        patron: The patron's card, or "" if we lend.
        copy: State of the request's copy, or None if the request has no copy.
        label: Status label of the patron's record (R35), or "" if we lend.
        uncollected: Whether the pickup deadline has passed (R14). Set only for the patron's own system.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReference:
    """Identifies a request by its RequestId (`agency`, `value`) or, if `value` is empty, by the copy `item` that it holds.

    A `client` is a discovery system, and may see requests of our patrons by our number or its own. Any other `caller` is a
    partner, and may see the requests that it sent to us or received from us. For a client, `item` must be in a request of
    `card`.
    """

    by: Actor
    agency: str
    value: str
    caller: str
    client: bool = False
    card: str = ""
    item: ItemKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeRequest(RequestReference, Query[None, "RequestSeen | Refused"]):
    """Query the state of a request."""


@dataclass(frozen=True, slots=True)
class SeeCopyOf(Query[None, ItemSeen | Refused]):
    """Query the state of a request's copy."""

    request: SeeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ServesPatron(Query[None, bool]):
    """Query whether a partner has an open request for one of our patrons."""

    partner: str
    card: str


@dataclass(frozen=True, slots=True)
class FindInstitution(Query[None, Partner | None]):
    """Query the partner to which an institutional card belongs."""

    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleCopies:
    """The copies of one title at one library. `unknown` is set if the title or copy does not exist."""

    bib_id: str
    agency: str
    copies: tuple[ItemSeen, ...]
    wanted: ItemKey | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ShelvesSeen:
    """One page of shelves, in the order of the query. `token` is the cursor of the next page, or "" on the last page."""

    shelves: tuple[TitleCopies, ...]
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeShelves(Query[None, "ShelvesSeen | Refused"]):
    """Query the copies of titles, or single copies: at most `limit` copies after the cursor `token`.

    `ours_only` limits the result to our own copies, for queries by partners.
    """

    by: Actor
    titles: tuple[str, ...] = ()
    items: tuple[ItemKey, ...] = ()
    ours_only: bool = False
    limit: int = 100
    token: str = ""


P = Position


def see_request(context: Context, query: SeeRequest) -> RequestSeen | Refused:
    """Return the state of a request to a system that may see it. For other systems, the request is unknown."""
    found = find_by_reference(context, query)
    if found is None:
        return Refused(why=Reason.UNKNOWN_REQUEST)
    copy = see_item(context, SeeItem(by=query.by, barcode=found.item_barcode, agency=found.item_agency)) if found.item else None
    return RequestSeen(
        request=found.id,
        side=found.side,
        position=found.position,
        title=found.full_title,
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
    """Return the state of a request's copy, or refuse with UNKNOWN_ITEM if the request has no copy."""
    seen = see_request(context, query.request)
    if isinstance(seen, Refused):
        return seen
    return seen.copy or Refused(why=Reason.UNKNOWN_ITEM)


def find_by_reference(context: Context, reference: RequestReference) -> Request | None:
    """Find the referenced request, if the caller may see it."""
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
    """Check whether a partner has an open request for one of our patrons."""
    return any(request.partner == query.partner for request in context.unit.requests.open_of_patron(query.card))


def find_institution(context: Context, query: FindInstitution) -> Partner | None:
    """Return the partner that borrows from us with this card."""
    return context.unit.partners.with_card(query.card)


def see_shelves(context: Context, query: SeeShelves) -> ShelvesSeen | Refused:
    """Return one page of copies, by title or one by one. Their states come from the loaded holdings and our requests."""
    start = _parse_token(query.token)
    if start is None:
        return Refused(why=Reason.UNUSABLE_MESSAGE)
    rows = list(_shelf_rows(context, query))
    page = rows[start : start + query.limit]
    shelves = tuple(_make_shelf(context, list(group), query.by) for _, group in groupby(page, key=lambda row: row[:3]))
    rest = start + query.limit
    return ShelvesSeen(shelves, f"from-{rest}" if rest < len(rows) else "")


def _parse_token(token: str) -> int | None:
    """Return the index of the first row of a page. A token is never "0", which PHP treats as empty."""
    if not token:
        return 0
    return whole_number(token.removeprefix("from-")) if token.startswith("from-") else None


_Row = tuple[str, str, ItemKey | None, ItemKey | None]
"""(title, library, copy named by the query or None, copy to show or None)."""


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
    seen = [see_item(context, SeeItem(by=by, barcode=key.barcode, agency=key.agency)) for *_, key in rows if key]
    copies = tuple(copy for copy in seen if isinstance(copy, ItemSeen))
    return TitleCopies(bib_id=title, agency=agency, copies=copies, wanted=wanted, unknown=not copies)

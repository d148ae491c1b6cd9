"""Work lists of the counter: the condition of each list, its pages, and the counts of all lists.

The command line and the staff console use the same conditions, so that a list has the same requests in both. Pages use keyset
pagination: a page begins after the sort key and the request number of the last row of the previous page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    collate,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    union,
    union_all,
)

from hkall_gateway.db.directory import partner_of
from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.requests import REQUESTED, request_of
from hkall_gateway.db.tables import (
    HOLDINGS,
    IS_CLOSED,
    IS_DEAD,
    IS_FLAGGED,
    IS_OPEN,
    IS_WAITING,
    LINKS,
    OUTBOX,
    REQUESTS,
    SET_ASIDE,
    Condition,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.positions import ON_A_WAY, POSITIONS, STALLS_AFTER
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.vocabulary import Position, Request, Side

R, H = REQUESTS.c, HOLDINGS.c


def moved(unit: UnitOfWork, since: datetime) -> dict[str, int]:
    """Count the requests that have moved since `since`, by their current position."""
    return {str(position): int(number) for position, number in _MOVED.cells(unit.connection, since=since)}


_LATELY = select(R.position).where(R.moved_at >= bindparam("since", type_=R.moved_at.type))
_EITHER = union_all(_LATELY.where(IS_OPEN), _LATELY.where(IS_CLOSED)).subquery()  # each part uses its own index
_MOVED: Final = CompiledStatement(select(_EITHER.c.position, func.count()).group_by(_EITHER.c.position))


P = Position
MOST: Final = 200
"""Maximum number of rows on a page."""


class ListName(StrEnum):
    """The work lists, named as in the URLs of the console."""

    PULL = "pull"
    EXPECTED = "expected"
    SHELF = "shelf"
    EXPIRED = "expired"
    TO_RETURN = "to-return"
    ON_LOAN = "on-loan"
    OVERDUE = "overdue"
    RECALLS = "recalls"
    LENDING = "lending"
    STUCK = "stuck"
    FLAGGED = "flagged"


class SortKey(StrEnum):
    """Sort orders of a list: longest in the position first, call number, title, or due date (on the shelf: last pickup day)."""

    DAYS = "days"
    CALL_NUMBER = "call-number"
    TITLE = "title"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Moment:
    """The current time, and the site's time limits after which requests count as stuck."""

    now: datetime
    waits: Waits

    @property
    def today(self) -> date:
        """The civil date at the library."""
        return dates.civil(self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOrder:
    """The sort order and start of a page. `after` is the `next` cursor of the previous page, or "" for the first page."""

    key: SortKey = SortKey.DAYS
    reverse: bool = False
    after: str = ""
    most: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Filter for a list by partner, pickup place and material. An empty field does not filter."""

    partner: str = ""
    pickup: str = ""
    material: str = ""


FIRST: Final = PageOrder()
ALL: Final = Only()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """A request in a work list, with data from its copy.

    Attributes:
        days: Number of days in the current position.
        set_aside: Scheduled job that could not process the request, with the error. Set only in the list of stuck requests.
        fault: Partner's reason for refusing messages about the request. Set only in the list of stuck requests.
    """

    request: Request
    days: int
    call_number: str = ""
    author: str = ""
    material: str = ""
    set_aside: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ListPage:
    """The rows of a page. `next` is the cursor of the next page, or "" after the last page."""

    rows: tuple[ListRow, ...]
    next: str = ""


def _is_listed(name: ListName) -> ColumnElement[bool]:
    """Return the condition for the positions that `positions.toml` shows in a list."""
    places = []
    for position, row in POSITIONS.items():
        sides = [side for side, names in row.work_lists.items() if name in names]
        if sides:
            is_there = R.position == position
            places.append(is_there if len(sides) == len(row.sides) else and_(is_there, R.side.in_(sides)))
    return or_(*places)


CONDITIONS: Final[Mapping[ListName, tuple[Condition, ...]]] = {
    ListName.PULL: (_is_listed(ListName.PULL),),
    ListName.EXPECTED: (_is_listed(ListName.EXPECTED),),
    ListName.SHELF: (_is_listed(ListName.SHELF),),
    ListName.EXPIRED: (_is_listed(ListName.SHELF), R.expired_pickup.is_(True)),
    ListName.TO_RETURN: (_is_listed(ListName.TO_RETURN),),
    ListName.ON_LOAN: (_is_listed(ListName.ON_LOAN),),
    ListName.RECALLS: (R.recalled_on.is_not(None),),
    ListName.LENDING: (_is_listed(ListName.LENDING),),
    ListName.FLAGGED: (IS_FLAGGED, R.id > ""),  # a condition on `id` makes SQLite use the index
}
"""Conditions on open requests, for the lists that do not depend on the time."""


def overdue(today: date) -> tuple[ColumnElement[bool], ...]:
    """Return the condition for loans past their due date, without lost books."""
    return (R.position == P.ON_LOAN, R.due < today, R.lost_on.is_(None))


_REFUSES_US: Final = and_(text("links.state <> ''"), LINKS.c.fault != "")  # repeats the condition of ix_links_used


def stuck(unit: UnitOfWork, at: Moment) -> ColumnElement[bool]:
    """Return the condition for requests that need staff, because they do not progress automatically.

    They have been in their position for too long, a scheduled job could not process them, or their partner refuses messages.
    """
    # Read the courier days of each partner with a copy on its way.
    of = select(R.partner).where(IS_OPEN, R.position.in_(sorted(ON_A_WAY)))
    entries = unit.execute(select(LINKS.c.partner).where(LINKS.c.agency.in_(of), LINKS.c.partner != "")).scalars()
    courier_days = {partner.agency: partner.courier_days for partner in map(partner_of, entries)}
    still = (select(R.id).where(IS_OPEN, there) for there in _stand_still(at, courier_days))
    untold = (
        select(OUTBOX.c.request).join(LINKS, LINKS.c.agency == OUTBOX.c.line).where(_REFUSES_US, unsettled)
        for unsettled in (IS_WAITING, IS_DEAD)
    )
    return R.id.in_(union(select(SET_ASIDE.c.request), *still, *untold))


def _stand_still(at: Moment, courier_days: Mapping[str, int]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of `dates.stands_still`, in a form that uses the index on position and `moved_at`."""
    for position in STALLS_AFTER:
        if position in ON_A_WAY:
            for days in sorted({0, *courier_days.values()}):  # partners without a row have 0 courier days
                named = sorted(agency for agency, own in courier_days.items() if own == days)
                others = sorted(agency for agency, own in courier_days.items() if own != days)
                theirs = R.partner.in_(named) if days else R.partner.not_in(others)
                yield and_(R.position == position, theirs, R.moved_at < at.now - dates.limit(position, days, at.waits))
        else:
            yield and_(R.position == position, R.moved_at < at.now - dates.limit(position, 0, at.waits))
    due_before = at.today - dates.DAY * at.waits.lender_overdue_days
    yield and_(R.side == Side.LENDING, R.position == P.AT_BORROWER, R.lender_due < due_before)


def conditions(unit: UnitOfWork, name: ListName, at: Moment) -> tuple[Condition, ...]:
    """Return the conditions that all requests of a list satisfy."""
    if name is ListName.STUCK:
        return (stuck(unit, at),)
    return (IS_OPEN, *(overdue(at.today) if name is ListName.OVERDUE else CONDITIONS[name]))


def page(unit: UnitOfWork, name: ListName, at: Moment, order: PageOrder = FIRST, only: Only = ALL) -> ListPage:
    """Return a page of a list, with at most `order.most` rows and never more than MOST."""
    most = max(1, min(order.most, MOST))
    limited = ((R.partner, only.partner), (R.pickup_location, only.pickup), (H.material, only.material))
    where = (*conditions(unit, name, at), *(column == value for column, value in limited if value))
    found = unit.execute(_page_query(unit, where, order, most + 1)).all()
    rows = []
    for *request_cells, _key, call_number, author, material in found[:most]:
        request = request_of(request_cells)
        rows.append(
            ListRow(
                request=request,
                days=days_there(request, at.now),
                call_number=call_number or "",
                author=author or "",
                material=material or "",
            )
        )
    if name is ListName.STUCK:
        numbers = [row.request.id for row in rows]
        aside, faults = round_errors(unit, numbers), partner_faults(unit, numbers)
        rows = [replace(r, set_aside=aside.get(r.request.id, ""), fault=faults.get(r.request.id, "")) for r in rows]
    following = ""
    if len(found) > most:
        last = found[most - 1]
        shown = last.key.isoformat() if order.key in {SortKey.DAYS, SortKey.DUE} else ""
        following = f"{shown}~{last.id}"
    return ListPage(tuple(rows), following)


def counts(unit: UnitOfWork, at: Moment) -> Mapping[ListName, int]:
    """Count the requests in each list, with one statement."""
    open_lists = [name for name in ListName if name is not ListName.STUCK]
    columns = [func.count().filter(and_(*conditions(unit, name, at)[1:])).label(name.name) for name in open_lists]
    stuck_ones = select(func.count()).select_from(REQUESTS).where(stuck(unit, at)).correlate(None).scalar_subquery()
    query = select(*columns, stuck_ones.label(ListName.STUCK.name)).select_from(REQUESTS).where(IS_OPEN)
    row = unit.execute(query).mappings().one()
    return {name: int(row[name.name]) for name in ListName}


_ITS_COPY: Final = and_(H.agency == R.item_agency, H.barcode == R.item_barcode)
_COPIES: Final = REQUESTS.outerjoin(HOLDINGS, _ITS_COPY)
_LAST: Final = "\U0010ffff"
"""Sorts after every call number. It stands for a missing call number."""
_NEVER: Final = date.max


def _page_query(unit: UnitOfWork, where: tuple[Condition, ...], order: PageOrder, most: int) -> Select[*tuple[Any, ...]]:
    """Return the query for one page. A subquery finds the request numbers with the list's index."""
    key = _sort_column(order.key, unit.dialect)
    place = _page_start(unit, order, key)
    after_place: tuple[Condition, ...] = ()
    if place is not None:
        mine, theirs = tuple_(key, R.id), tuple_(literal(place[0], key.type), literal(place[1], R.id.type))
        after_place = (mine < theirs if order.reverse else mine > theirs,)
    numbers = select(R.id.label("number"), key.label("key")).select_from(_COPIES).where(*where, *after_place)
    found = numbers.order_by(*_directed(key, R.id, reverse=order.reverse)).limit(most).subquery()
    columns = (*REQUESTED, found.c.key, H.call_number, H.author, H.material)
    joined = found.join(REQUESTS, R.id == found.c.number).outerjoin(HOLDINGS, _ITS_COPY)
    return select(*columns).select_from(joined).order_by(*_directed(found.c.key, found.c.number, reverse=order.reverse))


def _sort_column(key: SortKey, dialect: str) -> ColumnElement[Any]:  # Any: a text, a date or a timestamp
    if key is SortKey.CALL_NUMBER:
        return func.coalesce(func.nullif(H.shelving_key, ""), _LAST)
    if key is SortKey.TITLE:
        return collate(func.lower(R.title), "BINARY" if dialect == "sqlite" else "C")
    if key is SortKey.DUE:
        until = case((R.position == P.RECEIVED, R.pickup_last), (R.side == Side.LENDING, R.lender_due), else_=R.due)
        return func.coalesce(until, literal(_NEVER, R.due.type))
    return R.moved_at


def _directed(*columns: ColumnElement[object], reverse: bool) -> list[ColumnElement[object]]:
    return [column.desc() if reverse else column for column in columns]


# A cursor has a timestamp or date and the request number, but no title or call number, because it becomes part of a URL.


def _page_start(unit: UnitOfWork, order: PageOrder, key: ColumnElement[object]) -> tuple[object, str] | None:
    """Return the sort key and request number after which the page begins, or None for the first page or a bad cursor."""
    shown, _, number = order.after.partition("~")
    if not number:
        return None
    try:
        if order.key is SortKey.DAYS:
            instant = datetime.fromisoformat(shown)
            return (instant, number) if instant.tzinfo else None
        if order.key is SortKey.DUE:
            return date.fromisoformat(shown), number
    except ValueError:
        return None
    found = unit.execute(select(key).select_from(_COPIES).where(R.id == number)).first()
    return (found[0], number) if found else None


def days_there(request: Request, now: datetime) -> int:
    """Return the number of civil days that a request has been in its position."""
    return (dates.civil(now) - dates.civil(request.moved_at)).days if request.moved_at else 0


def round_errors(unit: UnitOfWork, requests: Collection[str]) -> Mapping[str, str]:
    """Return the scheduled job that could not process a request, with the error, for each of `requests` that failed."""
    query = select(SET_ASIDE).where(SET_ASIDE.c.request.in_(requests)).order_by(SET_ASIDE.c.at)
    return {row["request"]: f"{row['round']}: {row['error']}" for row in unit.execute(query).mappings()}


def partner_faults(unit: UnitOfWork, requests: Collection[str]) -> Mapping[str, str]:
    """Return the partner's reason for refusing messages about a request, for each of `requests` that is affected."""
    joined = select(OUTBOX.c.request, LINKS.c.fault).join(LINKS, LINKS.c.agency == OUTBOX.c.line)
    query = joined.where(OUTBOX.c.request.in_(requests), _REFUSES_US, or_(IS_WAITING, IS_DEAD))
    return {row.request: row.fault for row in unit.execute(query)}

"""Request statistics for a period: fill rate, turnaround, refusals, declines, and lender-borrower pairs, without persons.

The figures cover what the database still has after retention. An anonymised request has no patron category and no decline
reason, and an archived request is missing with its refusals. `Statistics` has the number of anonymised requests and the first
day with a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Join, MappingResult, Select, and_, func, literal, literal_column, or_, select

from hkall_gateway.db.tables import CANDIDATES, IS_REFUSED, JOURNAL, PATRONS, REQUESTS, Condition
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, OTHER
from hkall_gateway.rules.positions import COUNTED_AS_CANCELLED, COUNTED_AS_UNFILLED, LENDER_SENT, LENDING
from hkall_gateway.rules.vocabulary import Position, Side

P = Position
R, J, C = REQUESTS.c, JOURNAL.c, CANDIDATES.c

_LENT: Final = sorted(LENDER_SENT & LENDING)
_DECLINED: Final = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Civil days at the library from `first` to `last`, inclusive."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """The number of days in the period."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Requests placed in a month ("2017-03"), by side, partner and patron category ("" if no longer known).

    A request is filled when its book has come to our hold shelf, or has left our shelf. It is unfilled when no lender sent it,
    or we declined, and cancelled when its patron or the borrower no longer wanted it. All other requests are open.
    """

    month: str
    side: str
    partner: str
    category: str
    requests: int
    filled: int
    unfilled: int
    cancelled: int

    @property
    def still_open(self) -> int:
        """The number of requests without an outcome."""
        return self.requests - self.filled - self.unfilled - self.cancelled

    @property
    def fill_rate(self) -> float | None:
        """The share of filled requests among filled and unfilled requests, or None if there are no such requests."""
        decided = self.filled + self.unfilled
        return self.filled / decided if decided else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnaround:
    """Number of books that reached our hold shelf `days` calendar days after their requests were placed."""

    month: str
    partner: str
    category: str
    days: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """Refusals of patrons, terminals and partners by one rule. `partner` and `category` are "" if the journal lacks them."""

    month: str
    rule: str
    reason: str
    partner: str
    category: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineCount:
    """Number of times that a lender (possibly our library) declined to supply a copy for one reason."""

    month: str
    lender: str
    borrower: str
    reason: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCount:
    """Requests to one lender for one pickup place of a borrower, and how many of these requests were filled."""

    lender: str
    borrower: str
    place: str
    requests: int
    filled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """All figures of a period. `since` is the first day with a request in the database."""

    period: Period
    counts: tuple[Count, ...]
    turnarounds: tuple[Turnaround, ...]
    refusals: tuple[RefusalCount, ...]
    declines: tuple[DeclineCount, ...]
    pairs: tuple[PairCount, ...]
    anonymised: int
    since: date | None


def statistics(unit: UnitOfWork, period: Period, agency: str) -> Statistics:
    """Return all figures of a period for the library `agency`, with seven statements that group rows in the database."""
    first = unit.execute(select(func.min(R.placed_at))).scalar()
    month, placed = _month_of(unit.dialect, "requests.placed_at").label("month"), _in_period(R.placed_at, period)
    sums = (
        _count_if(_FILLED).label("filled"),
        _count_if(_UNFILLED).label("unfilled"),
        _count_if(_CANCELLED).label("cancelled"),
    )
    counts = _count_by(unit, "requests", _WITH_PATRON, [placed], (month, R.side, R.partner, _CATEGORY), *sums)
    days: ColumnElement[int] = literal_column(_DAYS[unit.dialect]).label("days")
    came = [_BORROWED, R.received_on.is_not(None), placed]
    turnarounds = _count_by(unit, "requests", _WITH_PATRON, came, (month, R.partner, _CATEGORY, days))
    partner = func.coalesce(R.partner, literal_column("''")).label("partner")
    refused_in = _month_of(unit.dialect, "journal.at").label("month")
    refusals = _count_by(
        unit,
        "times",
        _REFUSED,
        [IS_REFUSED, _in_period(J.at, period)],
        (refused_in, J.rule, J.outcome.label("reason"), partner, _CATEGORY),
    )
    return Statistics(
        period=period,
        counts=tuple(Count(**row) for row in counts),
        turnarounds=tuple(Turnaround(**row) for row in turnarounds),
        refusals=tuple(RefusalCount(**row) for row in refusals),
        declines=_declines(unit, period, agency),
        pairs=tuple(PairCount(**row) for row in unit.execute(_pair_query(period, agency)).mappings()),
        anonymised=unit.execute(select(func.count()).where(placed, R.anonymised)).scalar_one(),
        since=dates.civil(first) if first else None,
    )


def total(counts: Iterable[Count], *by: str) -> tuple[Count, ...]:
    """Sum counts, grouped by some of `month`, `side`, `partner` and `category`. The other text fields become ""."""
    sums: dict[tuple[str, ...], Count] = {}
    for one in counts:
        key = tuple(getattr(one, name) for name in by)
        so_far = sums.get(key) or Count(
            **{"month": "", "side": "", "partner": "", "category": "", **_ZERO, **dict(zip(by, key, strict=True))}
        )
        sums[key] = replace(so_far, **{name: getattr(so_far, name) + getattr(one, name) for name in _ZERO})
    return tuple(sums[key] for key in sorted(sums))


def days_within(turnarounds: Iterable[Turnaround], share: float) -> int | None:
    """Return the number of days within which `share` (0 to 1) of the books arrived, or None if there are no books."""
    found = sorted((one.days, one.requests) for one in turnarounds)
    wanted, seen = share * sum(number for _, number in found), 0
    for days, number in found:
        seen += number
        if seen >= wanted:
            return days
    return None


_ZERO: Final = {"requests": 0, "filled": 0, "unfilled": 0, "cancelled": 0}


# SQLite has no time zones, but Hong Kong has had no summer time since 1979. These are SQL texts without parameters, because
# PostgreSQL would not recognise that parameters in SELECT and GROUP BY have the same value.
_MONTHS: Final[Mapping[str, str]] = {
    "sqlite": "strftime('%Y-%m', {instant}, '+8 hours')",
    "postgresql": "to_char({instant}::timestamptz AT TIME ZONE 'Asia/Hong_Kong', 'YYYY-MM')",
}
_DAYS: Final[Mapping[str, str]] = {
    "sqlite": "CAST(julianday(requests.received_on) - julianday(date(requests.placed_at, '+8 hours')) AS INTEGER)",
    "postgresql": "requests.received_on - (requests.placed_at::timestamptz AT TIME ZONE 'Asia/Hong_Kong')::date",
}


def _month_of(dialect: str, instant: str) -> ColumnElement[str]:
    return literal_column(_MONTHS[dialect].format(instant=instant))


def _in_period(instant: ColumnElement[datetime], period: Period) -> ColumnElement[bool]:
    return and_(instant >= dates.start_of(period.first), instant < dates.start_of(dates.after(period.last, 1)))


_CATEGORY: Final = func.coalesce(PATRONS.c.category, literal_column("''")).label("category")
_WITH_PATRON: Final = REQUESTS.outerjoin(PATRONS, and_(PATRONS.c.barcode == R.patron, R.patron != ""))
_REFUSED: Final = JOURNAL.outerjoin(REQUESTS, and_(R.id == J.request, J.request != "")).outerjoin(
    PATRONS, and_(PATRONS.c.barcode == J.patron, J.patron != "")
)
_BORROWED = R.side == Side.BORROWING
_CANCELLED: Final = or_(R.position.in_(sorted(COUNTED_AS_CANCELLED)), R.unwanted)
_FILLED: Final = and_(
    ~_CANCELLED, or_(and_(_BORROWED, R.received_on.is_not(None)), and_(R.side == Side.LENDING, R.position.in_(_LENT)))
)
_ENDED_WITHOUT: Final = and_(_BORROWED, R.position == P.CLOSED, R.received_on.is_(None))
_UNFILLED: Final = and_(~_CANCELLED, or_(R.position.in_(sorted(COUNTED_AS_UNFILLED)), _ENDED_WITHOUT))


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _count_by(
    unit: UnitOfWork,
    number: str,
    source: Join,
    where: Sequence[Condition],
    by: Sequence[ColumnElement[Any]],
    *sums: ColumnElement[int],
) -> MappingResult:
    """Return the values of the columns `by` in order, the `number` of rows with these values, and the `sums` over them."""
    counted = select(*by, func.count().label(number), *sums).select_from(source)
    return unit.execute(counted.where(*where).group_by(*by).order_by(*by)).mappings()


def _declines(unit: UnitOfWork, period: Period, agency: str) -> tuple[DeclineCount, ...]:
    """Count the declines of lenders and of our library. Unknown reasons count as "other"."""
    month = _month_of(unit.dialect, "requests.placed_at")
    joined = REQUESTS.join(CANDIDATES, C.request == R.id)
    theirs = select(month, C.agency, literal(agency), C.outcome, func.count()).select_from(joined)
    placed = _in_period(R.placed_at, period)
    theirs = theirs.where(placed, C.outcome != "").group_by(month, C.agency, C.outcome)
    ours = select(month, literal(agency), R.partner, R.reason, func.count()).where(placed, R.position == P.DECLINED)
    ours = ours.group_by(month, R.partner, R.reason)
    sums: dict[tuple[str, str, str, str], int] = {}
    for query, reason_of in ((theirs, _their_reason), (ours, _our_reason)):
        for when, lender, borrower, outcome, times in unit.execute(query):
            if reason := reason_of(outcome):
                key = (when, lender, borrower, reason)
                sums[key] = sums.get(key, 0) + times
    return tuple(
        DeclineCount(month=when, lender=lender, borrower=borrower, reason=reason, times=times)
        for (when, lender, borrower, reason), times in sorted(sums.items())
    )


def _their_reason(outcome: str) -> str:
    """Return the reason why a lender did not supply a copy, or "" if it did or has not replied."""
    kind, _, reason = outcome.partition(": ")
    if kind in {_DECLINED, "refused"}:
        return reason if reason in LENDER_REASONS else OTHER
    return kind if kind in LENDER_REASONS else ""


def _our_reason(reason: str) -> str:
    return reason if reason in LENDER_REASONS else OTHER


def _pair_query(period: Period, agency: str) -> Select[str, str, str, int, int]:
    by = (R.side, R.partner, R.pickup_location)
    sums = (
        select(*by, func.count().label("number"), _count_if(_FILLED).label("filled"))
        .where(_in_period(R.placed_at, period))
        .group_by(*by)
    )
    found = sums.subquery()
    lender: ColumnElement[str] = literal_column(f"CASE side WHEN '{Side.BORROWING}' THEN partner ELSE NULL END")
    borrower: ColumnElement[str] = literal_column(f"CASE side WHEN '{Side.BORROWING}' THEN NULL ELSE partner END")
    us = literal(agency)
    columns = (
        func.coalesce(lender, us).label("lender"),
        func.coalesce(borrower, us).label("borrower"),
        found.c.pickup_location.label("place"),
        found.c.number.label("requests"),
        found.c.filled,
    )
    return select(*columns).select_from(found).order_by(found.c.side, found.c.partner, found.c.pickup_location)

"""Civil days in Hong Kong: the day of an instant, the end of a day, and the open day that replaces a closed one.

Every date of the rules is a civil date in Asia/Hong_Kong (UTC+8, no summer time). Instants are aware and in UTC; only this
module converts them to dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

Date = TypeVar("Date", date, datetime)

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
LAST_SECOND = time(23, 59, 59)
DAY = timedelta(days=1)

WEEKDAYS: tuple[str, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

YEARS = range(1900, 2200)
"""Years of dates that may enter. With a later or an earlier one, sums could leave the years that Python has."""

Closures = frozenset[date]
"""The days on which one library is closed."""

ALWAYS_OPEN: Closures = frozenset()

How = Literal["roll_forward", "keep", "roll_back"]


def within_years(when: Date) -> Date:
    """Return a date or an instant from outside. Raises ValueError for one outside YEARS."""
    if when.year not in YEARS:
        raise ValueError(f"the year {when.year} is not between {YEARS[0]} and {YEARS[-1]}")
    return when


def parse_day(text: str) -> date:
    """Return the day of an ISO date from outside. Raises ValueError for no date and for one outside YEARS."""
    return within_years(date.fromisoformat(text))


def parse_instant(text: str, zone: tzinfo | None = None) -> datetime:
    """Return the instant of an ISO text from outside, in UTC; one without an offset is in `zone`.

    Raises ValueError for no instant, for one outside YEARS, and for one without an offset where there is no `zone`.
    """
    found = within_years(datetime.fromisoformat(text))
    if found.tzinfo is None and zone is None:
        raise ValueError("it has no offset; add +08:00")
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


@lru_cache(maxsize=1024)
def civil(instant: datetime) -> date:
    """Return the day in Hong Kong. `instant` is aware, in any zone; a naive one is a bug and raises ValueError.

    Source: HKALL rules, day arithmetic.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return instant.astimezone(HONG_KONG).date()


def start_of(day: date) -> datetime:
    """Return the first instant of a day in Hong Kong, in UTC: 16:00 of the day before."""
    return datetime.combine(day, time(), HONG_KONG).astimezone(UTC)


def end_of(day: date) -> datetime:
    """Return the last second of a day in Hong Kong, in UTC: a book is on time until then."""
    return datetime.combine(day, LAST_SECOND, HONG_KONG).astimezone(UTC)


def after(day: date, days: int) -> date:
    """Return the day `days` calendar days later; `day` itself is day 0."""
    return day + timedelta(days=days)


def days_after(first: date, last: date) -> Iterator[date]:
    """Yield every day later than `first`, up to and including `last`; none if `last` is not later."""
    return (after(first, n) for n in range(1, (last - first).days + 1))


def roll(day: date, closures: Closures, how: How, latest: date | None = None) -> date:
    """Return the day itself if it is open, else the next or the previous open one, but never later than `latest`.

    If the next open day is too late, the result is `latest`, although it may be closed: a borrower keeps every day that was
    given. Source: HKALL rules, due date on a closure.
    """
    rolled = _rolled(day, closures, how)
    return rolled if latest is None else min(rolled, latest)


def is_working_day(day: date, work_days: Iterable[str], closures: Closures = ALWAYS_OPEN) -> bool:
    """Return whether a library works on that day. `work_days` names weekdays ("Mon" … "Sun")."""
    return WEEKDAYS[day.weekday()] in work_days and day not in closures


def after_working_days(day: date, count: int, work_days: Iterable[str], closures: Closures = ALWAYS_OPEN) -> date:
    """Return the `count`-th working day after `day`, which is day 0. A library without working days raises ValueError."""
    worked = tuple(work_days)
    if not set(worked) & set(WEEKDAYS):
        raise ValueError("a library needs at least one working day a week")
    while count > 0:
        day += DAY
        count -= is_working_day(day, worked, closures)
    return day


def _rolled(day: date, closures: Closures, how: How) -> date:
    if how == "keep":
        return day
    pace = DAY if how == "roll_forward" else -DAY
    while day in closures:
        day += pace
    return day

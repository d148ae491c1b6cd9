"""Days in Hong Kong: midnight, closed days, working days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.dates import (
    EVERY,
    HONG_KONG,
    WEEKDAYS,
    YEARS,
    after,
    after_working_days,
    civil,
    days_after,
    end_of,
    is_working_day,
    next_after,
    parse_day,
    parse_instant,
    roll,
    start_of,
    within_years,
)
from hkall_gateway.rules.settings import OnClosure
from tests.examples import THOROUGH

DAYS = st.dates(date(2000, 1, 1), date(2049, 12, 31))
CLOSURES = st.frozensets(st.dates(date(2017, 6, 20), date(2017, 7, 10)))
SUMMER = st.dates(date(2017, 6, 15), date(2017, 7, 15))
MONDAY_TO_FRIDAY = ("Mon", "Tue", "Wed", "Thu", "Fri")


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2017-03-16T15:59:59+00:00", date(2017, 3, 16)),
        ("2017-03-16T15:59:59.999999+00:00", date(2017, 3, 16)),
        ("2017-03-16T16:00:00+00:00", date(2017, 3, 17)),
        ("2017-03-16T23:59:59+08:00", date(2017, 3, 16)),
        ("2017-03-17T00:00:00+08:00", date(2017, 3, 17)),
        ("2017-07-06T08:00:00+00:00", date(2017, 7, 6)),
        ("2017-07-06T20:00:00+00:00", date(2017, 7, 7)),
        ("2017-12-31T16:00:00+00:00", date(2018, 1, 1)),
        ("2016-02-28T16:00:00+00:00", date(2016, 2, 29)),
        ("2017-03-16T18:00:00-05:00", date(2017, 3, 17)),
    ],
)
def test_d01_timestamp_belongs_to_its_hong_kong_date(instant: str, day: date) -> None:
    assert civil(datetime.fromisoformat(instant)) == day


def test_d01_naive_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        civil(datetime(2017, 3, 16))  # noqa: DTZ001 - the naive value is what is refused


def test_d02_day_ends_one_second_before_midnight_in_hong_kong() -> None:
    assert end_of(date(2017, 3, 16)) == datetime(2017, 3, 16, 15, 59, 59, tzinfo=UTC)


def test_d02_day_starts_at_16_00_utc_of_the_previous_day() -> None:
    assert start_of(date(2017, 3, 16)) == datetime(2017, 3, 15, 16, tzinfo=UTC)


@settings(max_examples=THOROUGH)
@given(DAYS)
def test_day_lasts_exactly_from_its_start_to_its_end(day: date) -> None:
    edges = (start_of(day), end_of(day), end_of(day) + timedelta(seconds=1), start_of(day) - timedelta(microseconds=1))
    assert [civil(t) for t in edges] == [day, day, after(day, 1), after(day, -1)]


@pytest.mark.parametrize(("days", "due"), [(0, date(2017, 3, 1)), (15, date(2017, 3, 16)), (30, date(2017, 3, 31))])
def test_d03_checkout_day_is_day_zero(days: int, due: date) -> None:
    assert after(date(2017, 3, 1), days) == due


SATURDAY, SUNDAY, MONDAY = date(2017, 7, 1), date(2017, 7, 2), date(2017, 7, 3)


@pytest.mark.parametrize(
    ("closed", "how", "latest", "rolled"),
    [
        (set(), "roll_forward", None, SATURDAY),
        ({SATURDAY}, "roll_forward", None, SUNDAY),
        ({SATURDAY, SUNDAY}, "roll_forward", None, MONDAY),
        ({SATURDAY}, "keep", None, SATURDAY),
        ({SATURDAY}, "roll_back", None, date(2017, 6, 30)),
        ({SATURDAY, SUNDAY}, "roll_forward", SUNDAY, SUNDAY),
        ({SATURDAY}, "roll_forward", date(2017, 6, 25), date(2017, 6, 25)),
        (set(), "roll_forward", MONDAY, SATURDAY),
    ],
)
def test_closed_day_rolls_to_an_open_day_within_the_limit(
    closed: set[date], how: OnClosure, latest: date | None, rolled: date
) -> None:
    assert roll(SATURDAY, frozenset(closed), how, latest) == rolled


@settings(max_examples=THOROUGH)
@given(SUMMER, CLOSURES)
def test_rolling_forward_finds_the_nearest_open_day(day: date, closures: frozenset[date]) -> None:
    rolled = roll(day, closures, "roll_forward")
    assert rolled not in closures
    assert all(d in closures for d in days_after(after(day, -1), after(rolled, -1)))


@settings(max_examples=THOROUGH)
@given(SUMMER, CLOSURES)
def test_rolling_back_finds_the_nearest_open_day(day: date, closures: frozenset[date]) -> None:
    rolled = roll(day, closures, "roll_back")
    assert rolled not in closures
    assert all(d in closures for d in days_after(rolled, day))


@pytest.mark.parametrize(
    ("start", "count", "closed", "found"),
    [
        (date(2017, 3, 1), 0, set(), date(2017, 3, 1)),
        (date(2017, 3, 1), 2, set(), date(2017, 3, 3)),
        (date(2017, 3, 3), 1, set(), date(2017, 3, 6)),
        (date(2017, 3, 4), 1, set(), date(2017, 3, 6)),
        (date(2017, 3, 3), 2, {date(2017, 3, 6)}, date(2017, 3, 8)),
    ],
)
def test_working_days_exclude_weekends_and_closures(start: date, count: int, closed: set[date], found: date) -> None:
    assert after_working_days(start, count, MONDAY_TO_FRIDAY, frozenset(closed)) == found


def test_calendar_without_working_days_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a library needs at least one working day a week$"):
        after_working_days(date(2017, 3, 1), 1, ())


@settings(max_examples=THOROUGH)
@given(SUMMER, st.integers(1, 30), st.sets(st.sampled_from(WEEKDAYS), min_size=1), CLOSURES)
def test_counting_working_days_is_the_inverse_of_adding_them(
    day: date, count: int, work_days: set[str], closures: frozenset[date]
) -> None:
    last = after_working_days(day, count, work_days, closures)
    assert sum(is_working_day(one, work_days, closures) for one in days_after(day, last)) == count


def test_day_boundaries_are_utc_timestamps() -> None:
    assert all(edge(date(2017, 3, 16)).tzinfo is UTC for edge in (start_of, end_of))


def test_round_is_due_after_its_interval_or_at_the_next_midnight() -> None:
    now = datetime(2017, 3, 1, 15, 59, 59, tzinfo=UTC)  # a second before midnight in Hong Kong
    for name, every in EVERY.items():
        assert next_after(name, now) == (now + every if every else now + timedelta(seconds=1))


@pytest.mark.parametrize("year", [YEARS[0] - 1, YEARS[-1] + 1])
def test_implausible_year_is_an_error_that_names_the_years(year: int) -> None:
    with pytest.raises(ValueError, match=f"the year {year} is not between {YEARS[0]} and {YEARS[-1]}"):
        within_years(date(year, 3, 1))
    with pytest.raises(ValueError, match=f"the year {year} is not between {YEARS[0]} and {YEARS[-1]}"):
        parse_day(f"{year}-03-01")


def test_date_from_outside_is_an_iso_date() -> None:
    assert parse_day("2017-03-16") == date(2017, 3, 16)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_day("16/3/2017")


def test_timestamp_from_outside_is_converted_to_utc() -> None:
    assert parse_instant("2017-03-16T10:00:00+08:00") == datetime(2017, 3, 16, 2, tzinfo=UTC)
    assert parse_instant("2017-03-16T10:00:00", HONG_KONG) == datetime(2017, 3, 16, 2, tzinfo=UTC)
    assert parse_instant("2017-03-16T10:00:00Z", HONG_KONG) == datetime(2017, 3, 16, 10, tzinfo=UTC)
    assert parse_instant("2017-03-16T10:00:00+08:00").tzinfo is UTC
    with pytest.raises(ValueError, match=r"^it has no offset; add \+08:00$"):
        parse_instant("2017-03-16T10:00:00")

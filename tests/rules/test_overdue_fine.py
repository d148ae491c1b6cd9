"""Fines: HK$2 per day, HK$4 for a recalled item, in cents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.dates import ALWAYS_OPEN, Closures, civil
from hkall_gateway.rules.overdue_fine import fine_for, rate_for
from hkall_gateway.rules.settings import Fine, FineFree, Policy
from hkall_gateway.rules.vocabulary import Position, Request, Side
from tests.examples import THOROUGH

POLICY = Policy()
DUE = date(2017, 3, 16)


def march(number: int) -> date:
    return date(2017, 3, number)


def fine(
    due: date,
    returned_on: date,
    recalled_on: date | None,
    recall_shortened: bool,
    policy: Policy,
    closures: Closures = ALWAYS_OPEN,
    *,
    recall_cancelled_on: date | None = None,
    stopped_on: date | None = None,
) -> int:
    """Return the fine of a loan with these dates."""
    loan = Request(
        id="R1",
        side=Side.BORROWING,
        position=Position.ON_LOAN,
        title="Dune",
        bib_id="b1",
        due=due,
        due_before_recall=due + timedelta(days=1) if recall_shortened else None,
        recalled_on=None if recall_cancelled_on else recalled_on,
        recall_was_on=recalled_on if recall_cancelled_on else None,
        recall_cancelled_on=recall_cancelled_on,
        lost_on=stopped_on,
    )
    return fine_for(loan, returned_on, policy, closures)


@pytest.mark.parametrize(
    ("returned", "cents"),
    [
        ("2017-03-10T12:00:00+08:00", 0),
        ("2017-03-16T00:00:01+08:00", 0),
        ("2017-03-16T23:59:59+08:00", 0),
        ("2017-03-16T15:59:59+00:00", 0),
        ("2017-03-16T16:00:01+00:00", 200),
        ("2017-03-17T00:00:01+08:00", 200),
        ("2017-03-19T12:00:00+08:00", 600),
    ],
)
def test_r40_each_calendar_day_after_the_due_date_costs_two_dollars(returned: str, cents: int) -> None:
    day = civil(datetime.fromisoformat(returned).astimezone(UTC))
    assert fine(DUE, day, None, False, POLICY) == cents


def test_r40_three_books_three_days_late_cost_eighteen_dollars() -> None:
    assert sum(fine(DUE, march(19), None, False, POLICY) for _book in range(3)) == 1800


def test_r17_book_drop_return_on_the_last_evening_costs_a_day_unless_backdated() -> None:
    assert [fine(DUE, day, None, False, POLICY) for day in (march(17), march(16))] == [200, 0]


NEW_YEAR = frozenset(date(2017, 1, d) for d in range(27, 32))
NEW_YEAR_EVE = date(2017, 1, 26)


@pytest.mark.parametrize(("count_closed", "cents"), [(True, 1000), (False, 0)])
def test_r40_closed_days_are_charged_unless_the_policy_says_otherwise(count_closed: bool, cents: int) -> None:
    policy = replace(POLICY, fine=Fine(count_closed_days=count_closed))
    assert fine(NEW_YEAR_EVE, date(2017, 1, 31), None, False, policy, NEW_YEAR) == cents


def test_r41_item_recalled_to_day_15_and_returned_on_day_18_costs_12_dollars() -> None:
    assert fine(DUE, march(19), march(4), True, POLICY) == 1200


WHOLE = replace(POLICY, fine=Fine(recall_scope="whole_period"))


@pytest.mark.parametrize(
    ("policy", "returned", "cents"),
    [
        (POLICY, march(23), 2000),
        (WHOLE, march(23), 2800),
        (POLICY, march(20), 800),
        (WHOLE, march(20), 1600),
        (POLICY, march(19), 600),
        (WHOLE, march(19), 600),
    ],
)
def test_r41_recall_of_an_overdue_item_raises_the_fine_from_that_day_or_entirely(
    policy: Policy, returned: date, cents: int
) -> None:
    assert fine(DUE, returned, march(20), False, policy) == cents


STRICT = replace(POLICY, fine=Fine(recalled_requires_shortening=True))


@pytest.mark.parametrize(
    ("policy", "shortened", "cents"), [(POLICY, False, 800), (POLICY, True, 800), (STRICT, False, 400), (STRICT, True, 800)]
)
def test_r41_recall_without_a_shorter_due_date_is_charged_at_the_recall_rate_by_default(
    policy: Policy, shortened: bool, cents: int
) -> None:
    assert fine(DUE, march(18), march(4), shortened, policy) == cents


@pytest.mark.parametrize(("policy", "cents"), [(POLICY, 2 * 400 + 3 * 200), (WHOLE, 2 * 400 + 3 * 200)])
def test_r41_normal_rate_applies_after_a_recall_is_cancelled(policy: Policy, cents: int) -> None:
    assert fine(DUE, march(21), march(4), False, policy, recall_cancelled_on=march(19)) == cents


@pytest.mark.parametrize(("most", "cents"), [(None, 2800), (3000, 2800), (2800, 2800), (1000, 1000), (0, 0)])
def test_r41_fine_can_be_capped(most: int | None, cents: int) -> None:
    policy = replace(POLICY, fine=Fine(max_per_item_cents=most))
    assert fine(DUE, march(23), march(4), False, policy) == cents


@pytest.mark.parametrize(
    ("free", "cents"),
    [
        (FineFree(start=march(18), end=march(19)), 600),
        (FineFree(start=march(1), end=march(31)), 0),
        (FineFree(start=march(1), end=march(16)), 1000),
        (FineFree(start=march(21), end=march(21)), 800),
    ],
)
def test_r41_fine_free_period_includes_its_first_and_last_day(free: FineFree, cents: int) -> None:
    assert fine(DUE, march(21), None, False, replace(POLICY, fine_free=(free,))) == cents


@pytest.mark.parametrize(("stopped", "cents"), [(march(18), 400), (march(16), 0), (march(10), 0), (march(30), 1000)])
def test_r41_fine_stops_when_a_book_is_declared_lost_or_claimed_returned(stopped: date, cents: int) -> None:
    assert fine(DUE, march(21), None, False, POLICY, stopped_on=stopped) == cents


LOAN = Request(id="R1", side=Side.BORROWING, position=Position.ON_LOAN, title="Dune", bib_id="b1", due=DUE)


@pytest.mark.parametrize(
    ("facts", "policy", "cents"),
    [
        ({}, POLICY, 1000),
        ({"due": None}, POLICY, 0),
        ({"recalled_on": march(4)}, POLICY, 2000),
        ({"recalled_on": march(4)}, STRICT, 1000),
        ({"recalled_on": march(4), "due_before_recall": march(31)}, STRICT, 2000),
        ({"recalled_on": march(4), "due_before_recall": DUE}, STRICT, 1000),
        ({"lost_on": march(18)}, POLICY, 400),
        ({"claimed_on": march(17)}, POLICY, 200),
        ({"claimed_on": march(17), "lost_on": march(19)}, POLICY, 200),
    ],
)
def test_fine_is_computed_from_the_requests_own_data(facts: dict[str, object], policy: Policy, cents: int) -> None:
    assert fine_for(replace(LOAN, **facts), march(21), policy) == cents  # type: ignore[arg-type]


DAYS = st.integers(-30, 60)
SPANS = st.builds(
    lambda a, n: FineFree(start=DUE + timedelta(days=a), end=DUE + timedelta(days=a + n)), DAYS, st.integers(0, 20)
)
POLICIES = st.builds(
    lambda closed, strict, free: replace(
        POLICY, fine=Fine(count_closed_days=closed, recalled_requires_shortening=strict), fine_free=tuple(free)
    ),
    st.booleans(),
    st.booleans(),
    st.lists(SPANS, max_size=2),
)
CLOSED = st.frozensets(DAYS.map(lambda n: DUE + timedelta(days=n)), max_size=20)
RECALLS = st.none() | DAYS.map(lambda n: DUE + timedelta(days=n))


@settings(max_examples=THOROUGH)
@given(DAYS, POLICIES, CLOSED, RECALLS, st.booleans(), st.sampled_from(["per_day", "whole_period"]))
def test_fine_is_never_negative_and_never_above_four_dollars_a_day(
    late: int, policy: Policy, closed: frozenset[date], recall: date | None, shortened: bool, scope: str
) -> None:
    fines = replace(policy.fine, recall_scope="whole_period" if scope == "whole_period" else "per_day")
    cents = fine(DUE, DUE + timedelta(days=late), recall, shortened, replace(policy, fine=fines), closed)
    assert 0 <= cents <= max(0, late) * 400


@settings(max_examples=THOROUGH)
@given(st.integers(0, 40), st.integers(0, 40), POLICIES, CLOSED, RECALLS, st.booleans())
def test_fines_are_additive_over_days(
    first: int, second: int, policy: Policy, closed: frozenset[date], recall: date | None, shortened: bool
) -> None:
    middle = DUE + timedelta(days=first)
    last = middle + timedelta(days=second)
    parts = [fine(a, b, recall, shortened, policy, closed) for a, b in ((DUE, middle), (middle, last))]
    assert fine(DUE, last, recall, shortened, policy, closed) == sum(parts)


def test_r41_second_recall_raises_the_fine_although_the_first_was_cancelled() -> None:
    again = replace(LOAN, recall_was_on=march(4), recall_cancelled_on=march(6), recalled_on=march(8))
    assert fine_for(again, march(18), POLICY) == 2 * 400
    assert rate_for(again, march(18), POLICY) == 400


def test_r40_loan_fine_excludes_closed_days_and_the_recall_rate_after_a_cancellation() -> None:
    free_days = replace(POLICY, fine=Fine(count_closed_days=False))
    cancelled = replace(LOAN, recall_was_on=march(4), recall_cancelled_on=march(19))
    assert fine_for(LOAN, march(21), free_days, frozenset({march(18)})) == 800
    assert fine_for(cancelled, march(21), POLICY) == 2 * 400 + 3 * 200


@pytest.mark.parametrize(
    ("facts", "policy", "cents"),
    [
        ({}, POLICY, 200),
        ({"recalled_on": march(4)}, POLICY, 400),
        ({"recalled_on": march(17)}, POLICY, 200),
        ({"recall_was_on": march(4), "recall_cancelled_on": march(17)}, POLICY, 200),
        ({"recall_was_on": march(4), "recall_cancelled_on": march(18)}, POLICY, 400),
        ({"recalled_on": march(4)}, STRICT, 200),
        ({"recalled_on": march(4), "due_before_recall": march(31)}, STRICT, 400),
        ({"recalled_on": march(4), "due_before_recall": DUE}, STRICT, 200),
        ({"recalled_on": march(4), "due_before_recall": march(31), "due": None}, STRICT, 200),
    ],
)
def test_r41_rate_of_the_next_day_depends_on_the_recall(facts: dict[str, object], policy: Policy, cents: int) -> None:
    assert rate_for(replace(LOAN, **facts), march(17), policy) == cents  # type: ignore[arg-type]


DAYS = st.one_of(st.none(), st.integers(1, 31).map(march))


@settings(max_examples=THOROUGH)
@given(recalled=DAYS, was=DAYS, cancelled=DAYS, before=DAYS, strict=st.booleans())
def test_r41_daily_rate_equals_the_increase_of_the_fine(
    recalled: date | None, was: date | None, cancelled: date | None, before: date | None, strict: bool
) -> None:
    policy, day = (STRICT if strict else POLICY), DUE + timedelta(days=4)
    loan = replace(
        LOAN, recalled_on=recalled, recall_was_on=was, recall_cancelled_on=cancelled, due_before_recall=before, dropped_on=None
    )
    assume((recalled or was or DUE) < day)  # a recall that comes on this day would not count for the days before
    added = fine_for(loan, day, policy) - fine_for(loan, day - timedelta(days=1), policy)
    assert rate_for(loan, day, policy) == added

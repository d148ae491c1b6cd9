"""The effect of a recall and of a cancelled recall on a due date."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.dates import next_open, past_lender, recall_due, restored_due, start_of
from hkall_gateway.rules.settings import Due, Policy, Recall
from hkall_gateway.rules.vocabulary import Position, Request, Side
from tests.examples import THOROUGH

POLICY = Policy()
LITERAL = replace(POLICY, recall=Recall(return_days=0))
OUT = date(2017, 3, 1)


def day(number: int) -> date:
    """Day `number` of the loan; the checkout is day 0."""
    return OUT + timedelta(days=number)


def loan(due: int, **facts: object) -> Request:
    made = Request(
        id="R1",
        side=Side.BORROWING,
        position=Position.ON_LOAN,
        title="Dune",
        bib_id="b1",
        first_checkout=OUT,
        due=day(due),
        loan_days=15,
    )
    return replace(made, **facts)  # type: ignore[arg-type]


def recalled(due: int, on: int, policy: Policy = POLICY, says: int | None = None, closed: frozenset[date] = frozenset()) -> int:
    """Return the number of the due day after a recall."""
    named = None if says is None else day(says)
    return (recall_due(loan(due), policy, start_of(day(on)), named, closed) - OUT).days


@pytest.mark.parametrize(
    ("due", "on", "seven_days", "literal"),
    [
        pytest.param(15, 3, 15, 15, id="15-day loan recalled on day 3"),
        pytest.param(15, 0, 15, 15, id="recalled on day 0"),
        pytest.param(15, 15, 15, 15, id="15-day loan recalled on its last day"),
        pytest.param(30, 3, 15, 15, id="30-day loan recalled on day 3"),
        pytest.param(30, 8, 15, 15, id="30-day loan recalled on day 8"),
        pytest.param(30, 9, 16, 15, id="30-day loan recalled on day 9"),
        pytest.param(30, 10, 17, 15, id="30-day loan recalled on day 10"),
        pytest.param(30, 15, 22, 15, id="30-day loan recalled on day 15"),
        pytest.param(30, 16, 23, 16, id="30-day loan recalled on day 16"),
        pytest.param(30, 20, 27, 20, id="30-day loan recalled on day 20"),
        pytest.param(30, 27, 30, 27, id="30-day loan recalled on day 27"),
        pytest.param(25, 16, 23, 16, id="15-day loan renewed on day 10, recalled on day 16"),
        pytest.param(15, 20, 15, 15, id="already overdue"),
    ],
)
def test_r25_r26_recall_shortens_to_minimum_use_or_time_to_return(due: int, on: int, seven_days: int, literal: int) -> None:
    assert (recalled(due, on), recalled(due, on, LITERAL)) == (seven_days, literal)


@settings(max_examples=THOROUGH)
@given(st.integers(0, 15))
def test_r25_fifteen_day_loan_in_its_first_period_is_never_shortened(on: int) -> None:
    assert recalled(15, on) == 15


@pytest.mark.parametrize(
    ("says", "due"),
    [(10, 17), (17, 17), (20, 20), (30, 30), (40, 30)],
)
def test_r26_lenders_date_applies_if_later_than_our_date(says: int, due: int) -> None:
    assert recalled(30, 10, says=says) == due


def test_r26_recall_to_the_due_date_keeps_it_even_on_a_closed_day() -> None:
    backwards = replace(POLICY, due=Due(on_closure="roll_back"))
    assert recalled(23, 16, backwards, closed=frozenset({day(23)})) == 23


def test_r26_second_recall_changes_nothing() -> None:
    first = recalled(30, 10)
    assert recalled(first, 12) == first


@pytest.mark.parametrize(
    ("how", "closed", "due"),
    [
        ("roll_forward", {17}, 18),
        ("roll_forward", {17, 18}, 19),
        ("roll_forward", set(range(17, 40)), 30),
        ("roll_back", {17}, 16),
        ("roll_back", {15, 16, 17}, 17),
        ("keep", {17}, 17),
    ],
)
def test_recalled_due_date_on_a_closed_day_rolls_between_minimum_use_and_previous_due_date(
    how: str, closed: set[int], due: int
) -> None:
    policies = {h: replace(POLICY, due=Due(on_closure=h)) for h in ("roll_forward", "roll_back", "keep")}
    assert recalled(30, 10, policies[how], closed=frozenset(day(n) for n in closed)) == due


def test_recall_one_second_past_midnight_in_hong_kong_counts_for_the_new_day() -> None:
    before = start_of(day(10)) - timedelta(seconds=1)
    assert recall_due(loan(30), POLICY, before) == day(16)


def test_recall_of_an_item_not_on_loan_raises() -> None:
    with pytest.raises(ValueError, match="R1 is not on loan"):
        recall_due(loan(30, first_checkout=None), POLICY, start_of(day(3)))


@settings(max_examples=THOROUGH)
@given(
    due=st.integers(0, 75),
    on=st.integers(0, 90),
    says=st.none() | st.integers(0, 90),
    return_days=st.integers(0, 20),
    closed=st.frozensets(st.integers(0, 90)),
    how=st.sampled_from(["roll_forward", "roll_back", "keep"]),
)
def test_r25_recall_never_lengthens_a_loan_nor_cuts_its_minimum_use(
    due: int, on: int, says: int | None, return_days: int, closed: frozenset[int], how: str
) -> None:
    settings = {h: Due(on_closure=h) for h in ("roll_forward", "roll_back", "keep")}[how]
    policy = replace(POLICY, due=settings, recall=Recall(return_days=return_days))
    after = recalled(due, on, policy, says, frozenset(day(n) for n in closed))
    assert min(due, 15) <= after <= due


# ---- cancelled recalls


@pytest.mark.parametrize(
    ("restore", "before", "due", "restored"),
    [
        (True, 30, 17, 30),
        (True, 17, 17, 17),
        (True, 10, 17, 17),
        (True, None, 17, 17),
        (False, 30, 17, 17),
    ],
)
def test_r26_cancelled_recall_restores_the_previous_due_date_if_later(
    restore: bool, before: int | None, due: int, restored: int
) -> None:
    policy = replace(POLICY, recall=Recall(restore_on_cancel=restore))
    request = loan(due, due_before_recall=None if before is None else day(before))
    assert restored_due(request, policy) == day(restored)


def test_r26_request_without_a_due_date_has_nothing_to_restore() -> None:
    assert restored_due(replace(loan(17), due=None, due_before_recall=day(30)), POLICY) is None


# ---- closed days and the lender's date


@pytest.mark.parametrize(
    ("facts", "closed", "moved"),
    [
        pytest.param({}, set(), None, id="an open day stays"),
        pytest.param({}, {16}, None, id="another day is closed"),
        pytest.param({}, {15}, 16, id="the due date moves to the next open day"),
        pytest.param({}, {15, 16}, 17, id="over two closed days"),
        pytest.param({"due_before_recall": day(16)}, {15, 16}, 16, id="a recalled loan moves to its old date at most"),
        pytest.param({"due_before_recall": day(15)}, {15}, None, id="a recall left no further day"),
        pytest.param({"lender_due": day(15)}, {15}, 16, id="the lender's date does not count"),
        pytest.param({"due": None}, {15}, None, id="no date, nothing to move"),
        pytest.param({"position": Position.RECEIVED, "pickup_last": day(4)}, {4, 15}, 5, id="the last day to collect"),
        pytest.param(
            {"position": Position.RECEIVED, "pickup_last": day(4), "due_before_recall": day(4)},
            {4},
            5,
            id="recalled on the shelf",
        ),
        pytest.param({"position": Position.RECEIVED}, {15}, None, id="no last day to collect yet"),
    ],
)
def test_r14_r19_date_that_becomes_a_closed_day_moves_to_the_next_open_day(
    facts: dict[str, Any], closed: set[int], moved: int | None
) -> None:
    wanted = None if moved is None else day(moved)
    request = replace(loan(15), **facts)
    assert next_open(request, frozenset(day(n) for n in closed)) == wanted


@pytest.mark.parametrize(
    ("facts", "past"),
    [
        ({"lender_due": day(14)}, True),
        ({"lender_due": day(15)}, False),
        ({"lender_due": day(16)}, False),
        ({"lender_due": None}, False),
        ({"lender_due": day(14), "due": None}, False),
        ({"lender_due": day(14), "position": Position.TO_RETURN}, False),
        ({"lender_due": day(14), "side": Side.LENDING}, False),
    ],
)
def test_r19_loan_may_end_after_the_lenders_due_date(facts: dict[str, Any], past: bool) -> None:
    assert past_lender(replace(loan(15), **facts)) is past


def test_r25_closed_day_may_roll_back_to_the_last_day_of_minimum_use() -> None:
    policy = replace(POLICY, due=Due(on_closure="roll_back"))
    assert recalled(30, 9, policy, closed=frozenset({day(16)})) == 15

"""The checkout and the return."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.policy import Counts, Place, loan_due, may_borrow, may_return
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import CATEGORIES, Bookdrop, Due, Policy, Recall, Window
from hkall_gateway.rules.vocabulary import Borrower, Grant, Position, Refusal, Request, Sensitive, Side
from tests.examples import THOROUGH
from tests.readers import CATEGORY, POLICY
from tests.rules.answers import at, why

STUDENT = Borrower("P1", Sensitive("Chan"), CATEGORY.key)
COUNTS = Counts(hkall_used=0, local_loans=0, total_quota=20)
COUNTER = Place("counter", "HKU-MAIN-LENDING")
SELFCHECK = Place("selfcheck", "HKU-MAIN-LENDING")
P = Position
REQUEST = Request(
    "R1",
    Side.BORROWING,
    P.RECEIVED,
    "Dune",
    "b1",
    patron="P1",
    pickup_location="HKU-MAIN-LENDING",
    received_on=date(2017, 3, 6),
    notified_on=date(2017, 3, 6),
    pickup_last=date(2017, 3, 11),
)


NOW = at("2017-03-07T10:00:00")


def borrow(
    request: Request = REQUEST,
    borrower: Borrower = STUDENT,
    terminal: Place = COUNTER,
    policy: Policy = POLICY,
    now: datetime = NOW,
    *,
    closed: frozenset[date] = frozenset(),
    staff: bool = False,
) -> Grant | Refusal:
    return may_borrow(borrower, request, COUNTS, terminal, policy, now, closed, staff=staff)


def due(answer: Grant | Refusal) -> date | None:
    assert isinstance(answer, Grant)
    return answer.due


# ---- R13, R16: who and where


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (P.NEW, Reason.NOT_YET_ARRIVED),
        (P.REQUESTED, Reason.NOT_YET_ARRIVED),
        (P.IN_TRANSIT, Reason.NOT_YET_ARRIVED),
        (P.RECEIVED, None),
        (P.ON_LOAN, Reason.WRONG_POSITION),
        (P.TO_RETURN, Reason.WRONG_POSITION),
        (P.RETURN_TRANSIT, Reason.WRONG_POSITION),
        (P.CLOSED, Reason.WRONG_POSITION),
    ],
)
def test_r13_only_a_copy_on_the_hold_shelf_is_lent(position: Position, reason: Reason | None) -> None:
    assert why(borrow(replace(REQUEST, position=position))) == reason


@pytest.mark.parametrize(("position", "reason"), [(P.RECEIVED, Reason.NOT_REQUESTER), (P.ON_LOAN, Reason.ON_LOAN_TO_ANOTHER)])
def test_r13_another_patron_does_not_get_it(position: Position, reason: Reason) -> None:
    other = replace(STUDENT, barcode="P2")
    assert why(borrow(replace(REQUEST, position=position), other)) == reason


@pytest.mark.parametrize("unwanted", [False, True])
def test_r13_not_even_staff_lend_a_copy_that_was_not_received(unwanted: bool) -> None:
    request = replace(REQUEST, position=P.IN_TRANSIT, unwanted=unwanted)
    assert why(borrow(request, staff=True)) == Reason.NOT_YET_ARRIVED


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (COUNTER, None),
        (Place("counter"), None),
        (Place("counter", "HKU-LAW"), Reason.COUNTER_ONLY),
        (SELFCHECK, Reason.COUNTER_ONLY),
        (Place("bookdrop", "HKU-MAIN-LENDING"), Reason.COUNTER_ONLY),
        (Place("kiosk", "HKU-MAIN-LENDING"), Reason.COUNTER_ONLY),
    ],
)
def test_r16_only_the_counter_of_the_pickup_place_lends(terminal: Place, reason: Reason | None) -> None:
    assert why(borrow(terminal=terminal)) == reason


def test_r16_the_refusal_names_the_place_to_go_to() -> None:
    answer = borrow(terminal=SELFCHECK)
    assert isinstance(answer, Refusal)
    assert answer.detail == {"place": "HKU-MAIN-LENDING"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"blocked": True}, Reason.PATRON_BLOCKED),
        ({"expires": date(2017, 3, 6)}, Reason.PATRON_EXPIRED),
        ({"expires": date(2017, 3, 7)}, None),
        ({"category": "alumni"}, Reason.NOT_ELIGIBLE),
    ],
)
def test_r2_patron_no_longer_eligible_is_refused_at_the_checkout(changes: dict[str, object], reason: Reason | None) -> None:
    assert why(borrow(borrower=replace(STUDENT, **changes))) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(14, 0, 20), None),
        (Counts(15, 0, 20), Reason.QUOTA_HKALL),
        (Counts(5, 15, 20), Reason.QUOTA_TOTAL),
    ],
)
def test_r20_r21_the_quotas_are_asked_again_without_this_request(counts: Counts, reason: Reason | None) -> None:
    assert why(may_borrow(STUDENT, REQUEST, counts, COUNTER, POLICY, NOW)) == reason


def test_r1_a_window_for_checkouts_suspends_them() -> None:
    policy = replace(POLICY, service_windows=(Window("checkout", date(2017, 3, 7), date(2017, 3, 7)),))
    assert why(borrow(policy=policy)) == Reason.SERVICE_SUSPENDED


@pytest.mark.parametrize(
    ("rule", "staff", "reason"), [("warn", False, None), ("return", False, Reason.RECALLED), ("return", True, None)]
)
def test_r24_a_copy_recalled_before_pickup_is_lent_or_goes_back(rule: str, staff: bool, reason: Reason | None) -> None:
    policy = replace(POLICY, recall=Recall(before_pickup="return" if rule == "return" else "warn"))
    assert why(borrow(replace(REQUEST, recalled_on=date(2017, 3, 5)), policy=policy, staff=staff)) == reason


# ---- R19: the due date


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda c: c.key)
def test_r19_each_category_has_its_period(category: object) -> None:
    row = next(c for c in CATEGORIES if c is category)
    borrower = replace(STUDENT, category=row.key, study_mode="full_time")
    expected = {15: date(2017, 3, 22), 30: date(2017, 4, 6)}
    assert due(borrow(borrower=borrower)) == expected[row.loan_days]


@pytest.mark.parametrize(
    ("now", "last"),
    [("2017-03-01T15:59:59+00:00", date(2017, 3, 16)), ("2017-03-01T16:00:00+00:00", date(2017, 3, 17))],
)
def test_r19_the_period_begins_on_the_day_in_hong_kong(now: str, last: date) -> None:
    assert due(borrow(now=datetime.fromisoformat(now))) == last


JULY = date(2017, 7, 1)


@pytest.mark.parametrize(
    ("how", "closed", "last"),
    [
        ("roll_forward", set(), JULY),
        ("roll_forward", {JULY}, date(2017, 7, 2)),
        ("roll_forward", {JULY, date(2017, 7, 2)}, date(2017, 7, 3)),
        ("keep", {JULY}, JULY),
        ("roll_back", {JULY}, date(2017, 6, 30)),
    ],
)
@pytest.mark.parametrize("lender", [None, date(2017, 6, 10), date(2017, 6, 25), JULY, date(2017, 8, 1)])
def test_r19_a_closed_due_date_rolls_whatever_the_lenders_date(
    how: str, closed: set[date], lender: date | None, last: date
) -> None:
    policies = {h: replace(POLICY, due=Due(on_closure=h)) for h in ("roll_forward", "keep", "roll_back")}
    request = replace(REQUEST, lender_due=lender, pickup_last=date(2017, 6, 20))
    assert loan_due(STUDENT, request, policies[how], at("2017-06-16T12:00:00"), frozenset(closed)) == last


@pytest.mark.parametrize(
    ("days_of", "lender", "last"),
    [
        (CATEGORY.key, date(2017, 3, 10), date(2017, 3, 22)),
        ("postgraduates", date(2017, 3, 10), date(2017, 3, 22)),
        ("postgraduates", date(2017, 3, 22), date(2017, 3, 22)),
        ("postgraduates", date(2017, 3, 23), date(2017, 3, 23)),
        ("postgraduates", date(2017, 5, 1), date(2017, 4, 6)),
        ("postgraduates", None, date(2017, 4, 6)),
    ],
)
def test_r19_a_loan_that_the_policy_caps_to_the_lenders_date_keeps_its_minimum_use(
    days_of: str, lender: date | None, last: date
) -> None:
    policy = replace(POLICY, due=Due(cap_to_lender_due=True))
    assert due(borrow(replace(REQUEST, lender_due=lender), replace(STUDENT, category=days_of), policy=policy)) == last


@pytest.mark.parametrize(("capped", "last"), [(False, date(2017, 3, 22)), (True, date(2017, 3, 10))])
def test_r19_a_loan_ends_with_the_card_where_the_policy_says_so(capped: bool, last: date) -> None:
    policy = replace(POLICY, due=Due(cap_to_patron_expiry=capped))
    assert due(borrow(borrower=replace(STUDENT, expires=date(2017, 3, 10)), policy=policy)) == last


def test_r25_a_copy_recalled_before_pickup_keeps_its_minimum_use() -> None:
    scholar = replace(STUDENT, category="postgraduates")
    assert due(borrow(replace(REQUEST, recalled_on=date(2017, 3, 5)), scholar)) == date(2017, 3, 22)


def test_offline_loan_of_an_unknown_patron_has_the_shortest_period() -> None:
    assert loan_due(replace(STUDENT, category="alumni"), REQUEST, POLICY, NOW) == date(2017, 3, 22)


@settings(max_examples=THOROUGH)
@given(
    st.none() | st.dates(date(2017, 1, 1), date(2017, 6, 1)),
    st.frozensets(st.dates(date(2017, 3, 15), date(2017, 4, 10))),
    st.none() | st.dates(date(2017, 3, 1), date(2017, 3, 7)),
)
def test_r19_no_lenders_date_shortens_a_loan(lender: date | None, closed: frozenset[date], recalled_on: date | None) -> None:
    request = replace(REQUEST, recalled_on=recalled_on)
    without = loan_due(STUDENT, request, POLICY, NOW, closed)
    assert loan_due(STUDENT, replace(request, lender_due=lender), POLICY, NOW, closed) == without >= date(2017, 3, 22)


# ---- R16, R17: the return


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (COUNTER, None),
        (SELFCHECK, Reason.COUNTER_ONLY),
        (Place("bookdrop"), Reason.NOT_IN_BOOK_DROP),
        (Place("kiosk"), Reason.COUNTER_ONLY),
    ],
)
def test_r16_r17_only_a_counter_takes_a_copy_back(terminal: Place, reason: Reason | None) -> None:
    assert why(may_return(terminal, POLICY)) == reason


@pytest.mark.parametrize(("place", "reason"), [("HKU-MAIN-LENDING", None), ("HKU-LAW", Reason.COUNTER_ONLY)])
def test_r16_a_counter_elsewhere_takes_none_where_the_places_are_named(place: str, reason: Reason | None) -> None:
    assert why(may_return(Place("counter", place), POLICY, ("HKU-MAIN-LENDING",))) == reason


def test_r17_a_book_drop_may_be_allowed_and_is_flagged() -> None:
    answer = may_return(Place("bookdrop"), replace(POLICY, bookdrop=Bookdrop("accept_and_flag")))
    assert answer == Grant(facts={"flag": "HKALL_IN_BOOKDROP"})

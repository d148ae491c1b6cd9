"""Checkout and check-in at the counter."""

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

STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category=CATEGORY.key)
COUNTS = Counts(hkall_used=0, local_loans=0, total_quota=20)
COUNTER = Place(role="counter", location="HKU-MAIN-LENDING")
SELFCHECK = Place(role="selfcheck", location="HKU-MAIN-LENDING")
P = Position
REQUEST = Request(
    id="R1",
    side=Side.BORROWING,
    position=P.RECEIVED,
    title="Dune",
    bib_id="b1",
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


# ---- R13, R16: requester and pickup location


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
def test_r13_checkout_requires_an_item_on_the_hold_shelf(position: Position, reason: Reason | None) -> None:
    assert why(borrow(replace(REQUEST, position=position))) == reason


@pytest.mark.parametrize(("position", "reason"), [(P.RECEIVED, Reason.NOT_REQUESTER), (P.ON_LOAN, Reason.ON_LOAN_TO_ANOTHER)])
def test_r13_checkout_to_another_patron_is_refused(position: Position, reason: Reason) -> None:
    other = replace(STUDENT, barcode="P2")
    assert why(borrow(replace(REQUEST, position=position), other)) == reason


@pytest.mark.parametrize("unwanted", [False, True])
def test_r13_staff_cannot_check_out_an_unreceived_item(unwanted: bool) -> None:
    request = replace(REQUEST, position=P.IN_TRANSIT, unwanted=unwanted)
    assert why(borrow(request, staff=True)) == Reason.NOT_YET_ARRIVED


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (COUNTER, None),
        (Place(role="counter"), None),
        (Place(role="counter", location="HKU-LAW"), Reason.COUNTER_ONLY),
        (SELFCHECK, Reason.COUNTER_ONLY),
        (Place(role="bookdrop", location="HKU-MAIN-LENDING"), Reason.COUNTER_ONLY),
        (Place(role="kiosk", location="HKU-MAIN-LENDING"), Reason.COUNTER_ONLY),
    ],
)
def test_r16_checkout_is_refused_at_another_pickup_location(terminal: Place, reason: Reason | None) -> None:
    assert why(borrow(terminal=terminal)) == reason


def test_r16_refusal_names_the_pickup_location() -> None:
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
def test_r2_checkout_is_refused_to_a_patron_no_longer_eligible(changes: dict[str, object], reason: Reason | None) -> None:
    assert why(borrow(borrower=replace(STUDENT, **changes))) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(hkall_used=14, local_loans=0, total_quota=20), None),
        (Counts(hkall_used=15, local_loans=0, total_quota=20), Reason.QUOTA_HKALL),
        (Counts(hkall_used=5, local_loans=15, total_quota=20), Reason.QUOTA_TOTAL),
    ],
)
def test_r20_r21_checkout_checks_quotas_without_counting_its_own_request(counts: Counts, reason: Reason | None) -> None:
    assert why(may_borrow(STUDENT, REQUEST, counts, COUNTER, POLICY, NOW)) == reason


def test_r1_checkouts_are_refused_during_a_suspension_window() -> None:
    policy = replace(POLICY, service_windows=(Window(scope="checkout", start=date(2017, 3, 7), end=date(2017, 3, 7)),))
    assert why(borrow(policy=policy)) == Reason.SERVICE_SUSPENDED


@pytest.mark.parametrize(
    ("rule", "staff", "reason"), [("warn", False, None), ("return", False, Reason.RECALLED), ("return", True, None)]
)
def test_r24_item_recalled_before_pickup_is_lent_or_returned_as_the_policy_says(
    rule: str, staff: bool, reason: Reason | None
) -> None:
    policy = replace(POLICY, recall=Recall(before_pickup="return" if rule == "return" else "warn"))
    assert why(borrow(replace(REQUEST, recalled_on=date(2017, 3, 5)), policy=policy, staff=staff)) == reason


# ---- R19: due date


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda c: c.key)
def test_r19_loan_period_depends_on_the_category(category: object) -> None:
    row = next(c for c in CATEGORIES if c is category)
    borrower = replace(STUDENT, category=row.key, study_mode="full_time")
    expected = {15: date(2017, 3, 22), 30: date(2017, 4, 6)}
    assert due(borrow(borrower=borrower)) == expected[row.loan_days]


@pytest.mark.parametrize(
    ("now", "last"),
    [("2017-03-01T15:59:59+00:00", date(2017, 3, 16)), ("2017-03-01T16:00:00+00:00", date(2017, 3, 17))],
)
def test_r19_loan_period_starts_on_the_hong_kong_date(now: str, last: date) -> None:
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
def test_r19_due_date_on_a_closed_day_rolls_regardless_of_the_lenders_date(
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
def test_r19_loan_capped_to_the_lenders_date_keeps_its_minimum_use(days_of: str, lender: date | None, last: date) -> None:
    policy = replace(POLICY, due=Due(cap_to_lender_due=True))
    assert due(borrow(replace(REQUEST, lender_due=lender), replace(STUDENT, category=days_of), policy=policy)) == last


@pytest.mark.parametrize(("capped", "last"), [(False, date(2017, 3, 22)), (True, date(2017, 3, 10))])
def test_r19_loan_is_capped_at_card_expiry_if_the_policy_says_so(capped: bool, last: date) -> None:
    policy = replace(POLICY, due=Due(cap_to_patron_expiry=capped))
    assert due(borrow(borrower=replace(STUDENT, expires=date(2017, 3, 10)), policy=policy)) == last


def test_r25_item_recalled_before_pickup_keeps_its_minimum_use() -> None:
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
def test_r19_lenders_date_does_not_shorten_a_loan(
    lender: date | None, closed: frozenset[date], recalled_on: date | None
) -> None:
    request = replace(REQUEST, recalled_on=recalled_on)
    without = loan_due(STUDENT, request, POLICY, NOW, closed)
    assert loan_due(STUDENT, replace(request, lender_due=lender), POLICY, NOW, closed) == without >= date(2017, 3, 22)


# ---- R16, R17: return


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (COUNTER, None),
        (SELFCHECK, Reason.COUNTER_ONLY),
        (Place(role="bookdrop"), Reason.NOT_IN_BOOK_DROP),
        (Place(role="kiosk"), Reason.COUNTER_ONLY),
    ],
)
def test_r16_r17_checkin_is_accepted_only_at_a_counter(terminal: Place, reason: Reason | None) -> None:
    assert why(may_return(terminal, POLICY)) == reason


@pytest.mark.parametrize(("place", "reason"), [("HKU-MAIN-LENDING", None), ("HKU-LAW", Reason.COUNTER_ONLY)])
def test_r16_checkin_is_refused_at_a_location_not_listed(place: str, reason: Reason | None) -> None:
    assert why(may_return(Place(role="counter", location=place), POLICY, ("HKU-MAIN-LENDING",))) == reason


def test_r17_book_drop_checkin_is_flagged_if_the_policy_allows_it() -> None:
    answer = may_return(Place(role="bookdrop"), replace(POLICY, bookdrop=Bookdrop("accept_and_flag")))
    assert answer == Grant(facts={"flag": "HKALL_IN_BOOKDROP"})

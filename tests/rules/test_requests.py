"""Whether a request may be placed, quotas, and until when it may be cancelled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.policy import (
    Counts,
    RequestFacts,
    may_be_requested,
    may_cancel,
    may_request,
    quota,
    quota_positions,
)
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import CATEGORIES, Cancel, Doubt, Policy, Quota
from hkall_gateway.rules.vocabulary import Borrower, Grant, Position, Refusal, Request, Sensitive, Side
from tests.examples import THOROUGH
from tests.readers import CATEGORY, POLICY
from tests.rules.answers import why

STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category=CATEGORY.key)
WISH = RequestFacts(pickup_location="HKU-MAIN-LENDING", pickup_locations=("HKU-MAIN-LENDING",), candidates=1)
COUNTS = Counts(hkall_used=0, local_loans=0, total_quota=20)
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
P = Position


def ask(wish: RequestFacts = WISH, counts: Counts = COUNTS, policy: Policy = POLICY, *, staff: bool = False) -> Grant | Refusal:
    return may_request(STUDENT, wish, counts, policy, NOW, staff=staff)


def test_ordinary_request_is_granted() -> None:
    assert why(ask()) is None


AVAILABLE, LENT = "Available On Shelf", "On Loan"


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        pytest.param(replace(WISH, hold=True), Reason.HOLDS_NOT_ALLOWED, id="R22 no queue for a lent copy"),
        pytest.param(replace(WISH, pickup_location="LAW"), Reason.PICKUP_LOCATION, id="R4 a place that is not listed"),
        pytest.param(replace(WISH, pickup_location=""), None, id="R4 no place named = the default one"),
        pytest.param(replace(WISH, known_title=False), Reason.UNKNOWN_TITLE, id="R7 a title that nobody has"),
        pytest.param(replace(WISH, materials=("dvd",)), Reason.MATERIAL_NOT_REQUESTABLE, id="R5 a DVD"),
        pytest.param(replace(WISH, materials=("book", "dvd")), None, id="R5 a title with a book among its copies"),
        pytest.param(replace(WISH, statuses_at_home=()), None, id="R6 we have none"),
        pytest.param(replace(WISH, statuses_at_home=(LENT, LENT)), None, id="R6 both of ours are lent"),
        pytest.param(replace(WISH, statuses_at_home=(LENT, AVAILABLE)), Reason.AVAILABLE_LOCALLY, id="R6 one of two is here"),
        pytest.param(replace(WISH, statuses_at_home=("Missing",)), None, id="R6 ours is missing"),
        pytest.param(replace(WISH, statuses_at_home=("In Process",)), None, id="R6 ours is in repair"),
        pytest.param(replace(WISH, statuses_at_home=None), None, id="R6 nobody can say"),
        pytest.param(replace(WISH, candidates=0), Reason.NO_AVAILABLE_COPY, id="R3 R7 only we have it, or all are lent"),
        pytest.param(replace(WISH, candidates=1), None, id="R7 one of seven is available"),
        pytest.param(replace(WISH, need_before=date(2017, 3, 1)), None, id="wanted until today"),
        pytest.param(replace(WISH, need_before=date(2017, 2, 28)), Reason.WRONG_DATE, id="wanted until a day that is over"),
        pytest.param(replace(WISH, duplicate=True), Reason.DUPLICATE_REQUEST, id="R11a twice the same"),
    ],
)
def test_request_is_refused_by_the_expected_rule(wish: RequestFacts, reason: Reason | None) -> None:
    assert why(ask(wish)) == reason


def test_r1_request_is_refused_during_a_suspension() -> None:
    answer = may_request(STUDENT, WISH, COUNTS, POLICY, datetime(2017, 6, 5, 16, tzinfo=UTC))
    assert why(answer) == Reason.SERVICE_SUSPENDED


@settings(max_examples=THOROUGH)
@given(
    known=st.booleans(),
    materials=st.sampled_from([(), ("dvd",), ("book",), ("book", "dvd")]),
    here=st.sampled_from([None, (), (LENT,), (AVAILABLE,), ("no such word",)]),
    candidates=st.integers(0, 2),
    doubt=st.sampled_from(["deny", "allow_and_flag"]),
    at=st.sampled_from([NOW, datetime(2017, 6, 7, tzinfo=UTC)]),
)
def test_title_is_refused_before_login_if_refused_to_every_patron(
    known: bool, materials: tuple[str, ...], here: tuple[str, ...] | None, candidates: int, doubt: Doubt, at: datetime
) -> None:
    title = replace(WISH, known_title=known, materials=materials, statuses_at_home=here, candidates=candidates)
    policy = replace(POLICY, local_availability_unknown=doubt)
    for_all = may_be_requested(title, policy, at)
    for_one = may_request(STUDENT, title, COUNTS, policy, at)
    if isinstance(for_one, Refusal):
        assert for_all == for_one
    else:
        assert for_all == Grant(facts={name: fact for name, fact in for_one.facts.items() if name == "local_check"})


def test_r2_request_of_an_unknown_patron_is_refused() -> None:
    assert why(may_request(replace(STUDENT, category="alumni"), WISH, COUNTS, POLICY, NOW)) == Reason.NOT_ELIGIBLE


def test_r6_unknown_local_availability_is_flagged() -> None:
    answer = ask(replace(WISH, statuses_at_home=None))
    assert answer.facts["local_check"] == "unknown"


def test_r6_unknown_local_availability_is_refused_if_the_policy_says_so() -> None:
    policy = replace(POLICY, local_availability_unknown="deny")
    assert why(ask(replace(WISH, statuses_at_home=None), policy=policy)) == Reason.AVAILABILITY_UNKNOWN


def test_r11a_staff_may_place_a_duplicate_request() -> None:
    assert why(ask(replace(WISH, duplicate=True), staff=True)) is None


def test_r11a_duplicates_are_allowed_if_the_policy_says_so() -> None:
    assert why(ask(replace(WISH, duplicate=True), policy=replace(POLICY, duplicates="allow"))) is None


# ---- R18, R20, R21: quotas


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda c: c.key)
def test_r18_request_beyond_the_category_quota_is_refused(category: object) -> None:
    row = next(c for c in CATEGORIES if c is category)
    borrower = replace(STUDENT, category=row.key)
    answers = [
        quota(borrower, Counts(hkall_used=used, local_loans=0, total_quota=99), POLICY) for used in (row.quota - 1, row.quota)
    ]
    assert [why(a) for a in answers] == [None, Reason.QUOTA_HKALL]


@pytest.mark.parametrize(
    ("used", "local", "total", "reason"),
    [
        (10, 10, 20, Reason.QUOTA_TOTAL),
        (9, 10, 20, None),
        (15, 0, 20, Reason.QUOTA_HKALL),
        (14, 0, 20, None),
        (4, 15, 20, None),
        (5, 15, 20, Reason.QUOTA_TOTAL),
        (0, 20, 20, Reason.QUOTA_TOTAL),
        (0, 25, 20, Reason.QUOTA_TOTAL),
        (15, 20, 20, Reason.QUOTA_HKALL),
        (0, 0, 0, Reason.QUOTA_TOTAL),
    ],
)
def test_r21_total_quota_also_applies(used: int, local: int, total: int, reason: Reason | None) -> None:
    assert why(quota(STUDENT, Counts(hkall_used=used, local_loans=local, total_quota=total), POLICY)) == reason


def test_r21_one_of_20_places_is_left_with_15_local_and_4_hkall_items() -> None:
    assert quota(STUDENT, Counts(hkall_used=4, local_loans=15, total_quota=20), POLICY).facts["left"] == 1


@pytest.mark.parametrize("counted_by", ["counts", "policy"])
def test_r21_items_counted_by_the_local_system_are_not_counted_twice(counted_by: str) -> None:
    counts = Counts(hkall_used=10, local_loans=15, total_quota=20, ils_counts_hkall=counted_by == "counts")
    policy = replace(POLICY, quota=Quota(ils_counts_hkall=counted_by == "policy"))
    assert quota(STUDENT, counts, policy).facts["left"] == 5


def test_r21_requests_not_counted_by_the_local_system_count_towards_the_quota() -> None:
    assert (
        quota(STUDENT, Counts(hkall_used=10, local_loans=4, total_quota=12, ils_counts_hkall=True), POLICY).facts["left"] == 2
    )


@pytest.mark.parametrize(("local", "total"), [(None, 20), (3, None), (None, None)])
def test_r21_unknown_total_quota_is_allowed_and_flagged(local: int | None, total: int | None) -> None:
    answer = quota(STUDENT, Counts(hkall_used=3, local_loans=local, total_quota=total), POLICY)
    assert (why(answer), answer.facts["quota_check"]) == (None, "unknown")


@pytest.mark.parametrize(("local", "total"), [(None, 20), (3, None)])
def test_r21_unknown_total_quota_is_refused_if_the_policy_says_so(local: int | None, total: int | None) -> None:
    policy = replace(POLICY, quota=Quota(unknown="deny"))
    assert why(quota(STUDENT, Counts(hkall_used=3, local_loans=local, total_quota=total), policy)) == Reason.QUOTA_UNKNOWN


def test_r20_hkall_quota_applies_when_the_total_is_unknown() -> None:
    assert why(quota(STUDENT, Counts(hkall_used=15, local_loans=None, total_quota=None), POLICY)) == Reason.QUOTA_HKALL


@pytest.mark.parametrize(("total", "reason"), [(None, None), (5, Reason.QUOTA_TOTAL)])
def test_r21_total_quota_in_the_policy_overrides_the_local_system(total: int | None, reason: Reason | None) -> None:
    policy = replace(POLICY, categories=tuple(replace(c, total_quota=total) for c in POLICY.categories))
    assert why(quota(STUDENT, Counts(hkall_used=0, local_loans=6, total_quota=99), policy)) == reason


def test_r20_request_is_refused_at_the_quota() -> None:
    assert why(ask(counts=Counts(hkall_used=15, local_loans=0, total_quota=20))) == Reason.QUOTA_HKALL


@settings(max_examples=THOROUGH)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_r21_remaining_quota_is_the_smaller_of_both(used: int, local: int, total: int) -> None:
    left = min(15 - used, total - (local + used))
    assert isinstance(quota(STUDENT, Counts(hkall_used=used, local_loans=local, total_quota=total), POLICY), Grant) is (
        left > 0
    )


@pytest.mark.parametrize(
    ("settings", "position", "takes"),
    [
        (Quota(), P.NEW, True),
        (Quota(), P.REQUESTED, True),
        (Quota(), P.ON_LOAN, True),
        (Quota(), P.CANCELLING, False),
        (Quota(), P.TO_RETURN, False),
        (Quota(), P.CLOSED, False),
        (Quota(count_from="checkout"), P.RECEIVED, False),
        (Quota(count_from="checkout"), P.ON_LOAN, True),
        (Quota(release_at="lender_checkin"), P.RETURN_TRANSIT, True),
        (Quota(release_at="lender_checkin"), P.CLOSED, False),
        (Quota(count_from="checkout", release_at="lender_checkin"), P.TO_RETURN, True),
    ],
)
def test_r21_policy_decides_when_quota_is_taken_and_released(settings: Quota, position: Position, takes: bool) -> None:
    assert (position in quota_positions(replace(POLICY, quota=settings))) is takes


# ---- R34: cancellation

REQUEST = Request(id="R1", side=Side.BORROWING, position=P.REQUESTED, title="Dune", bib_id="b1", patron="P1", attempt=1)


@pytest.mark.parametrize("position", [p for p in POLICY.labels if p not in ("NEW", "REQUESTED")])
def test_r34_shipped_request_cannot_be_cancelled(position: str) -> None:
    assert why(may_cancel(replace(REQUEST, position=Position(position)), POLICY)) == Reason.TOO_LATE_TO_CANCEL


@pytest.mark.parametrize("position", [P.NEW, P.REQUESTED])
def test_r34_unshipped_request_can_be_cancelled(position: Position) -> None:
    assert why(may_cancel(replace(REQUEST, position=position), POLICY)) is None


@pytest.mark.parametrize(("allowed", "reason"), [(True, None), (False, Reason.TOO_LATE_TO_CANCEL)])
def test_r34_request_with_a_second_lender_can_be_cancelled_if_the_policy_says_so(allowed: bool, reason: Reason | None) -> None:
    policy = replace(POLICY, cancel=Cancel(in_rerequested=allowed))
    assert why(may_cancel(replace(REQUEST, attempt=2), policy)) == reason

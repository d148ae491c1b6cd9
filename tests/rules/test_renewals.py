"""Renewals: when a loan may be renewed, how often, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.dates import renewed_until, start_of
from hkall_gateway.rules.eligibility import NO_BLOCKS, LocalBlocks
from hkall_gateway.rules.policy import is_repetition, may_renew
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Block, Due, Policy, Renewal, Window
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Borrower, Grant, Position, Refusal, Request, Sensitive, Side
from tests.examples import THOROUGH
from tests.rules.answers import at, why

POLICY = Policy()
P = Position
OUT = date(2017, 3, 1)
LOAN = Request(
    id="R1",
    side=Side.BORROWING,
    position=P.ON_LOAN,
    title="Dune",
    bib_id="b1",
    patron="P1",
    first_checkout=OUT,
    loan_days=15,
    due=date(2017, 3, 16),
    used=True,
)


NOW = at("2017-03-09T10:00:00")
STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category="undergraduates")


def due(answer: Grant | Refusal) -> date | None:
    assert isinstance(answer, Grant)
    return answer.due


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ("2017-03-08T12:00:00+08:00", Reason.RENEWAL_TOO_SOON),
        ("2017-03-08T15:59:59+00:00", Reason.RENEWAL_TOO_SOON),
        ("2017-03-08T16:00:00+00:00", None),
        ("2017-03-09T00:00:00+08:00", None),
        ("2017-03-16T23:59:59+08:00", None),
        ("2017-03-16T15:59:59+00:00", None),
        ("2017-03-16T16:00:00+00:00", Reason.RENEWAL_OVERDUE),
        ("2017-03-17T00:00:00+08:00", Reason.RENEWAL_OVERDUE),
    ],
)
def test_r29_loan_is_renewed_within_seven_days_of_its_due_date(now: str, reason: Reason | None) -> None:
    assert why(may_renew(LOAN, POLICY, datetime.fromisoformat(now))) == reason


def test_r29_early_renewal_is_refused_with_the_first_possible_date() -> None:
    answer = may_renew(LOAN, POLICY, at("2017-03-08T12:00:00"))
    assert isinstance(answer, Refusal)
    assert answer.detail["from"] == date(2017, 3, 9)


@pytest.mark.parametrize(
    ("rule", "staff", "reason"),
    [
        ("staff_only", False, Reason.RENEWAL_OVERDUE),
        ("staff_only", True, None),
        ("deny", True, Reason.RENEWAL_OVERDUE),
        ("allow", False, None),
    ],
)
def test_r29_overdue_renewal_follows_the_policy(rule: str, staff: bool, reason: Reason | None) -> None:
    policies = {r: replace(POLICY, renewal=Renewal(overdue=r)) for r in ("staff_only", "deny", "allow")}
    assert why(may_renew(LOAN, policies[rule], at("2017-03-18T10:00:00"), staff=staff)) == reason


@pytest.mark.parametrize("staff", [True, False])
@pytest.mark.parametrize(("renewals", "reason"), [(0, None), (1, None), (2, Reason.RENEWAL_LIMIT), (3, Reason.RENEWAL_LIMIT)])
def test_r27_third_renewal_is_refused(renewals: int, reason: Reason | None, staff: bool) -> None:
    assert why(may_renew(replace(LOAN, renewals=renewals), POLICY, NOW, staff=staff)) == reason


@pytest.mark.parametrize(
    ("changes", "staff", "reason"),
    [
        ({"recalled_on": date(2017, 3, 5)}, False, Reason.RECALLED),
        ({"recalled_on": date(2017, 3, 5)}, True, Reason.RECALLED),
        ({"recalled_on": date(2017, 3, 5), "renewals": 2}, False, Reason.RECALLED),
        ({"renewal_sync": RenewalSync.DENIED}, False, Reason.RENEWAL_DENIED),
        ({"renewal_sync": RenewalSync.DENIED}, True, None),
        ({"renewal_sync": RenewalSync.NONE}, False, None),
        ({"lost_on": date(2017, 3, 5)}, False, Reason.BOOK_LOST),
        ({"claimed_on": date(2017, 3, 5)}, False, Reason.CLAIMED_RETURNED),
        ({"position": P.RECEIVED}, False, Reason.NOT_ON_LOAN),
        ({"position": P.TO_RETURN}, False, Reason.NOT_ON_LOAN),
        ({"due": None}, False, Reason.NOT_ON_LOAN),
    ],
)
def test_r28_recalled_denied_lost_or_unlent_item_is_not_renewed(
    changes: dict[str, object], staff: bool, reason: Reason | None
) -> None:
    assert why(may_renew(replace(LOAN, **changes), POLICY, NOW, staff=staff)) == reason  # type: ignore[arg-type]


def test_r1_renewals_are_refused_during_a_suspension_window() -> None:
    policy = replace(POLICY, service_windows=(Window(scope="renew", start=date(2017, 3, 9), end=date(2017, 3, 9)),))
    assert why(may_renew(LOAN, policy, NOW)) == Reason.SERVICE_SUSPENDED


BY_DUE = replace(POLICY, renewal=Renewal(base="due_date"))


@pytest.mark.parametrize(("policy", "last"), [(POLICY, date(2017, 3, 24)), (BY_DUE, date(2017, 3, 31))])
def test_r32_new_period_starts_at_the_configured_base(policy: Policy, last: date) -> None:
    assert due(may_renew(LOAN, policy, NOW)) == last


@pytest.mark.parametrize(("days", "last"), [(15, date(2017, 4, 15)), (30, date(2017, 4, 30))])
def test_r32_renewal_period_is_that_of_the_loan(days: int, last: date) -> None:
    loan = replace(LOAN, loan_days=days, due=date(2017, 3, 31))
    assert due(may_renew(loan, POLICY, at("2017-03-31T10:00:00"))) == last


@pytest.mark.parametrize(("wait", "last"), [(7, date(2017, 4, 1)), (0, date(2017, 4, 15))])
def test_r32_two_renewals_end_between_day_31_and_day_45(wait: int, last: date) -> None:
    loan = LOAN
    for count in (1, 2):
        assert loan.due is not None
        loan = replace(loan, due=due(may_renew(loan, POLICY, start_of(loan.due - timedelta(days=wait)))), renewals=count)
    assert loan.due == last


@pytest.mark.parametrize(
    ("renewal", "lender", "last"),
    [
        (Renewal(), None, date(2017, 3, 24)),
        (Renewal(), date(2017, 3, 20), date(2017, 3, 24)),
        (Renewal(), date(2017, 3, 1), date(2017, 3, 24)),
        (Renewal(cap_to_lender_due=True), date(2017, 3, 20), date(2017, 3, 20)),
        (Renewal(cap_to_lender_due=True), date(2017, 5, 1), date(2017, 3, 24)),
        (Renewal(max_total_days=20), None, date(2017, 3, 21)),
        (Renewal(max_total_days=45), None, date(2017, 3, 24)),
    ],
)
def test_r32_renewal_is_capped_by_total_days_and_the_lenders_date_only_if_configured(
    renewal: Renewal, lender: date | None, last: date
) -> None:
    answer = may_renew(replace(LOAN, lender_due=lender), replace(POLICY, renewal=renewal), NOW)
    assert due(answer) == last


@pytest.mark.parametrize(("capped", "last"), [(False, date(2017, 3, 24)), (True, date(2017, 3, 18))])
def test_r32_renewal_is_capped_at_card_expiry_if_the_policy_says_so(capped: bool, last: date) -> None:
    policy = replace(POLICY, due=Due(cap_to_patron_expiry=capped))
    assert due(may_renew(LOAN, policy, NOW, borrower=replace(STUDENT, expires=date(2017, 3, 18)))) == last


CAPPED = replace(POLICY, renewal=Renewal(cap_to_lender_due=True))


@pytest.mark.parametrize("lender", [date(2017, 3, 16), date(2017, 3, 10)])
def test_r32_renewal_that_gains_no_day_is_refused(lender: date) -> None:
    assert why(may_renew(replace(LOAN, lender_due=lender), CAPPED, NOW)) == Reason.RENEWAL_DENIED


@pytest.mark.parametrize("lender", [date(2017, 3, 16), date(2017, 3, 10)])
def test_r32_cap_before_the_due_date_keeps_the_due_date(lender: date) -> None:
    assert renewed_until(replace(LOAN, lender_due=lender), CAPPED, date(2017, 3, 9), frozenset()) == date(2017, 3, 16)


def test_renewed_due_date_on_a_closed_day_rolls_forward() -> None:
    assert due(may_renew(LOAN, POLICY, NOW, frozenset({date(2017, 3, 24)}))) == date(2017, 3, 25)


DAYS = st.dates(date(2017, 3, 1), date(2017, 5, 30))


@settings(max_examples=THOROUGH)
@given(
    loan_due=DAYS,
    today=DAYS,
    days=st.sampled_from([15, 30]),
    lender=st.none() | DAYS,
    closed=st.frozensets(DAYS, max_size=20),
    how=st.sampled_from(["roll_forward", "keep", "roll_back"]),
    base=st.sampled_from(["renewal_date", "due_date"]),
    capped=st.booleans(),
)
def test_r32_renewal_never_shortens_a_loan_and_may_pass_the_lenders_date_unless_capped(
    loan_due: date, today: date, days: int, lender: date | None, closed: frozenset[date], how: str, base: str, capped: bool
) -> None:
    renewal = Renewal(base="due_date" if base == "due_date" else "renewal_date", overdue="allow", cap_to_lender_due=capped)
    on_closure = {h: Due(on_closure=h) for h in ("roll_forward", "keep", "roll_back")}[how]
    loan = replace(LOAN, due=loan_due, loan_days=days, lender_due=lender)
    answer = may_renew(loan, replace(POLICY, renewal=renewal, due=on_closure), start_of(today), closed)
    if isinstance(answer, Grant):
        assert answer.due is not None
        assert loan_due < answer.due
        assert lender is None or not capped or answer.due <= lender
    if not capped:
        free = replace(loan, lender_due=None)
        assert answer == may_renew(free, replace(POLICY, renewal=renewal, due=on_closure), start_of(today), closed)


# ---- repeated renewals


RENEWED = replace(LOAN, renewed_at=NOW, renewals=1, moved_at=at("2017-03-01T10:00:00"))


@pytest.mark.parametrize(("seconds", "again"), [(0, True), (599, True), (600, False)])
def test_r27_same_renewal_within_the_window_is_a_repetition(seconds: int, again: bool) -> None:
    assert is_repetition(RENEWED, POLICY, NOW + timedelta(seconds=seconds)) is again


def test_r27_first_renewal_is_never_a_repetition() -> None:
    assert not is_repetition(LOAN, POLICY, NOW)


@pytest.mark.parametrize(
    ("since", "again"),
    [
        ({"recalled_on": date(2017, 3, 9)}, False),
        ({"lost_on": date(2017, 3, 9)}, False),
        ({"claimed_on": date(2017, 3, 9)}, False),
        ({"moved_at": NOW + timedelta(seconds=1)}, False),
        ({"moved_at": NOW}, True),
        ({"position": Position.TO_RETURN}, False),
        ({"damaged": True}, True),
        ({"flags": "refused:tell_lender_renewed"}, True),
        ({"recall_was_on": date(2017, 3, 9), "recall_cancelled_on": date(2017, 3, 9)}, True),
    ],
)
def test_r28_later_events_of_the_loan_end_the_repetition_window(since: dict[str, Any], again: bool) -> None:
    assert is_repetition(replace(RENEWED, **since), POLICY, NOW + timedelta(minutes=1)) is again


# ---- eligibility to renew


@pytest.mark.parametrize(
    ("now", "reason"),
    [("2017-03-10T23:59:59", None), ("2017-03-11T00:00:00", Reason.PATRON_EXPIRED)],
)
def test_r2_card_can_renew_until_the_end_of_its_last_day(now: str, reason: Reason | None) -> None:
    ends = replace(STUDENT, expires=date(2017, 3, 10))
    assert why(may_renew(LOAN, POLICY, at(now), borrower=ends)) == reason


BARRED = {
    "expired": (replace(STUDENT, expires=date(2017, 3, 8)), NO_BLOCKS, Reason.PATRON_EXPIRED),
    "blocked": (replace(STUDENT, blocked=True), NO_BLOCKS, Reason.PATRON_BLOCKED),
    "not eligible any more": (replace(STUDENT, category="alumni"), NO_BLOCKS, Reason.NOT_ELIGIBLE),
    "owing too much": (STUDENT, LocalBlocks(owed_cents=5001), Reason.PATRON_OWES),
}


@pytest.mark.parametrize(
    ("rule", "staff", "refused"),
    [
        ("deny", False, True),
        ("deny", True, True),
        ("staff_only", False, True),
        ("staff_only", True, False),
        ("allow", False, False),
    ],
)
@pytest.mark.parametrize("card", BARRED)
def test_r2_ineligible_card_cannot_renew_unless_the_policy_says_so(
    card: str, rule: Literal["deny", "staff_only", "allow"], staff: bool, refused: bool
) -> None:
    borrower, blocks, reason = BARRED[card]
    policy = replace(POLICY, renewal=Renewal(expired_or_blocked=rule), block=Block(max_debt_cents=5000))
    answer = may_renew(LOAN, policy, NOW, staff=staff, borrower=borrower, blocks=blocks)
    assert why(answer) == (reason if refused else None)


def test_r2_eligibility_of_an_unknown_card_is_not_checked() -> None:
    assert why(may_renew(LOAN, POLICY, NOW, borrower=None)) is None


def test_r2_card_refusal_takes_precedence_over_loan_refusal() -> None:
    recalled = replace(LOAN, recalled_on=date(2017, 3, 5))
    assert why(may_renew(recalled, POLICY, NOW, borrower=replace(STUDENT, blocked=True))) is Reason.PATRON_BLOCKED

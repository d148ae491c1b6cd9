"""Eligibility of patrons, and suspension of the service."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import pytest

from hkall_gateway.rules.dates import stopped_with, suspended
from hkall_gateway.rules.eligibility import LocalBlocks, category_of, may_use
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import CATEGORIES, Block, Policy, Scope, Window
from hkall_gateway.rules.vocabulary import Borrower, Grant, Sensitive
from tests.rules.answers import at, why

POLICY = Policy()
STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category="undergraduates")


NOW = at("2017-03-01T10:00:00")


# ---- R1: suspension


@pytest.mark.parametrize(
    ("instant", "refused"),
    [
        ("2017-06-05T23:59:59+08:00", False),
        ("2017-06-06T00:00:00+08:00", True),
        ("2017-06-05T15:59:59+00:00", False),
        ("2017-06-05T16:00:00+00:00", True),
        ("2017-07-17T23:59:59+08:00", True),
        ("2017-07-17T15:59:59+00:00", True),
        ("2017-07-17T16:00:00+00:00", False),
        ("2017-07-18T00:00:00+08:00", False),
        ("2018-06-10T12:00:00+08:00", False),
    ],
)
def test_r1_requests_are_suspended_from_first_to_last_day(instant: str, refused: bool) -> None:
    answer = suspended("borrow_request", POLICY, datetime.fromisoformat(instant))
    assert why(answer) == (Reason.SERVICE_SUSPENDED if refused else None)


def test_r1_refusal_names_the_alternative() -> None:
    answer = suspended("borrow_request", POLICY, at("2017-06-10T12:00:00"))
    assert answer is not None
    assert answer.detail["message"] == "use Interlibrary Loans Services"
    assert answer.rule == "R1"


@pytest.mark.parametrize("scope", ["checkout", "renew", "lend_request"])
def test_r1_request_suspension_does_not_affect_other_services(scope: Scope) -> None:
    assert suspended(scope, POLICY, at("2017-06-10T12:00:00")) is None


@pytest.mark.parametrize("scope", ["borrow_request", "lend_request", "checkout", "renew"])
def test_r1_window_with_scope_all_suspends_every_service(scope: Scope) -> None:
    policy = replace(POLICY, service_windows=(Window(scope="all", start=date(2020, 1, 1), end=date(2020, 1, 2)),))
    assert suspended(scope, policy, at("2020-01-02T12:00:00")) is not None


def test_r1_last_day_of_a_non_inclusive_window_is_open() -> None:
    policy = replace(
        POLICY, service_windows=(Window(scope="renew", start=date(2020, 1, 1), end=date(2020, 1, 2), inclusive=False),)
    )
    assert [suspended("renew", policy, at(f"2020-01-0{d}T12:00:00")) is None for d in (1, 2)] == [False, True]


@pytest.mark.parametrize(("partner", "refused"), [("CUHK", True), ("PolyU", False), ("", False)])
def test_r1_partner_window_affects_only_that_partner(partner: str, refused: bool) -> None:
    policy = replace(
        POLICY, service_windows=(Window(scope="lend_request", start=date(2020, 1, 1), end=date(2020, 1, 9), partner="CUHK"),)
    )
    assert (suspended("lend_request", policy, at("2020-01-05T12:00:00"), partner) is not None) is refused


def test_r1_general_window_does_not_stop_requests_already_sent_to_a_partner() -> None:
    assert stopped_with("CUHK", "borrow_request", POLICY, at("2017-06-10T12:00:00")) is None


# ---- R2: eligibility


@pytest.mark.parametrize("key", [c.key for c in CATEGORIES if not c.study_mode_required])
def test_r2_every_published_category_may_use_the_service(key: str) -> None:
    assert may_use(replace(STUDENT, category=key), POLICY, NOW) == Grant(facts={"category": key})


@pytest.mark.parametrize("key", ["space_cdp", "space_community_college"])
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("full_time", None),
        ("Full-time", None),
        ("part_time", Reason.NOT_ELIGIBLE_PART_TIME_SPACE),
        ("part-time", Reason.NOT_ELIGIBLE_PART_TIME_SPACE),
        ("FT", None),
        ("PT", Reason.NOT_ELIGIBLE_PART_TIME_SPACE),
        ("", Reason.ELIGIBILITY_UNKNOWN),
        ("evening", Reason.ELIGIBILITY_UNKNOWN),
    ],
)
def test_r2_space_student_must_study_full_time(key: str, mode: str, reason: Reason | None) -> None:
    assert why(may_use(replace(STUDENT, category=key, study_mode=mode), POLICY, NOW)) == reason


def test_r2_part_time_tutor_is_staff_and_eligible() -> None:
    tutor = replace(STUDENT, category="space_non_academic_staff", study_mode="part_time")
    assert why(may_use(tutor, POLICY, NOW)) is None


@pytest.mark.parametrize("mode", ["", "evening"])
def test_r2_unknown_study_mode_is_accepted_if_the_policy_says_so(mode: str) -> None:
    policy = replace(POLICY, unknown_study_mode="allow")
    assert why(may_use(replace(STUDENT, category="space_cdp", study_mode=mode), policy, NOW)) is None


@pytest.mark.parametrize("category", ["alumni", "circle_of_friends", "julac_card", "", "Undergraduates"])
def test_r2_patron_without_a_category_is_not_eligible(category: str) -> None:
    assert why(may_use(replace(STUDENT, category=category), POLICY, NOW)) == Reason.NOT_ELIGIBLE


def test_r2_group_of_the_local_system_maps_to_its_category() -> None:
    mapped = tuple(replace(c, ils_groups=("PG1", "PG2")) if c.key == "postgraduates" else c for c in CATEGORIES)
    found = category_of(replace(STUDENT, category="PG2"), replace(POLICY, categories=mapped))
    assert found is not None
    assert found.key == "postgraduates"


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ("2017-03-31T15:59:59+00:00", None),
        ("2017-03-31T16:00:00+00:00", Reason.PATRON_EXPIRED),
    ],
)
def test_r2_card_is_valid_until_midnight_of_its_last_day(now: str, reason: Reason | None) -> None:
    borrower = replace(STUDENT, expires=date(2017, 3, 31))
    assert why(may_use(borrower, POLICY, datetime.fromisoformat(now))) == reason


def test_r2_block_of_the_local_system_is_honoured() -> None:
    assert why(may_use(replace(STUDENT, blocked=True), POLICY, NOW)) == Reason.PATRON_BLOCKED


DEBTOR = LocalBlocks(owed_cents=10_000_000, overdue_recalls=9, long_overdue=99)


def test_r2_thresholds_are_off_by_default() -> None:
    assert why(may_use(STUDENT, POLICY, NOW, DEBTOR)) is None


@pytest.mark.parametrize(
    ("block", "blocks", "refused"),
    [
        (Block(max_debt_cents=5000), LocalBlocks(owed_cents=5000), False),
        (Block(max_debt_cents=5000), LocalBlocks(owed_cents=5001), True),
        (Block(max_debt_cents=0), LocalBlocks(owed_cents=0), False),
        (Block(on_overdue_recall=True), LocalBlocks(overdue_recalls=0), False),
        (Block(on_overdue_recall=True), LocalBlocks(overdue_recalls=1), True),
        (Block(max_long_overdue=5), LocalBlocks(long_overdue=5), False),
        (Block(max_long_overdue=5), LocalBlocks(long_overdue=6), True),
    ],
)
def test_r2_only_patrons_above_a_threshold_are_refused(block: Block, blocks: LocalBlocks, refused: bool) -> None:
    reason = Reason.PATRON_OWES if blocks.owed_cents else Reason.PATRON_BLOCKED
    assert (why(may_use(STUDENT, replace(POLICY, block=block), NOW, blocks)) == reason) is refused

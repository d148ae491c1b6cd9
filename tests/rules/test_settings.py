"""The policy: its defaults match the published table, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hkall_gateway.rules.lifecycle import TABLE
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.positions import LENDING
from hkall_gateway.rules.settings import CATEGORIES, LABELS, ROLES, Category, Policy, _option, _required
from hkall_gateway.rules.vocabulary import Position
from tests.published import table as published


def parts() -> list[Any]:
    return [Policy, *{type(getattr(Policy(), f.name)) for f in dataclasses.fields(Policy)} - {tuple, dict, str}, Category]


@pytest.mark.parametrize("part", sorted(parts(), key=str), ids=lambda p: p.__name__)
def test_every_key_has_a_rule_and_a_description(part: Any) -> None:
    told = [(f.metadata.get("rule", "")[:1], f.metadata.get("doc", "")[-1:]) for f in dataclasses.fields(part)]
    assert set(told) == {("R", ".")}


def test_r18_r19_twelve_categories_have_their_published_quota_and_period() -> None:
    assert {c.key: (c.quota, c.loan_days) for c in CATEGORIES} == published.CATEGORIES


def test_r18_only_academic_staff_may_have_thirty_books() -> None:
    assert [c.key for c in CATEGORIES if c.quota >= 30] == ["academic_staff"]


def test_r2_only_the_two_space_student_groups_require_full_time_study() -> None:
    assert [c.key for c in CATEGORIES if c.study_mode_required] == ["space_cdp", "space_community_college"]


def test_r16_each_terminal_role_has_one_row() -> None:
    assert sorted(r.role for r in ROLES) == ["bookdrop", "counter", "lookup", "selfcheck"]


@pytest.mark.parametrize(
    ("role", "messages"),
    [
        ("counter", "01 09 11 15 17 19 23 25 29 35 37 63 65"),
        ("selfcheck", "09 11 15 17 23 29 35 63 65"),
        ("bookdrop", "09 17"),
        ("lookup", "17 23 35 63"),
    ],
)
def test_each_role_may_send_the_messages_in_the_published_table(role: str, messages: str) -> None:
    assert " ".join(sorted(messages_of(role, Policy()))) == messages
    assert messages_of(role, Policy(), takes_money=True) == messages_of(role, Policy()) | {"37"}


def test_unlisted_role_may_not_send_any_message() -> None:
    assert messages_of("kiosk", Policy()) == frozenset()


def test_r35_every_borrowing_position_has_a_label() -> None:
    lending_only = LENDING - {Position.RETURN_TRANSIT, Position.CLOSED}
    positions = {s.source for s in TABLE} | {s.target for s in TABLE}
    assert set(LABELS) == {p.value for p in positions - lending_only}


@pytest.mark.parametrize(
    ("position", "label"),
    [("REQUESTED", "HKALL REQUESTD"), ("IN_TRANSIT", "TRANSFERRED"), ("RECEIVED", "HKALL RECVD")],
)
def test_r35_published_labels_are_shown(position: str, label: str) -> None:
    assert Policy().labels[position] == label


def test_r30_renewal_letter_is_off_by_default() -> None:
    assert Policy().notices.renewal is False


def test_r15_pickup_expiry_letter_is_off_by_default() -> None:
    assert Policy().notices.pickup_expired is False


# fmt: off
RECOMMENDED: list[tuple[str, object]] = [
    ("quota.count_from", "request"), ("quota.release_at", "hku_checkin"), ("quota.unknown", "allow_and_flag"),
    ("quota.ils_counts_hkall", False),
    ("pickup.days", 5), ("pickup.count_notice_day", False), ("pickup.last_day_closed", "roll_forward"),
    ("pickup.late_pickup", "staff_only"),
    ("due.on_closure", "roll_forward"), ("due.cap_to_patron_expiry", False),
    ("renewal.max_count", 2), ("renewal.max_total_days", None), ("renewal.window_days", 7), ("renewal.base", "renewal_date"),
    ("renewal.overdue", "staff_only"), ("renewal.expired_or_blocked", "deny"),
    ("renewal.cap_to_lender_due", False), ("due.cap_to_lender_due", False),
    ("recall.min_use_days", 15), ("recall.return_days", 7), ("recall.before_pickup", "warn"),
    ("recall.restore_on_cancel", True),
    ("fine.overdue_cents", 200), ("fine.recalled_cents", 400), ("fine.recall_scope", "per_day"),
    ("fine.recalled_requires_shortening", False), ("fine.max_per_item_cents", None), ("fine.count_closed_days", True),
    ("notices.pickup", True), ("notices.recall", True), ("notices.overdue", True), ("notices.cancelled_final", True),
    ("notices.renewal", False), ("notices.pickup_expired", False), ("notices.each_decline", False),
    ("notices.postponed", True), ("notices.pickup_reminder", False),
    ("block.max_debt_cents", None), ("block.on_overdue_recall", False), ("block.max_long_overdue", None),
    ("materials", ("book",)), ("local_available_statuses", ("Available On Shelf",)),
    ("local_availability_unknown", "allow_and_flag"), ("unknown_study_mode", "deny"), ("duplicates", "deny"),
    ("bookdrop.policy", "refuse"), ("bookdrop.fine", "until_counter"),
    ("cancel.in_rerequested", True), ("return_.announce", "at_checkin"),
]
# fmt: on


@pytest.mark.parametrize(("key", "value"), RECOMMENDED, ids=[key for key, _ in RECOMMENDED])
def test_unpublished_settings_have_the_recommended_default(key: str, value: object) -> None:
    found: object = Policy()
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_key_has_default_rule_and_description() -> None:
    made = dataclasses.make_dataclass("Made", [("days", int, _option(7, "R29", "How long."))])
    assert made().days == 7
    assert dict(dataclasses.fields(made)[0].metadata) == _required("R29", "How long.") == {"rule": "R29", "doc": "How long."}

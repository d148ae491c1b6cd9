"""Every rule has a place in the code, or a reason why none is needed, and a test."""

from __future__ import annotations

from functools import cache

import pytest

from docs.generate.policy_keys import choices
from docs.generate.rules_page import rules_page
from hkall_gateway.rules.published_rules import PUBLISHED
from hkall_gateway.rules.reasons import Reason


@cache
def page() -> tuple[str, ...]:
    """Return the generated page, built once since it reads every file."""
    return tuple(rules_page().splitlines())


def columns(number: str) -> list[str]:
    (row,) = [line for line in page() if line.startswith(f"| {number} |")]
    return [cell.strip() for cell in row.split("|")[1:-1]]


def test_page_has_every_rule_from_1_to_45() -> None:
    assert {f"R{n}" for n in range(1, 46)} | {"R11a"} == PUBLISHED.keys()


def test_every_refusal_reason_cites_a_published_rule() -> None:
    assert {reason.rule for reason in Reason if reason.rule} <= PUBLISHED.keys()


@pytest.mark.parametrize("number", sorted(PUBLISHED))
def test_every_rule_has_a_test_or_a_scenario(number: str) -> None:
    assert columns(number)[4], f"{number} is cited by no test of the rules, the desk or the scenarios"


def test_published_page_test_is_listed_first() -> None:
    assert columns("R17")[4].startswith("`test_2_loans.py`")
    assert columns("R45")[4].startswith("`test_5_fines_and_losses.py`")


def test_every_policy_choice_has_one_row_with_a_sentence() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page() if line.startswith("| `")]
    assert len(rows) == len({row[0] for row in rows})
    assert {row[0].strip("`") for row in rows} == {one.key for one in choices() if not one.key.startswith("notices.")}
    assert all(row[1] in PUBLISHED and row[2] and row[3] and row[4].endswith(".") for row in rows), rows


@pytest.mark.parametrize(
    ("key", "default", "others"),
    [
        ("pickup.late_pickup", "staff_only", "deny, allow"),
        ("renewal.expired_or_blocked", "deny", "staff_only, allow"),
        ("renewal.cap_to_lender_due", "false", "true"),
        ("bookdrop.fine", "until_counter", "until_drop"),
    ],
)
def test_policy_choice_shows_default_and_alternatives(key: str, default: str, others: str) -> None:
    (row,) = [line for line in page() if line.startswith(f"| `{key}` |")]
    assert [cell.strip() for cell in row.split("|")[3:5]] == [default, others]

"""policy.toml: what a site can change, and what it cannot."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.config import ConfigErrors
from hkall_gateway.config.policy import load
from hkall_gateway.rules.settings import Fine, FineFree, Policy, Window


def read(folder: Path, text: str) -> Policy:
    file = folder / "policy.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        read(folder, text)
    return dict(caught.value.errors)


def test_published_rules_apply_without_a_file() -> None:
    assert load(None) == Policy()


def test_empty_policy_file_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Policy()


def test_only_keys_in_the_file_change(tmp_path: Path) -> None:
    policy = read(tmp_path, 'duplicates = "allow"\n[fine]\noverdue_cents = 500\nmax_per_item_cents = 9000\n')
    changed = dataclasses.replace(Fine(), overdue_cents=500, max_per_item_cents=9000)
    assert policy == dataclasses.replace(Policy(), duplicates="allow", fine=changed)


def test_policy_table_named_like_a_python_keyword_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, '[return]\nannounce = "on_dispatch"\n').return_.announce == "on_dispatch"


def test_category_is_changed_by_its_key_without_affecting_other_categories(tmp_path: Path) -> None:
    policy = read(tmp_path, '[[categories]]\nkey = "undergraduates"\nquota = 20\nils_groups = ["UG"]\n')
    rows = {row.key: row for row in policy.categories}
    expected = {row.key: row for row in Policy().categories}
    expected["undergraduates"] = dataclasses.replace(expected["undergraduates"], quota=20, ils_groups=("UG",))
    assert rows == expected


def test_new_category_is_appended(tmp_path: Path) -> None:
    text = '[[categories]]\nkey = "college"\nlabel = "International College"\nquota = 15\nloan_days = 15\ntotal_quota = 40\n'
    policy = read(tmp_path, text)
    assert [row.key for row in policy.categories[-2:]] == ["space_academic_staff", "college"]
    assert policy.categories[-1].total_quota == 40


def test_role_is_changed_by_its_name(tmp_path: Path) -> None:
    policy = read(tmp_path, '[[roles]]\nrole = "selfcheck"\ncheckout = true\n')
    assert [(row.role, row.checkout, row.checkin) for row in policy.roles] == [
        ("counter", True, True),
        ("selfcheck", True, False),
        ("bookdrop", False, False),
        ("lookup", False, False),
    ]


def test_service_windows_are_replaced_completely(tmp_path: Path) -> None:
    window = '[[service_windows]]\nscope = "renew"\nstart = 2026-12-24\nend = 2026-12-26\n'
    free = "[[fine_free]]\nstart = 2026-09-16\nend = 2026-09-17\nreason = 'typhoon'\n"
    policy = read(tmp_path, window + free)
    assert policy.service_windows == (Window(scope="renew", start=date(2026, 12, 24), end=date(2026, 12, 26)),)
    assert policy.fine_free == (FineFree(start=date(2026, 9, 16), end=date(2026, 9, 17), reason="typhoon"),)


def test_label_is_changed_without_affecting_other_labels(tmp_path: Path) -> None:
    labels = read(tmp_path, '[labels]\nRECEIVED = "READY"\n').labels
    assert labels == {**Policy().labels, "RECEIVED": "READY"}


WRONG = """
duplicate = "allow"
materials = "book"
unknown_study_mode = "perhaps"
[fine]
overdue_cents = -200
recalled_cents = "400"
[renewal]
max_count = 2.5
windows_days = 7
[notices]
renewal = true
[quota]
ils_counts_hkall = "false"
[[categories]]
quota = 15
[[categories]]
key = "undergraduate"
quota = 15
[[categories]]
key = "technicians"
quota = -1
total_quota = "unlimited"
study_mode_required = "half_time"
[[categories]]
key = "technicians"
[[roles]]
role = "locker"
[[service_windows]]
scope = "everything"
start = 2026-12-26
end = 2026-12-24
[[fine_free]]
start = 2026-12-26
[study_modes]
full_time = ["F.T.", "day"]
part_time = ["FT", "part_time"]
[labels]
RECIEVED = "READY"
ON_LOAN = 5
"""

SAID = {
    "duplicate": "is not a known key (did you mean `duplicates`?)",
    "materials": "must be a list, in square brackets",
    "unknown_study_mode": "must be deny or allow",
    "fine.overdue_cents": "must be at least 0",
    "fine.recalled_cents": "must be a whole number",
    "renewal.max_count": "must be a whole number",
    "renewal.windows_days": "is not a known key (did you mean `window_days`?)",
    "notices.renewal": "must be false",
    "quota.ils_counts_hkall": "must be true or false",
    "categories[0].key": "is missing",
    "categories[1].label": "is missing; 'undergraduate' is a new category (did you mean `undergraduates`?)",
    "categories[1].loan_days": "is missing; 'undergraduate' is a new category (did you mean `undergraduates`?)",
    "categories[2].quota": "must be at least 0",
    "categories[2].total_quota": "must be a whole number or must be from_ils",
    "categories[2].study_mode_required": 'must be "" or full_time',
    "categories[3].key": "'technicians' stands twice",
    "roles[0].role": "'locker' is not a row of roles",
    "service_windows[0].scope": "must be borrow_request, lend_request, checkout, renew or all",
    "service_windows[0].end": "is before the start",
    "fine_free[0].end": "is missing",
    "study_modes": "'ft' stands in full_time and in part_time",
    "labels.RECIEVED": "is not a known key (did you mean `RECEIVED`?)",
    "labels.ON_LOAN": "must be text, in quotation marks",
}


def test_all_errors_are_reported_with_their_paths(tmp_path: Path) -> None:
    assert faults(tmp_path, WRONG) == SAID


def test_missing_policy_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="no such file"):
        load(tmp_path / "policy.toml")


INTEGERS = [
    (table.name, field.name)
    for table in dataclasses.fields(Policy)
    if dataclasses.is_dataclass(made := getattr(Policy(), table.name))
    for field in dataclasses.fields(made)
    if "int" in str(field.type)
]


@pytest.mark.parametrize(("table", "key"), INTEGERS)
def test_every_number_accepts_any_non_negative_value(tmp_path: Path, table: str, key: str) -> None:
    name = table.rstrip("_")
    assert getattr(getattr(read(tmp_path, f"[{name}]\n{key} = 77\n"), table), key) == 77
    assert faults(tmp_path, f"[{name}]\n{key} = -1\n") == {f"{name}.{key}": "must be at least 0"}


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_changes_to_two_tables_are_independent(tmp_path_factory: pytest.TempPathFactory, days: int, cents: int) -> None:
    text = f"[pickup]\ndays = {days}\n[fine]\noverdue_cents = {cents}\n"
    policy = read(tmp_path_factory.getbasetemp(), text)
    assert (policy.pickup.days, policy.fine.overdue_cents) == (days, cents)
    assert dataclasses.replace(policy, pickup=Policy().pickup, fine=Policy().fine) == Policy()

"""The policy keys listed for each rule."""

from __future__ import annotations

from dataclasses import replace

from docs.generate.policy_keys import Choice, choices, names_of
from hkall_gateway.rules.published_rules import keys_of, meanings_of
from hkall_gateway.rules.settings import Policy, Renewal


def test_rule_lists_its_keys_in_file_order() -> None:
    assert keys_of(Policy(), ["R29"]) == {"renewal.window_days": 7, "renewal.overdue": "staff_only"}


def test_current_value_is_shown() -> None:
    site = replace(Policy(), renewal=replace(Renewal(), window_days=3))
    assert keys_of(site, ["R29"])["renewal.window_days"] == 3


def test_table_with_an_underscore_has_its_name_in_the_file() -> None:
    assert keys_of(Policy(), ["R16"])["return.announce"] == "at_checkin"


def test_rule_without_a_key_lists_none() -> None:
    assert keys_of(Policy(), ["no rule"]) == {}


def test_only_the_selected_rows_are_shown() -> None:
    due = {"due.on_closure", "due.cap_to_patron_expiry", "due.cap_to_lender_due"}
    assert keys_of(Policy(), ["R19"]).keys() == due | {"lending.institutional_days", "waits.lender_overdue_days"}
    assert keys_of(Policy(), ["R19"], ["academic_staff"])["categories[academic_staff].loan_days"] == 30


def test_windows_are_named_by_their_index() -> None:
    assert keys_of(Policy(), ["R1"])["service_windows[0].scope"] == "borrow_request"


def test_key_names_of_a_rule_include_row_keys() -> None:
    assert names_of(["R18"]) == ("categories.key", "categories.label", "categories.quota", "categories.label_zh")
    assert names_of(["R35"]) == ("labels",)


def test_choice_lists_its_default_and_alternatives() -> None:
    found = {one.key: one for one in choices()}
    wanted = Choice("renewal.overdue", "R29", "staff_only", ("deny", "allow"), "Who may renew an overdue loan.")
    assert found["renewal.overdue"] == wanted
    flag = found["pickup.count_notice_day"]
    assert (flag.rule, flag.default, flag.others) == ("R14", "false", ("true",))
    assert (found["duplicates"].default, found["duplicates"].others) == ("deny", ("allow",))
    assert (found["return.announce"].default, found["return.announce"].others) == ("at_checkin", ("on_dispatch",))


def test_only_keys_with_several_named_values_are_choices() -> None:
    found = {one.key for one in choices()}
    assert found.isdisjoint({"pickup.days", "materials", "notices.renewal", "labels", "fine.max_per_item_cents"})
    assert "notices.pickup" in found


def test_choices_are_in_file_order() -> None:
    found = [one.key for one in choices()]
    assert found[0] == "local_availability_unknown"
    assert found.index("quota.count_from") < found.index("pickup.count_notice_day") < found.index("lending.open")


def test_role_keys_are_listed_under_the_role_name() -> None:
    shown = keys_of(Policy(), ["R16"], ["bookdrop"])
    assert shown["roles[bookdrop].checkin"] is False
    assert not any("counter" in name for name in shown)


def test_labels_are_listed_without_values() -> None:
    assert keys_of(Policy(), ["R35"]) == {}
    assert "return.announce" in names_of(["R16"])


def test_key_has_its_meaning_and_that_of_its_table_or_the_name_of_its_row() -> None:
    found = meanings_of(Policy())
    assert found["duplicates"] == ("", "A second request for the same title by the same patron.")
    assert found["return.announce"][0] == "The return to the lender."
    assert found["service_windows[0].scope"] == ("Days on which a service is suspended.", "The suspended service.")
    assert found["roles[bookdrop].checkin"] == ("bookdrop", "Whether it takes them back.")
    assert found["categories[academic_staff].loan_days"][0] == "academic_staff"

"""Checks across several keys are reported with all other errors, even if other parts of the file are malformed."""

from __future__ import annotations

from typing import Any

import pytest

from hkall_gateway.config.crosschecks import find_cross_faults

# fmt: off
TWISTED: dict[str, dict[str, Any]] = {
    "a number for a table":       {"sip2": 5, "ils": 7, "library": 1, "partners": "x", "clients": 2.5},
    "a number for rows":          {"sip2": {"terminals": 5, "listeners": 6, "framings": 7, "dialects": 8}},
    "words for rows":             {"sip2": {"terminals": ["a"], "listeners": ["b"], "framings": ["c"], "dialects": ["d"]}},
    "rows for words":             {"sip2": {"terminals": [{"login": [1], "dialect": {}}], "dialects": [{"name": []}]}},
    "a login that is a list":     {"sip2": {"terminals": [{"login": ["a"]}], "listeners": [{"login": []}]}},
    "a connector that is a list": {"ils": {"connector": ["sip2"], "host": []}},
    "a variable that is a table": {"smtp": {"password_env": {}}, "logs": {"patron_key_env": [1]}},
}
# fmt: on


@pytest.mark.parametrize("name", TWISTED)
def test_malformed_file_does_not_break_cross_checks(name: str) -> None:
    assert list(find_cross_faults(TWISTED[name], {})) == []


def test_duplicate_and_unknown_names_are_reported_along_with_malformed_rows() -> None:
    sip2 = {
        "terminals": [5, {"login": "a", "dialect": "ours"}, {"login": "a", "dialect": "theirs"}],
        "dialects": [{"name": "ours"}, "nonsense", {"name": "ours"}, {"name": "standard"}],
        "listeners": 6,
    }
    told = dict(find_cross_faults({"sip2": sip2}, {}))
    assert told.keys() == {
        "sip2.terminals[2].login",
        "sip2.terminals[2].dialect",
        "sip2.dialects[2].name",
        "sip2.dialects[3].name",
    }
    assert told["sip2.dialects[2].name"] == "'ours' is taken"


def test_agencies_differing_in_case_are_duplicates() -> None:
    told = dict(find_cross_faults({"library": {"agency": "HKU"}, "partners": [{"agency": "hku"}]}, {}))
    assert told == {"partners[0].agency": "'hku' already stands at library.agency"}


def test_reserved_mail_channel_is_refused_as_a_partner_name() -> None:
    told = dict(find_cross_faults({"library": {"agency": "HKU"}, "partners": [{"agency": "Mail"}]}, {}))
    assert told == {"partners[0].agency": "'Mail' already stands at the line of all letters"}


@pytest.mark.parametrize("key", ["offline", "takes_money"])
@pytest.mark.parametrize("role", ["bookdrop", "lookup"])
def test_book_drop_and_look_up_terminals_cannot_take_payments_or_work_offline(role: str, key: str) -> None:
    told = dict(find_cross_faults({"sip2": {"terminals": [{"login": "a", "role": role, key: True}]}}, {}))
    assert told == {f"sip2.terminals[0].{key}": f"is for counter or selfcheck, not for '{role}'"}
    assert not list(find_cross_faults({"sip2": {"terminals": [{"login": "a", "role": role, key: False}]}}, {}))


def test_inconsistent_connection_and_body_limits_are_reported() -> None:
    tables = {
        "sip2": {"max_connections": 10, "max_unproven_per_address": 11},
        "ncip": {"max_body_bytes": 20_000_000},
    }
    assert dict(find_cross_faults(tables, {})) == {
        "sip2.max_unproven_per_address": "must be at most max_connections (10)",
        "ncip.max_unfinished_bytes": "must be at least max_body_bytes (20000000)",
    }


def test_terminal_timeout_must_exceed_the_answer_limit() -> None:
    makes = [{"name": "a", "timeout_tenths": 20}, {"name": "b", "timeout_tenths": 21}, {"name": "c", "timeout_tenths": 0}]
    told = dict(find_cross_faults({"sip2": {"dialects": makes}}, {}))
    assert told == {"sip2.dialects[0].timeout_tenths": "must be more than 20, which ils.message_timeout_s may take"}
    told = dict(find_cross_faults({"sip2": {"dialects": makes}, "ils": {"message_timeout_s": 2.5}}, {}))
    assert len(told) == 2


def test_timeout_of_the_local_system_must_be_below_our_answer_limit() -> None:
    wrong = {"sip2.answer_within_s": "must be more than 9, which ils.message_timeout_s may take"}
    assert dict(find_cross_faults({"ils": {"message_timeout_s": 9}}, {})) == wrong
    assert dict(find_cross_faults({"ils": {"message_timeout_s": 9}, "sip2": {"answer_within_s": 9.5}}, {})) == {}
    assert "sip2.answer_within_s" in dict(find_cross_faults({"sip2": {"answer_within_s": 1.5}}, {}))


def test_consistent_limits_are_accepted() -> None:
    tables = {
        "sip2": {"max_connections": 10, "max_unproven_per_address": 10},
        "ncip": {"max_body_bytes": 16_777_216, "max_connections": True},
    }
    assert dict(find_cross_faults(tables, {})) == {}


def test_reserved_local_system_channel_is_refused_as_a_partner_name() -> None:
    told = dict(find_cross_faults({"library": {"agency": "HKU"}, "partners": [{"agency": "Local-System"}]}, {}))
    assert told == {"partners[0].agency": "'Local-System' already stands at the line to our own system"}

"""The table of dialects."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hkall_gateway.sip2.codec import dialects
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.lines import Sip2Message, decode, encode
from hkall_gateway.sip2.codec.messages import SHAPES

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
DUE = datetime(2026, 4, 12, 15, 59, 59, tzinfo=UTC)


def test_no_dialect_stands_in_two_rows() -> None:
    assert len(DIALECTS) == len(dialects._ROWS)


def test_the_names_that_a_configuration_may_use_are_there() -> None:
    assert {"standard", "cp850", "latin-1", "ascii-stripped", "big5"} <= DIALECTS.keys()


def test_no_two_dialects_differ_in_name_only() -> None:
    from dataclasses import replace

    assert len({replace(row, name="") for row in DIALECTS.values()}) == len(DIALECTS)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_row_is_sound(name: str) -> None:
    row = DIALECTS[name]
    assert row.terminator in (b"\r", b"\r\n")
    assert len(row.delimiter.encode("ascii")) == 1
    assert row.max_line > 0
    assert all(TAGS[tag].extension for tag in row.extensions)
    assert row.hidden <= TAGS.keys()


@pytest.mark.parametrize("name", DIALECTS)
def test_a_login_is_understood_in_every_dialect(name: str) -> None:
    row = DIALECTS[name]
    login = Sip2Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0", "CN": "counter-1", "CO": "x"}, "1", checked=True)
    assert decode(encode(login, row), row) == login


def test_no_dialect_discloses_a_birth_date() -> None:
    assert not any("PB" in row.extensions for row in DIALECTS.values())


def test_a_dialect_cannot_be_changed_in_flight(standard: Sip2Dialect) -> None:
    with pytest.raises(FrozenInstanceError):
        standard.encoding = "cp850"  # type: ignore[misc]


def test_the_due_date_is_a_date18_unless_the_dialect_has_a_pattern(standard: Sip2Dialect) -> None:
    assert standard.due_text(DUE, HONG_KONG) == "20260412    235959"


def test_the_due_date_follows_the_pattern_of_the_dialect() -> None:
    assert DIALECTS["iso-due"].due_text(DUE, HONG_KONG) == "2026-04-12"


def test_a_make_keeps_its_own_ways_on_a_line_that_is_framed_otherwise() -> None:
    there = DIALECTS["counter"].framed_as(DIALECTS["big5"])
    assert (there.encoding, there.name, there.extensions) == ("big5hkscs", "counter", DIALECTS["counter"].extensions)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda row: row.name)
def test_what_is_hidden_is_an_optional_tag_and_what_is_withheld_a_request(dialect: Sip2Dialect) -> None:
    optional = {tag for shape in SHAPES.values() for tag in shape.optional}
    assert dialect.hidden <= optional
    assert all(SHAPES[code].reply for code in dialect.withheld)

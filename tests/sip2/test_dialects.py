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


def test_dialect_names_are_unique() -> None:
    assert len(DIALECTS) == len(dialects._ROWS)


def test_dialects_named_in_the_documentation_exist() -> None:
    assert {"standard", "cp850", "latin-1", "ascii-stripped", "big5"} <= DIALECTS.keys()


def test_no_two_dialects_are_equal_apart_from_their_names() -> None:
    from dataclasses import replace

    assert len({replace(row, name="") for row in DIALECTS.values()}) == len(DIALECTS)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_valid(name: str) -> None:
    row = DIALECTS[name]
    assert row.terminator in (b"\r", b"\r\n")
    assert len(row.delimiter.encode("ascii")) == 1
    assert row.max_line > 0
    assert all(TAGS[tag].extension for tag in row.extensions)
    assert row.hidden <= TAGS.keys()


@pytest.mark.parametrize("name", DIALECTS)
def test_login_can_be_decoded_in_every_dialect(name: str) -> None:
    row = DIALECTS[name]
    login = Sip2Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0", "CN": "counter-1", "CO": "x"}, "1", checked=True)
    assert decode(encode(login, row), row) == login


def test_no_dialect_discloses_a_birth_date() -> None:
    assert not any("PB" in row.extensions for row in DIALECTS.values())


def test_dialect_is_immutable(standard: Sip2Dialect) -> None:
    with pytest.raises(FrozenInstanceError):
        standard.encoding = "cp850"  # type: ignore[misc]


def test_due_date_is_in_the_18_character_format_unless_the_dialect_has_a_pattern(standard: Sip2Dialect) -> None:
    assert standard.due_text(DUE, HONG_KONG) == "20260412    235959"


def test_due_date_follows_the_dialect_pattern() -> None:
    assert DIALECTS["iso-due"].due_text(DUE, HONG_KONG) == "2026-04-12"


def test_dialect_with_another_framing_keeps_its_other_fields() -> None:
    there = DIALECTS["counter"].framed_as(DIALECTS["big5"])
    assert (there.encoding, there.name, there.extensions) == ("big5hkscs", "counter", DIALECTS["counter"].extensions)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda row: row.name)
def test_only_optional_fields_can_be_hidden_and_only_requests_withheld(dialect: Sip2Dialect) -> None:
    optional = {tag for shape in SHAPES.values() for tag in shape.optional}
    assert dialect.hidden <= optional
    assert all(SHAPES[code].reply for code in dialect.withheld)

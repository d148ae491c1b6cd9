"""The table of tags, the kinds of value, and SIP2 dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.sip2.codec.fields import KINDS, LONGEST, NEAREST, TAGS, clean_value, date18, parse_date18, split_into_fields
from hkall_gateway.sip2.codec.messages import PARTS, SHAPES

HONG_KONG = ZoneInfo("Asia/Hong_Kong")


def test_every_tag_is_keyed_by_its_field_code() -> None:
    assert all(key == row.tag and len(key) == 2 and key.isupper() for key, row in TAGS.items())


def test_table_has_the_59_standard_fields() -> None:
    assert sum(not row.extension for row in TAGS.values()) == 59


def test_table_matches_the_schema(schema: dict[str, Any]) -> None:
    ours = {
        row.tag: {"name": row.name, "max": row.width or LONGEST, "fixed": row.width > 0, "repeatable": row.repeats}
        for row in TAGS.values()
        if not row.extension
    }
    assert ours == schema["fields"]


def test_every_standard_tag_is_used_by_a_message() -> None:
    used = {tag for shape in SHAPES.values() for tag in shape.required + shape.optional}
    assert used == {tag for tag, row in TAGS.items() if not row.extension} - {"AY", "AZ"}


def test_every_kind_is_used() -> None:
    assert {row.kind for row in TAGS.values()} | {part.kind for part in PARTS.values()} == KINDS.keys()


def test_tag_has_a_width_when_its_kind_requires_one() -> None:
    assert all(bool(row.width) == (row.kind not in ("text", "barcode")) for row in TAGS.values())


def test_repeatable_tags_are_text() -> None:
    assert {row.kind for row in TAGS.values() if row.repeats} == {"text"}


def test_every_password_is_secret() -> None:
    """Every field that SIP2 calls a password, except the flag that says whether one was valid."""
    named = {row.tag for row in TAGS.values() if "password" in row.name} - {"CQ"}
    assert named == {"AC", "AD", "CO"} == {row.tag for row in TAGS.values() if row.secret}


def test_identifying_fields_are_personal() -> None:
    assert {row.tag for row in TAGS.values() if row.personal} == {"AA", "AE", "BD", "BE", "BF", "CY", "DA", "PB"}


@pytest.mark.parametrize(
    ("kind", "width", "value", "written"),
    [
        ("text", 0, " Dune ", " Dune "),
        ("barcode", 0, " I1 ", "I1"),
        ("flag", 1, "Y", "Y"),
        ("flag", 1, "U", "U"),
        ("flag", 1, "", "N"),
        ("flag", 1, "true", "N"),
        ("bit", 1, "1", "1"),
        ("bit", 1, "", "0"),
        ("marks", 4, "YxY", "Y Y "),
        ("digits", 4, "7", "0007"),
        ("digits", 4, "10000", "9999"),
        ("digits", 4, "0000012", "0012"),
        ("digits", 4, "", "0000"),
        ("digits", 4, "-1", "0000"),
        ("digits", 4, "²", "0000"),
        ("digits", 4, "9" * 9000, "9999"),
        ("code", 3, "HKD", "HKD"),
        ("code", 3, "$", "$  "),
        ("code", 3, "é元x", "  x"),
        ("date18", 18, "20260329    101500", "20260329    101500"),
        ("date18", 18, "", " " * 18),
    ],
)
def test_value_is_formatted_by_its_kind(kind: str, width: int, value: str, written: str) -> None:
    assert KINDS[kind].emit(value, width) == written


@given(kind=st.sampled_from(sorted(set(KINDS) - {"text", "barcode"})), value=st.text())
def test_fixed_width_value_is_always_written_at_its_width(kind: str, value: str) -> None:
    width = 1 if kind in ("flag", "bit") else 7
    assert len(KINDS[kind].emit(value, width)) == width


@pytest.mark.parametrize("encoding", ["utf-8", "cp850", "latin-1", "ascii", "big5hkscs"])
@given(value=st.text())
def test_cleaned_value_cannot_break_the_message_frame(encoding: str, value: str) -> None:
    sent = clean_value(value, encoding, "|")
    assert sent.encode(encoding).decode(encoding) == sent
    assert not set(sent) & set("|\r\n\0\x85\u2028")


@pytest.mark.parametrize(
    ("value", "encoding", "sent"),
    [
        ("cáliz", "ascii", "caliz"),
        ("cáliz", "cp850", "cáliz"),
        ("ca\u0301liz", "cp850", "cáliz"),
        ("“Große” – œuvre", "ascii", '"Grosse" - oeuvre'),
        ("紅樓夢", "latin-1", "???"),
        ("紅樓夢", "big5hkscs", "紅樓夢"),
        ("C1 紅樓夢 / Hong lou meng", "latin-1", "C1 Hong lou meng"),
        ("Why? / 紅樓夢", "latin-1", "Why? / ???"),
        ("#7 C1 紅樓夢 / Hong lou meng HKD 2.00", "ascii", "#7 C1 Hong lou meng HKD 2.00"),
        ("Café / Our café", "ascii", "Cafe / Our cafe"),
        ("Python 入門 / Python ru men", "ascii", "Python ru men"),
        ("Война и мир / Vojna i mir / t. 1", "ascii", "Vojna i mir / t. 1"),
        ("三國 / 演義 / San guo / yan yi", "ascii", "San guo / yan yi"),
        ("The α factor / a study", "ascii", "The ? factor / a study"),
        ("The α / a study", "ascii", "The ? / a study"),
        ("On α / β / a study", "ascii", "On ? / ? / a study"),
        ("C1 The αβ factor / a study", "ascii", "C1 The ?? factor / a study"),
        ("紅樓夢 / ", "ascii", "??? / "),
        ("a｜b", "ascii", "a b"),
        ("a|b\r\nc\0d", "utf-8", "a b  c d"),
        ("\ud800", "utf-8", "?"),
    ],
)
def test_unsupported_characters_become_their_nearest_equivalent(value: str, encoding: str, sent: str) -> None:
    assert clean_value(value, encoding, "|") == sent


def test_nearest_equivalent_is_ascii() -> None:
    assert all(plain.isascii() and plain.isprintable() for plain in NEAREST.values())


def test_text_is_truncated_at_255_characters() -> None:
    assert [len(piece) for piece in split_into_fields("x" * 600)] == [255, 255, 90]


def test_truncation_keeps_an_accent_with_its_letter() -> None:
    assert split_into_fields("x" * 254 + "e\u0301") == ["x" * 254, "e\u0301"]


@given(st.text(max_size=900))
def test_chunks_together_equal_the_text(text: str) -> None:
    pieces = split_into_fields(text)
    assert "".join(pieces) == text
    assert all(len(piece) <= LONGEST for piece in pieces)


def test_timestamp_is_written_in_local_time_with_four_blanks() -> None:
    assert date18(datetime(2026, 3, 29, 2, 15, 7, tzinfo=UTC), HONG_KONG) == "20260329    101507"


def test_naive_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        date18(datetime(2026, 3, 29), HONG_KONG)  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    ("text", "hour_utc"),
    [
        ("20260329    101500", 2),
        ("20260329   Z101500", 10),
        ("202603290000101500", 10),
        ("20260329   Q101500", 14),
        ("20260329+080101500", 2),
        ("202603290800101500", 2),
        ("20260329-0300101500", 13),
        ("20260329 -03101500", 13),
        ("20260329 HKT101500", 2),
        ("202603299999101500", 2),
    ],
)
def test_date_is_parsed_in_any_time_zone(text: str, hour_utc: int) -> None:
    assert parse_date18(text, HONG_KONG) == datetime(2026, 3, 29, hour_utc, 15, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", " " * 18, "0" * 18, "20260230    101500", "20260329", "20260329    250000", "x" * 18])
def test_invalid_date_parses_to_none(text: str) -> None:
    assert parse_date18(text, HONG_KONG) is None


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2199, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_written_date_round_trips_to_the_second(when: datetime) -> None:
    assert parse_date18(date18(when, HONG_KONG), HONG_KONG) == when.replace(microsecond=0)


def test_far_future_date_is_written_to_the_second_without_float_rounding() -> None:
    assert date18(datetime(6326, 1, 1, 0, 0, 0, 999985, tzinfo=UTC), HONG_KONG) == "63260101    080000"


@pytest.mark.parametrize("year", ["0001", "1899", "2200", "9999"])
def test_unrepresentable_year_parses_to_none(year: str) -> None:
    assert parse_date18(f"{year}0601    120000", HONG_KONG) is None


@given(st.text(alphabet="0123456789+- ZQ", max_size=20), st.integers(-14, 14))
def test_date_parsing_never_raises(text: str, hours: int) -> None:
    found = parse_date18(text, timezone(timedelta(hours=hours)))
    assert found is None or found.tzinfo is UTC

"""Lines and messages: every message in both directions, tolerated and refused input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import TAGS, clean_value
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, checksum, decode, encode
from hkall_gateway.sip2.codec.messages import SHAPES, FixedField

STANDARD = DIALECTS["standard"]
DATE = "20260329    101500"


def _sealed(text: str) -> bytes:
    data = text.encode() + b"AZ"
    return data + checksum(data)


def _refused(line: bytes, dialect: Sip2Dialect = STANDARD) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        decode(line, dialect)
    return caught.value


def _understood(line: bytes, dialect: Sip2Dialect) -> str:
    """Return the message code, or the reason why the message is bad."""
    try:
        return decode(line, dialect).code
    except BadMessage as bad:
        return bad.why


# fmt: off
FIXED = {
    "flag":   lambda width: st.sampled_from("YNU"),
    "bit":    lambda width: st.sampled_from("01"),
    "digits": lambda width: st.text("0123456789", min_size=width, max_size=width),
    "marks":  lambda width: st.text("Y ", min_size=width, max_size=width),
    "code":   lambda width: st.text("ABCXYZ+-*.0123456789 ", min_size=width, max_size=width),
    "date18": lambda width: st.one_of(st.just(" " * 18), st.datetimes().map(lambda d: f"{d.year:04}{d:%m%d    %H%M%S}")),
}
# fmt: on
WORDS = st.text(max_size=40).map(lambda text: clean_value(text, "utf-8", "|"))


def _values(tag: str) -> st.SearchStrategy[Value]:
    row = TAGS[tag]
    if row.width:
        return FIXED[row.kind](row.width)
    one = WORDS.map(str.strip) if row.kind == "barcode" else WORDS
    return st.lists(one, min_size=1, max_size=3).map(tuple) if row.repeats else one


def _fixed(part: FixedField) -> st.SearchStrategy[str]:
    return FIXED[part.kind](part.width)


@st.composite
def messages(draw: st.DrawFn, code: str) -> Sip2Message:
    """Return any valid message with this code, its tags in any order."""
    shape = SHAPES[code]
    chosen = draw(st.sets(st.sampled_from(shape.optional))) if shape.optional else set()
    tags = draw(st.permutations([*shape.required, *sorted(chosen)]))
    fields: dict[str, Value] = {part.name: draw(_fixed(part)) for part in shape.fixed}
    fields.update({tag: draw(_values(tag)) for tag in tags})
    if code in ("96", "97"):
        return Sip2Message(code, fields, checked=True)
    sequence = draw(st.one_of(st.none(), st.sampled_from("0123456789")))
    return Sip2Message(code, fields, sequence, checked=sequence is not None or draw(st.booleans()))


@pytest.mark.parametrize("code", SHAPES)
@given(data=st.data())
def test_message_round_trips(code: str, data: st.DataObject) -> None:
    message = data.draw(messages(code))
    line = encode(message, STANDARD)
    assert decode(line, STANDARD) == message
    assert list(decode(line, STANDARD).fields) == list(message.fields)


def test_canonical_line_round_trips(line: bytes, spoken: Sip2Dialect) -> None:
    # The fixtures have no 96 or 97 without AZ, although it is legal, since the standard dialect detects errors.
    assert encode(decode(line, spoken), spoken) == line + b"\r"


def test_fixture_has_all_fixed_fields_and_no_unknown_field(line: bytes, spoken: Sip2Dialect) -> None:
    message = decode(line, spoken)
    shape = SHAPES[message.code]
    assert [*message.fields][: len(shape.fixed)] == [part.name for part in shape.fixed]
    assert message.unknown == ()
    assert set(shape.required) <= message.fields.keys()


def test_trailing_delimiters_are_ignored(line: bytes, spoken: Sip2Dialect) -> None:
    assert decode(line + b"|||", spoken) == decode(line, spoken)


def test_leading_garbage_is_ignored(line: bytes, spoken: Sip2Dialect) -> None:
    assert decode(b"\0 \xff\xfb" + line, spoken) == decode(line, spoken)


def test_truncated_line_decodes_or_raises_bad_message(line: bytes, spoken: Sip2Dialect) -> None:
    for end in range(len(line)):
        assert _understood(line[:end], spoken) in (line[:2].decode(), "checksum", "unknown_command", "truncated")


def test_checksum_detects_a_flipped_bit_in_the_command(line: bytes, spoken: Sip2Dialect) -> None:
    sealed = line if decode(line, spoken).checked else _sealed(f"{line.decode()}AY1")
    garbled = sealed[:1] + bytes([sealed[1] ^ 1]) + sealed[2:]
    assert _refused(garbled, spoken).why == "checksum"


@given(line=st.binary(max_size=200), name=st.sampled_from(sorted(DIALECTS)))
def test_decoding_raises_only_bad_message(line: bytes, name: str) -> None:
    dialect = DIALECTS[name]
    try:
        message = decode(line, dialect)
    except BadMessage:
        return
    once = encode(message, dialect)
    assert encode(decode(once, dialect), dialect) == once


@given(code=st.sampled_from(sorted(SHAPES)), text=st.text(), name=st.sampled_from(sorted(DIALECTS)))
def test_field_value_cannot_break_its_line(code: str, text: str, name: str) -> None:
    dialect, shape = DIALECTS[name], SHAPES[code]
    names = [part.name for part in shape.fixed] + list(shape.required + shape.optional)
    line = encode(Sip2Message(code, dict.fromkeys(names, text), "1"), dialect)
    assert line.endswith(dialect.terminator)
    assert not set(line[: -len(dialect.terminator)]) & set(b"\r\n\0")
    assert set(decode(line, dialect).fields) == set(names) - set(dialect.hidden)


def test_missing_password_fields_are_accepted(standard: Sip2Dialect) -> None:
    message = decode(f"23001{DATE}AOHKU|AAP1|".encode(), standard)
    assert (message.get("AC"), message.all("AD")) == ("", ())


def test_first_of_two_scalar_fields_is_used(standard: Sip2Dialect) -> None:
    assert decode(f"35{DATE}AOHKU|AAP1|AAP2|".encode(), standard).fields["AA"] == "P1"


def test_repeated_field_is_a_tuple_in_line_order(standard: Sip2Dialect) -> None:
    line = f"36Y{DATE}AOHKU|AF1|AAP1|AF2|".encode()
    assert decode(line, standard).all("AF") == ("1", "2")
    assert decode(line, standard).get("AF") == "1"


def test_unknown_fields_are_ignored_and_reported(standard: Sip2Dialect) -> None:
    message = decode(f"35{DATE}AOHKU|ZZwhat|AAP1|Q|".encode(), standard)
    assert message.unknown == ("ZZ", "Q")
    assert (message.get("AA"), message.get("ZZ")) == ("P1", "")


@pytest.mark.parametrize("date", [" " * 18, "202603290000101500", "0" * 18, "20260329 -03101500"])
def test_invalid_dates_are_kept_as_text(date: str, standard: Sip2Dialect) -> None:
    message = decode(f"11YN{date}{' ' * 18}AOHKU|AAP1|ABI1|AC|".encode(), standard)
    assert (message.get("transaction_date"), message.get("nb_due_date")) == (date, " " * 18)


def test_blanks_around_a_barcode_are_stripped(standard: Sip2Dialect) -> None:
    assert decode(f"17{DATE}AOHKU|AB I1  |".encode(), standard).get("AB") == "I1"


def test_bytes_outside_the_character_set_are_replaced(standard: Sip2Dialect) -> None:
    assert decode(f"17{DATE}AOHKU|ABI".encode() + b"\xff1|", standard).get("AB") == "I\ufffd1"


def test_control_characters_in_a_value_become_blanks(standard: Sip2Dialect) -> None:
    assert decode(f"17{DATE}AOHKU|ABI\x001\x02|".encode(), standard).get("AB") == "I 1"


def test_seventh_summary_flag_is_kept(standard: Sip2Dialect) -> None:
    assert decode(f"63001{DATE}{'      Y   '}AOHKU|AAP1|".encode(), standard).get("summary") == "      Y   "


@pytest.mark.parametrize("short", [f"11YN{DATE}", f"11YN{DATE}|AOHKU|AAP1|ABI1|AC|"], ids=["at its end", "by a field"])
def test_line_with_a_short_fixed_part_counts_as_truncated(short: str, standard: Sip2Dialect) -> None:
    bad = _refused(short.encode(), standard)
    assert (bad.why, bad.code) == ("truncated", "11")


def test_truncated_message_keeps_its_readable_fields(standard: Sip2Dialect) -> None:
    saved = _refused(_sealed("11YN2026|AOHKU|AAP1|ABI1|AC|AY7"), standard).message
    assert saved == Sip2Message("11", {"AO": "HKU", "AA": "P1", "AB": "I1", "AC": ""}, "7", checked=True)


@pytest.mark.parametrize(("strange", "code"), [(b"88whatever|", "88"), (b"GET / HTTP/1.1", "GE"), (b"", None), (b"|||", None)])
def test_command_outside_sip2_is_unknown(strange: bytes, code: str | None, standard: Sip2Dialect) -> None:
    bad = _refused(strange, standard)
    assert (bad.why, bad.code) == ("unknown_command", code)


def test_line_over_the_limit_is_too_long(standard: Sip2Dialect) -> None:
    assert _refused(b"17" + b"x" * 65535, standard).why == "too_long"


def test_line_at_the_limit_is_read(standard: Sip2Dialect) -> None:
    line = f"17{DATE}AOHKU|AB".encode().ljust(65536, b"x")
    assert len(decode(line, standard).get("AB")) == 65536 - 28


def test_two_byte_character_may_contain_the_delimiter() -> None:
    big5 = DIALECTS["big5"]
    line = f"17{DATE}AOHKU|AJ教育學|ABI1|".encode(big5.encoding)
    assert line.count(b"|") > 3
    assert (decode(line, big5).get("AJ"), decode(line, big5).get("AB")) == ("教育學", "I1")

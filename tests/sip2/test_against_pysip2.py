"""Differential tests: we decode and re-encode what pysip2 encodes, byte by byte, and pysip2 decodes what we encode.

Every intended difference has a test below with the reason; there may be no other difference.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pysip2.codec import DecodedMessage, calculate_checksum, decode_message, encode_message
from pysip2.errors import SIP2ChecksumError, SIP2CodecError
from pysip2.models import MESSAGE_SPECS_BY_ID, FieldSpec, MessageSpec

from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.lines import Sip2Message, checksum, decode, encode
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES, FixedField
from tests.examples import example_count

STANDARD = DIALECTS["standard"]
CODES = sorted(SHAPES)
DATE = "20170301    100000"

VALUES: dict[str, st.SearchStrategy[str]] = {
    "flag": st.sampled_from("YN"),
    "bit": st.sampled_from("01"),
    "date18": st.sampled_from([DATE, "20991231   Z235959"]),
}
"""Sample values by kind; other kinds use digits of their width."""

CHOICES = {
    "hold_mode": "+-*",
    "status_code": "012",
    "currency_type": ["HKD", "EUR"],
    "protocol_version": ["2.00", "1.00"],
    "item_properties_ok": "01",
    "uid_algorithm": "01",
    "pwd_algorithm": "01",
    "BH": ["HKD", "EUR"],
    "BX": ["Y" * 16, "YN" * 8],
    "BY": "123456789",
}
TEXT = st.text(st.sampled_from("abcXYZ 0189.,-'éß書還"), max_size=40)


def _fixed(part: FixedField) -> st.SearchStrategy[str]:
    if part.name in CHOICES:
        return st.sampled_from(CHOICES[part.name])
    if part.kind == "marks":
        return st.text("Y ", min_size=part.width, max_size=part.width)
    digits = st.text("0123456789", min_size=part.width, max_size=part.width)
    return VALUES.get(part.kind, digits)


def _tagged(tag: str) -> st.SearchStrategy[str]:
    row = TAGS[tag]
    if tag in CHOICES:
        return st.sampled_from(CHOICES[tag])
    if row.kind == "barcode":
        return TEXT.map(str.strip)
    if row.kind in VALUES:
        return VALUES[row.kind]
    return st.text("0123456789", min_size=row.width, max_size=row.width) if row.width else TEXT


def _theirs(spec: MessageSpec, fixed: dict[str, str], tags: dict[str, Any]) -> dict[str, Any]:
    """Return our values under pysip2's names: fixed fields by position, tags by their letters."""
    order = iter(SHAPES[spec.command_id].fixed)
    return {f.name: tags[f.field_id] if f.field_id else fixed[next(order).name] for f in spec.fields if _given(f, tags)}


def _given(field: FieldSpec, tags: dict[str, Any]) -> bool:
    return field.field_id is None or field.field_id in tags


@st.composite
def _values(draw: st.DrawFn, code: str) -> tuple[dict[str, str], dict[str, Any]]:
    shape = SHAPES[code]
    fixed = {part.name: draw(_fixed(part)) for part in shape.fixed}
    spec_order = [f.field_id for f in MESSAGE_SPECS_BY_ID[code].fields if f.field_id]
    wanted = [tag for tag in spec_order if tag in shape.required or draw(st.booleans())]
    tags: dict[str, Any] = {}
    for tag in wanted:
        if TAGS[tag].repeats:
            tags[tag] = tuple(draw(st.lists(_tagged(tag), min_size=1, max_size=3)))
        else:
            tags[tag] = draw(_tagged(tag))
    return fixed, tags


def _sequence(code: str) -> str | None:
    return None if code in (RESEND, GARBLED) else "3"


def test_pysip2_has_the_same_messages_and_parts() -> None:
    assert set(MESSAGE_SPECS_BY_ID) == set(SHAPES)
    for code, spec in MESSAGE_SPECS_BY_ID.items():
        theirs = [(f.width, f.field_id, f.required, f.repeatable) for f in spec.fields]
        shape = SHAPES[code]
        tags = sorted((tag, tag in shape.required, TAGS[tag].repeats) for tag in (*shape.required, *shape.optional))
        assert [width for width, tag, _, _ in theirs if tag is None] == [part.width for part in shape.fixed]
        assert sorted((t, required, repeats) for _, t, required, repeats in theirs if t) == tags


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=example_count(25), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_message_encoded_by_pysip2_is_decoded_and_encoded_identically(code: str, data: st.DataObject) -> None:
    fixed, tags = data.draw(_values(code))
    spec = MESSAGE_SPECS_BY_ID[code]
    theirs = spec.struct_type(**_theirs(spec, fixed, tags))
    frame = encode_message(theirs, sequence_number=3, checksum=True, encoding="utf-8")
    ours = decode(frame, STANDARD)
    assert (ours.code, ours.sequence, ours.checked, ours.unknown) == (code, _sequence(code), True, ())
    assert dict(ours.fields) == {**fixed, **tags}
    assert encode(ours, STANDARD) == frame


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=example_count(25), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_our_message_is_decoded_by_pysip2(code: str, data: st.DataObject) -> None:
    fixed, tags = data.draw(_values(code))
    line = encode(Sip2Message(code, {**fixed, **tags}, _sequence(code), checked=True), STANDARD)
    theirs: DecodedMessage[Any] = decode_message(line, encoding="utf-8")
    spec = MESSAGE_SPECS_BY_ID[code]
    assert theirs.message == spec.struct_type(**_theirs(spec, fixed, tags))
    assert theirs.sequence_number == (None if _sequence(code) is None else 3)


@given(st.binary(max_size=600))
def test_checksum_equals_the_checksum_of_pysip2(data: bytes) -> None:
    assert calculate_checksum(data).encode() == checksum(data)


# ---- intended differences, with their reasons


def _refused(frame: bytes) -> bool:
    try:
        decode_message(frame, encoding="utf-8")
    except (SIP2CodecError, SIP2ChecksumError):
        return True
    return False


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (f"11YN{DATE}{'':18}AOHKU|AAP1|ABC1|AC|\r", "nb due date is blank on every ordinary checkout"),
        (f"35{'':18}AOHKU|AAP1|\r", "terminals without a clock send a blank transaction date"),
        ("3520170301    100000AOHKU|AAP1\r".replace("    ", "0000"), "Palace's client writes its zone as 0000"),
        (f"23000{DATE}AOHKU|AAP1|\r", "many a terminal leaves AC and AD out"),
        (f"35{DATE}AOHKU|AAP1\r", "the last delimiter is often missing"),
        (f"35{DATE}AOHKU|AAP1|AAP2|\r", "Koha and atz take the first of two"),
        (f"35{DATE}AOHKU|AAP\0001|\r", "a NUL becomes a blank"),
        (f"35{DATE}AOHKU|AAP1|\r\n", "CR LF ends a line as well as CR"),
    ],
)
def test_messages_seen_in_practice_are_decoded_although_pysip2_refuses_them(frame: str, why: str) -> None:
    ours = decode(frame.encode(), STANDARD)
    assert ours.get("AA").startswith("P"), why
    assert _refused(frame.encode()), why


def test_byte_outside_the_character_set_is_replaced_although_pysip2_refuses_it() -> None:
    frame = f"35{DATE}AOHKU|AAP".encode() + b"\xff|\r"
    assert decode(frame, STANDARD).get("AA") == "P\ufffd"
    with pytest.raises(UnicodeDecodeError):
        decode_message(frame, encoding="utf-8")


def test_checksum_over_code_points_is_accepted_though_pysip2_refuses_it() -> None:
    body = f"35{DATE}AOHKU|AA書|AY1AZ"
    frame = f"{body}{-sum(map(ord, body)) & 0xFFFF:04X}\r".encode()
    assert decode(frame, STANDARD).code_point_sum
    assert _refused(frame)


def test_delimiter_in_a_value_is_removed_although_pysip2_refuses_it() -> None:
    spec = MESSAGE_SPECS_BY_ID["36"]
    values = {"end_session": "Y", "transaction_date": DATE, "institution_id": "HKU", "patron_identifier": "P|1"}
    with pytest.raises(SIP2CodecError):
        encode_message(spec.struct_type(**values), encoding="utf-8")
    line = encode(Sip2Message("36", {"end_session": "Y", "transaction_date": DATE, "AO": "HKU", "AA": "P|1"}), STANDARD)
    assert line == f"36Y{DATE}AOHKU|AAP 1|\r".encode()


def test_field_limit_counts_characters_not_bytes() -> None:
    line = encode(Sip2Message("36", {"end_session": "Y", "transaction_date": DATE, "AO": "書" * 300, "AA": ""}), STANDARD)
    assert decode(line, STANDARD).get("AO") == "書" * 255
    assert not _refused(line)  # pysip2 checks this limit only when it encodes


def test_blanks_around_a_barcode_are_stripped() -> None:
    frame = f"35{DATE}AOHKU|AA P1 |\r".encode()
    theirs: Any = decode_message(frame, encoding="utf-8").message
    assert (decode(frame, STANDARD).get("AA"), theirs.patron_identifier) == ("P1", " P1 ")

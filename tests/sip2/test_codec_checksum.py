"""The end of a message: sequence number (AY), checksum (AZ), and its verification."""

from __future__ import annotations

import pytest

from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import BadMessage, checksum, decode

DATE = "20260329    101500"
CALIZ = "1803020120260329    203000AB660|AJHarry Potter y el cáliz de fuego|AY2AZ"


def _sealed(text: str, encoding: str = "utf-8") -> bytes:
    data = text.encode(encoding) + b"AZ"
    return data + checksum(data)


def _refused(line: bytes, dialect: Sip2Dialect) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        decode(line, dialect)
    return caught.value


@pytest.mark.parametrize(
    ("data", "encoding", "digits"),
    [
        ("97AZ", "ascii", b"FEF5"),
        ("96AZ", "ascii", b"FEF6"),
        ("9900302.00AY1AZ", "ascii", b"FCA5"),
        ("941AY0AZ", "ascii", b"FDFD"),
        ("940AY0AZ", "ascii", b"FDFE"),
        ("9300CNLoginUserID|COLoginPassword|CPLocationCode|AY5AZ", "ascii", b"EC7B"),
        ("2300119960212    100239AOid_21|AA104000000105|AC|AD|AY2AZ", "ascii", b"F271"),
        (CALIZ, "utf-8", b"EAA8"),
        (CALIZ, "cp850", b"EB6C"),
        (CALIZ, "latin-1", b"EB2B"),
    ],
)
def test_checksum_is_the_negated_sum_of_bytes(data: str, encoding: str, digits: bytes) -> None:
    assert checksum(data.encode(encoding)) == digits


def test_checksum_keeps_its_leading_zeros() -> None:
    # The checksum is 0x00FF, which would lack two digits without leading zeros.
    assert checksum(b"\xff" * 256 + b"\x01") == b"00FF"


@pytest.mark.parametrize("name", ["standard", "cp850", "latin-1"])
def test_checksum_is_computed_over_the_encoded_bytes(name: str) -> None:
    dialect = DIALECTS[name]
    message = decode(_sealed(CALIZ[:-2], dialect.encoding), dialect)
    assert message.get("AJ") == "Harry Potter y el cáliz de fuego"
    assert (message.checked, message.code_point_sum) == (True, False)


def test_checksum_over_code_points_is_accepted_but_marked(standard: Sip2Dialect) -> None:
    digits = b"%04X" % (-sum(map(ord, CALIZ)) & 0xFFFF)
    message = decode(CALIZ.encode() + digits, standard)
    assert (message.checked, message.code_point_sum) == (True, True)


def test_lower_case_hex_digits_are_accepted(standard: Sip2Dialect) -> None:
    assert decode(b"9900302.00AY1AZfca5", standard).checked


@pytest.mark.parametrize("tail", [b"AY1AZFCA6", b"AY1AZ", b"AY1AZFCA", b"AY1AZFCA5x", b"AY1AZ\xff\xff\xff\xff", b"AZ0000"])
def test_wrong_checksum_is_refused(tail: bytes, standard: Sip2Dialect) -> None:
    assert _refused(b"9900302.00" + tail, standard).why == "checksum"


def test_checksum_is_verified_before_the_command(standard: Sip2Dialect) -> None:
    """A garbled command must be reported as a checksum error, not as an unknown command."""
    assert _refused(b"8900302.00AY1AZFCA5", standard).why == "checksum"


def test_checksum_without_a_sequence_number_is_accepted(standard: Sip2Dialect) -> None:
    message = decode(_sealed("9900302.00"), standard)
    assert (message.checked, message.sequence) == (True, None)


def test_fixed_field_ending_in_ay_is_not_a_sequence_number(standard: Sip2Dialect) -> None:
    message = decode(_sealed("990030 AY1"), standard)
    assert (message.get("protocol_version"), message.sequence, message.checked) == (" AY1", None, True)


def test_sequence_number_without_a_checksum_is_accepted(standard: Sip2Dialect) -> None:
    message = decode(b"9900302.00AY4", standard)
    assert (message.checked, message.sequence) == (False, "4")


def test_sequence_number_and_checksum_may_be_followed_by_a_delimiter(standard: Sip2Dialect) -> None:
    line = _sealed(f"35{DATE}AOHKU|AAP1|AY3|") + b"|"
    assert decode(line, standard).sequence == "3"
    assert decode(line, standard).checked


def test_last_delimiter_may_be_missing(standard: Sip2Dialect) -> None:
    assert decode(f"35{DATE}AOHKU|AAP1".encode(), standard).get("AA") == "P1"


def test_last_delimiter_may_be_missing_before_the_sequence_number(standard: Sip2Dialect) -> None:
    message = decode(_sealed(f"35{DATE}AOHKU|AAP1AY3"), standard)
    assert (message.get("AA"), message.sequence, message.checked) == ("P1", "3", True)


@pytest.mark.parametrize("barcode", ["AZ1234", "PLAZA", "AY1AZ12", "AZ"])
def test_value_containing_az_is_not_a_checksum(barcode: str, standard: Sip2Dialect) -> None:
    message = decode(f"17{DATE}AOHKU|AB{barcode}|".encode(), standard)
    assert (message.get("AB"), message.checked) == (barcode, False)


def test_currency_code_azn_is_not_a_checksum(standard: Sip2Dialect) -> None:
    assert decode(f"37{DATE}0400AZNBV1|AOHKU|AAP1|".encode(), standard).get("currency_type") == "AZN"

"""Encoding messages: required fields, limits, extensions, secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message, decode, encode

DATE = "20260329    101500"
CHECKOUT = {"ok": "1", "renewal_ok": "N", "magnetic_media": "N", "desensitize": "Y", "transaction_date": DATE}


def test_required_fields_are_sent_empty_when_absent(standard: Sip2Dialect) -> None:
    assert encode(Sip2Message("12", CHECKOUT), standard) == f"121NNY{DATE}AO|AA|AB|AJ|AH|\r".encode()


def test_missing_flags_are_written_as_n(standard: Sip2Dialect) -> None:
    assert encode(Sip2Message("12"), standard).startswith(b"120NNN" + b" " * 18 + b"AO")


def test_tags_are_sent_in_the_order_given(standard: Sip2Dialect) -> None:
    message = Sip2Message("36", {"AF": ("a", "b"), "AA": "P1", "end_session": "Y", "AO": "HKU"})
    assert encode(message, standard).endswith(b"AFa|AFb|AAP1|AOHKU|\r")


def test_long_title_is_truncated_at_255_characters(standard: Sip2Dialect) -> None:
    line = encode(Sip2Message("12", {**CHECKOUT, "AJ": "紅" * 300}), standard)
    assert decode(line, standard).get("AJ") == "紅" * 255


def test_long_screen_message_continues_in_another_field(standard: Sip2Dialect) -> None:
    line = encode(Sip2Message("12", {**CHECKOUT, "AF": "x" * 300}), standard)
    assert decode(line, standard).all("AF") == ("x" * 255, "x" * 45)


def test_scalar_field_is_sent_once(standard: Sip2Dialect) -> None:
    assert b"AJDune|" in encode(Sip2Message("12", {**CHECKOUT, "AJ": ("Dune", "Emma")}), standard)
    assert b"Emma" not in encode(Sip2Message("12", {**CHECKOUT, "AJ": ("Dune", "Emma")}), standard)


def test_fixed_width_scalar_is_padded_or_truncated(standard: Sip2Dialect) -> None:
    assert encode(Sip2Message("64", {"BL": ("Y", "N"), "CQ": (), "CB": ("5",)}), standard).endswith(
        b"BLY|CQN|CB0005|AO|AA|AE|\r"
    )


def test_empty_list_is_not_sent(standard: Sip2Dialect) -> None:
    assert b"AF" not in encode(Sip2Message("36", {"AF": ()}), standard)


def test_percent_sign_is_sent_unchanged(standard: Sip2Dialect) -> None:
    line = encode(Sip2Message("12", {**CHECKOUT, "AJ": "100 %s", "AF": ("5%", "%(AA)s"), "BH": "%d"}), standard)
    assert line.endswith(b"AJ100 %s|AF5%|AF%(AA)s|BH%d |AO|AA|AB|AH|\r")
    assert encode(Sip2Message("36", {"AA": "P1"}), replace(standard, delimiter="%")).endswith(b"AAP1%AO%\r")


def test_characters_of_any_script_are_sent_if_the_dialect_supports_them(standard: Sip2Dialect) -> None:
    message = Sip2Message("36", {"AO": "HKU", "AA": "P1", "AF": ("請還書", "Ça va")})
    assert encode(message, standard).endswith("AAP1|AF請還書|AFÇa va|\r".encode())
    assert encode(message, DIALECTS["latin-1"]).endswith("AF???|AFÇa va|\r".encode("latin-1"))


def test_extension_is_sent_only_to_a_dialect_that_lists_it(standard: Sip2Dialect) -> None:
    message = Sip2Message("10", {"CV": "1", "DA": "Chan Tai Man"})
    assert b"CV01|" in encode(message, standard)
    assert b"DA" not in encode(message, standard)
    assert b"CV" not in encode(message, DIALECTS["plain"])
    assert b"DAChan Tai Man|" in encode(message, DIALECTS["sorter"])


def test_hidden_field_is_sent_only_if_required(standard: Sip2Dialect) -> None:
    dialect = replace(standard, hidden=frozenset({"BK", "AJ"}))
    line = encode(Sip2Message("12", {**CHECKOUT, "AJ": "Dune", "BK": "T1"}), dialect)
    assert b"AJDune|" in line
    assert b"BK" not in line


def test_valid_patron_password_flag_is_never_blank(standard: Sip2Dialect) -> None:
    assert b"BLN|CQN|" in encode(Sip2Message("24", {"BL": "", "CQ": " "}), standard)


def test_configured_delimiter_is_used_in_both_directions(standard: Sip2Dialect) -> None:
    dialect = replace(standard, delimiter="^")
    line = encode(Sip2Message("36", {"AO": "H^U", "AA": "P|1"}), dialect)
    assert line.endswith(b"AOH U^AAP|1^\r")
    assert decode(line, dialect).get("AA") == "P|1"


def test_resend_request_has_a_checksum_and_no_sequence_number(standard: Sip2Dialect) -> None:
    assert encode(Sip2Message("97", sequence="4"), standard) == b"97AZFEF5\r"
    assert encode(Sip2Message("96"), DIALECTS["crlf"]) == b"96AZFEF6\r\n"
    assert encode(Sip2Message("96"), replace(standard, error_detection=False)) == b"96\r"


@pytest.mark.parametrize(
    "message", [Sip2Message("88"), Sip2Message("12", {"renewl_ok": "Y"}), Sip2Message("12", {"AZ": "FFFF"})]
)
def test_unknown_field_name_raises(message: Sip2Message, standard: Sip2Dialect) -> None:
    with pytest.raises(ValueError, match=r"88|renewl_ok|AZ"):
        encode(message, standard)


def test_repr_of_a_message_contains_no_secret_or_personal_data() -> None:
    shown = repr(Sip2Message("63", {"AO": "HKU", "AA": "P123", "AD": "1234", "AE": "Chan", "CO": "open sesame"}))
    assert "HKU" in shown
    assert not any(secret in shown for secret in ("P123", "1234", "Chan", "sesame"))

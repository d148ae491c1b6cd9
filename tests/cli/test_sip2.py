"""The SIP2 terminal on the command line: parsing messages and showing replies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from hkall_gateway.cli import main
from hkall_gateway.cli.options import CliError
from hkall_gateway.cli.tools.clients import as_object, read_line, shown
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import decode, encode

STANDARD = DIALECTS["standard"]
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("99", "990000    "),
        ("99 protocol_version=2.00", "9900002.00"),
        ("17 AB=C1", f"17{DATE}AO|ABC1|"),
        ('63 AA=P1 "summary=  Y" AO=HKU', f"63000{DATE}  Y       AOHKU|AAP1|"),
        ("11 AA=P1 AB=C1 sc_renewal_policy=Y", f"11YN{DATE}{'':18}AO|AAP1|ABC1|AC|"),
        (f"17{DATE}AOHKU|ABC1|", f"17{DATE}AOHKU|ABC1|"),
        (f"35{DATE}AOHKU|AAP1", f"35{DATE}AOHKU|AAP1|"),
    ],
)
def test_message_may_be_raw_or_in_short_form(said: str, line: str) -> None:
    assert encode(read_line(said, NOW, STANDARD), STANDARD).decode() == f"{line}\r"


@pytest.mark.parametrize("said", ["hello", "88 AA=P1", "63 XX=1", "63 shoe_size=3", '63 "AA=P1', "63000", ""])
def test_invalid_message_is_a_usage_error(said: str) -> None:
    with pytest.raises(CliError) as ended:
        read_line(said, NOW, STANDARD)
    assert ended.value.exit_code == 2


def test_reply_is_shown_field_by_field() -> None:
    reply = decode(f"120NNN{DATE}AOHKU|AAP1|ABC1|AJDune|AH|AFNo (R13)|AFSorry|".encode(), STANDARD)
    text = shown(reply).splitlines()
    assert text[0] == "12 Checkout Response"
    assert [" ".join(line.split()) for line in text if line.strip()[:2] in ("ok", "AA", "AF")] == [
        "ok 0",
        "AA patron identifier P1",
        "AF screen message No (R13)",
        "AF screen message Sorry",
    ]


def test_secrets_are_masked() -> None:
    line = decode(f"23000{DATE}AOHKU|AAP1|ACx|AD4711|".encode(), STANDARD)
    assert "4711" not in shown(line) + str(as_object(line))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 2, "'nowhere' is not HOST:PORT"),
        (["localhost:70000", "99"], 1, "localhost:70000"),
        (["localhost:1", "99", "--timeout", "1"], 1, "localhost:1: "),
        (["localhost:1", "hello"], 2, "'hello'"),
    ],
)
def test_errors_are_reported_in_one_line(words: list[str], code: int, told: str) -> None:
    done = CliRunner().invoke(main, ["sip2", *words])
    assert done.exit_code == code
    assert told in done.output
    assert done.output.count("\n") == 1

"""The care for the system under test, as the other side counts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from circprobe.care import Permissions, Refused, Throttle
from circprobe.cli import main
from circprobe.redaction import Redactor
from circprobe.scripted import library, sip2_server
from circprobe.scripted.faults import Fault
from circprobe.scripted.sip2_server import ScriptedServer
from circprobe.sip2 import codec, messages
from circprobe.sip2.client import Guard
from click.testing import CliRunner

SECRETS = (library.PIN, library.PASSWORD, library.PATRON, library.NAME, "30001", "30002", "水滸傳")
CHANGES = messages.TRANSACTIONS


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = sip2_server.start(library.make_library())
    yield server
    server.shutdown()
    server.server_close()


def interview(server: ScriptedServer, *options: str) -> tuple[int, str]:
    words = [
        *("sip2", "server", f"127.0.0.1:{server.port}", "--institution", "HKX"),
        *("--login", library.LOGIN, "--password-env", "PASSWORD"),
        *("--patron", library.PATRON, "--pin-env", "PIN"),
        *("--item", "30001", "--item", "30002", "--timeout", "1"),
    ]
    secrets = {"PASSWORD": library.PASSWORD, "PIN": library.PIN}
    result = CliRunner(env=secrets).invoke(main, [*words, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def codes(server: ScriptedServer) -> set[str]:
    return {codec.read(line).code for _, line in server.ledger.lines}


def test_kit_only_reads_unless_transactions_are_allowed(server: ScriptedServer) -> None:
    interview(server, "--load", "--wrong-pin")

    assert {"63", "17", "99"} <= codes(server)
    assert codes(server) & CHANGES == set()


def test_kit_lends_and_gives_back_when_transactions_are_allowed(server: ScriptedServer) -> None:
    before = {item.barcode: item.borrower for item in server.library.items.values()}

    interview(server, "--load", "--transactions")

    assert {"11", "09", "15", "29"} <= codes(server)
    after = {item.barcode: item.borrower for item in server.library.items.values()}
    assert after == before
    waiting = [i.barcode for i in server.library.items.values() if i.holds]
    assert waiting == ["30005"]


def test_kit_sends_no_wrong_pin_unless_allowed(server: ScriptedServer) -> None:
    interview(server, "--load", "--transactions")

    sent = [codec.read(line) for _, line in server.ledger.lines]
    assert {m.value("AD") for m in sent if m.code != "93"} <= {"", library.PIN}
    assert {m.value("CO") for m in sent if m.code == "93"} <= {"", library.PASSWORD}


def test_kit_keeps_to_ten_messages_a_second_and_two_connections(server: ScriptedServer) -> None:
    interview(server, "--only", "framing", "--only", "status")

    times = [moment for moment, _ in server.ledger.lines]
    assert len(times) > 40
    busiest = max(sum(start <= t < start + 1.0 for t in times) for start in times)
    # `together` sends two messages in one segment, which is one message of the rate.
    assert busiest <= 11
    assert server.ledger.most_connections <= 2


def test_names_pins_and_cards_are_in_no_output(server: ScriptedServer, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("out.json", "out.xml", "out.html")]
    server.fault = Fault(message="64", put={"BH": "HK$"})

    options = ("--json", str(paths[0]), "--junit", str(paths[1]), "--html", str(paths[2]))
    code, output = interview(server, "--load", "--transactions", "--wrong-pin", *options)

    assert code == 1
    written = [output, *(path.read_text("utf-8") for path in paths)]
    assert all("PATRON1" in text for text in written)
    for secret in SECRETS:
        assert [t for t in written if re.search(rf"(?<!\d){secret}(?!\d)", t)] == [], secret


def test_exit_code_is_0_when_no_must_failed(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "out.json"

    code, _ = interview(server, "--load", "--json", str(path))

    report = json.loads(path.read_text("utf-8"))
    assert code == 0
    assert report["failed_musts"] == []
    assert report["summary"]["passed"] > 80
    lent = {r["number"]: r for r in report["results"]}["SS-601"]
    assert (lent["outcome"], lent["detail"]) == ("not tried", "needs --transactions")


def test_item_that_is_lent_to_somebody_is_left_alone(server: ScriptedServer) -> None:
    server.library.check_out("another", server.library.items["30001"])

    interview(server, "--load", "--transactions", "--only", "loans")

    assert codes(server) & {"11", "09"} == set()


def test_loan_that_cannot_be_returned_is_reported(server: ScriptedServer, tmp_path: Path) -> None:
    server.fault = Fault(message="10", fixed={"ok": "0"}, asked="AB30001")
    path = tmp_path / "out.json"

    interview(server, "--load", "--transactions", "--only", "loans", "--json", str(path))

    remarks = json.loads(path.read_text("utf-8"))["remarks"]
    assert remarks == ["could not return the item ITEM1: please return it"]


@pytest.mark.parametrize(
    "line", [b"11NN", b"6300120260301    101500" + b" " * 10 + b"AO|AA1|ADguess|", b"63|ADguess|", b"9300CNx|COguess|"]
)
def test_guard_refuses_what_nobody_allowed(line: bytes) -> None:
    guard = Guard(Permissions(), frozenset({"1234"}))

    with pytest.raises(Refused):
        guard.check(line)


def test_throttle_waits_before_the_eleventh_message() -> None:
    now = [0.0]
    throttle = Throttle(clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))

    moments = []
    for _ in range(25):
        throttle.wait()
        moments.append(now[0])

    assert max(sum(start <= m < start + 1 for m in moments) for start in moments) == 10


def test_card_in_a_message_with_a_short_fixed_part_is_replaced() -> None:
    # Sip2 1.1 leaves the date of a 65 out, so that its fields begin where the date ought to be.
    shown = Redactor().text("65AOHKX|AA21234000|AD7391|BON|AY1AZF67E")

    assert shown == "65AOHKX|AAPATRON1|ADPIN1|BON|AY1AZF67E"

"""The local system: pysip2's SIP2 server, in a process and a time zone of its own, and an NCIP responder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.threads import blockingCallFromThread
from twisted.web import server

from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.cli.doctor.ils import judge_patron, judge_status
from hkall_gateway.clock import now
from hkall_gateway.simulator.ils import SimulatedIls
from hkall_gateway.simulator.ils_ncip import IlsResponder
from hkall_gateway.sip2.codec.lines import Sip2Message
from tests.doctor.conftest import PATIENCE_S, Authority, Site, TlsServers, finding, status
from tests.ils.servers import ResponderPage
from tests.ports import free_ports

Start = Callable[..., int]
NO_TLS = {"dns": "ok", "tcp": "ok", "tls.version": "ok"}
WELL = NO_TLS | dict.fromkeys(("login", "status", "version", "clock", "lookup.patron", "lookup.pin", "lookup.item"), "ok")


@pytest.fixture
def pysip2() -> Iterator[Start]:
    """Starts pysip2's server; returns its port."""
    running: list[subprocess.Popen[str]] = []

    def start(*manners: str, zone: str = "Asia/Hong_Kong") -> int:
        port = free_ports(1)[0]
        command = [sys.executable, "-m", "tests.doctor.sip2_server", str(port), *manners]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TZ": zone})
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        return port

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def configure(site: Site, port: int, more: str = "", password: str = "opensesame", connector: str = "sip2") -> None:
    site.environ["ILS"] = password
    told = f'connector = "{connector}"\nhost = "127.0.0.1"\nport = {port}\nlogin = "gateway"\npassword_env = "ILS"\n'
    site.write(f"\n[ils]\n{told}{more}\n")


def test_valid_server_passes_all_checks(site: Site, pysip2: Start) -> None:
    configure(site, pysip2())
    sheet = site.examine("ils")
    assert status(sheet) == WELL
    assert finding(sheet, "login").detail == "gateway"
    assert finding(sheet, "lookup.patron").detail == "63: an unknown card is unknown (BL N)"
    assert finding(sheet, "lookup.item").detail == "17: an unknown item has the status 01"


def test_relay_without_lookups_is_checked_as_a_terminal(site: Site, pysip2: Start) -> None:
    configure(site, pysip2("no-63"), "relay = true", connector="snapshot")
    sheet = site.examine("ils")
    assert {name: word for name, word in status(sheet).items() if name != "loaded"} == WELL
    assert finding(sheet, "lookup.patron").detail == "23: an unknown card is unknown (BL N)"


def test_wrong_password_fails_the_login_check_and_stops_further_checks(site: Site, pysip2: Start) -> None:
    configure(site, pysip2(), password="wrong")
    sheet = site.examine("ils")
    assert status(sheet) == NO_TLS | {"login": "fail"} | dict.fromkeys(list(WELL)[4:], "skip")
    assert finding(sheet, "login").detail == "gateway was refused"
    assert "wrong" not in str(sheet.found)


def test_terminals_with_their_own_logins_skip_the_checks_that_need_a_login(site: Site, pysip2: Start) -> None:
    site.write(f'\n[ils]\nconnector = "snapshot"\nrelay = true\nhost = "127.0.0.1"\nport = {pysip2()}\n')
    sheet = site.examine("ils")
    assert (status(sheet)["login"], status(sheet)["status"], status(sheet)["lookup.patron"]) == ("skip", "warn", "skip")
    assert "each terminal logs in by itself" in finding(sheet, "login").detail


def test_clock_in_another_time_zone_fails(site: Site, pysip2: Start) -> None:
    configure(site, pysip2(zone="UTC"))
    sheet = site.examine("ils")
    assert status(sheet) == WELL | {"clock": "fail"}
    assert finding(sheet, "clock").detail == "8.0 h behind ours, as with a wrong time zone"


def test_unknown_card_reported_as_a_patron_fails(site: Site, pysip2: Start) -> None:
    configure(site, pysip2("known"))
    assert status(site.examine("ils")) == WELL | {"lookup.patron": "fail", "lookup.item": "fail"}
    configure(site, pysip2("no-bl"))
    assert status(site.examine("ils")) == WELL | {"lookup.patron": "fail"}


@pytest.mark.parametrize(
    ("pin", "said"),
    [("loaded", "the loaded hashes decide"), ("trust", "every PIN is taken"), ("refuse", "no PIN can be checked")],
)
def test_answer_without_a_word_about_the_pin_is_a_warning(site: Site, pysip2: Start, pin: str, said: str) -> None:
    configure(site, pysip2("no-cq"), f'pin = "{pin}"')
    sheet = site.examine("ils")
    assert status(sheet) == WELL | {"lookup.pin": "warn"}
    assert said in finding(sheet, "lookup.pin").detail


def test_unsupported_message_fails_the_status_check(site: Site, pysip2: Start) -> None:
    configure(site, pysip2("no-63"))
    sheet = site.examine("ils")
    assert (status(sheet)["status"], status(sheet)["lookup.patron"]) == ("fail", "skip")
    assert finding(sheet, "status").detail == "BX says that 63 are not supported for our login"


def test_offline_server_fails_the_status_check(site: Site, pysip2: Start) -> None:
    configure(site, pysip2("off-line"))
    assert finding(site.examine("ils"), "status").detail == "it says that it is off line: INCOMPATIBLE PROTOCOL VERSION"


def test_silent_port_fails_the_login_check_within_its_time_limit(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as silent:
        configure(site, silent.getsockname()[1], "timeout_s = 0.5")
        sheet = site.examine("ils")
    assert (status(sheet)["tcp"], status(sheet)["login"]) == ("ok", "fail")
    assert "dialect" in finding(sheet, "login").advice


def test_closed_port_fails_the_tcp_check(site: Site) -> None:
    configure(site, free_ports(1)[0])
    assert status(site.examine("ils"))["tcp"] == "fail"


def test_password_is_not_sent_when_the_certificate_is_wrong(site: Site, authority: Authority, tls_server: TlsServers) -> None:
    configure(site, tls_server(authority.issue("ils")), "tls = true")
    sheet = site.examine("ils")
    assert (status(sheet)["tls.chain"], status(sheet)["login"]) == ("fail", "skip")
    assert b"opensesame" not in tls_server.said()


# ---- by NCIP


@pytest.fixture
def responder(reactor: Any) -> Iterator[str]:
    """The NCIP responder of a simulated system that requires the secret "agreed"; returns its URL."""
    site: Any = server.Site
    page = site(ResponderPage(IlsResponder(SimulatedIls("HKU", now), "agreed")))
    port = blockingCallFromThread(reactor, reactor.listenTCP, 0, page, 50, "127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/ncip"
    blockingCallFromThread(reactor, port.stopListening)


def test_valid_responder_passes_and_reports_the_unknown_card(
    site: Site, responder: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.environ["ILS"] = "agreed"
    site.write(f'\n[ils]\nconnector = "ncip"\nurl = "{responder}"\npassword_env = "ILS"\n')
    sheet = site.examine("ils")
    assert finding(sheet, "lookup.patron").detail == "an unknown card is unknown"
    assert [line.name for line in caplog.records if line.name.startswith("sqlalchemy")] == []
    assert [one for one in sheet.found if one.status.value == "fail"] == []


def test_responder_without_item_lookups_is_checked_only_with_a_patron(site: Site, responder: str) -> None:
    site.environ["ILS"] = "agreed"
    site.write(f'\n[ils]\nconnector = "ncip"\nurl = "{responder}"\npassword_env = "ILS"\nlooks_up_items = false\n')
    sheet = site.examine("ils")
    assert finding(sheet, "http").detail == "LookupUser was answered by LookupUserResponse"
    assert (status(sheet)["proof.ours"], status(sheet)["lookup.item"], status(sheet)["lookup.patron"]) == ("ok", "skip", "ok")


def test_responder_refusing_our_secret_fails_the_credential_check(site: Site, responder: str) -> None:
    site.environ["ILS"] = "wrong"
    site.write(f'\n[ils]\nconnector = "ncip"\nurl = "{responder}"\npassword_env = "ILS"\n')
    sheet = site.examine("ils")
    assert (status(sheet)["proof.ours"], status(sheet)["lookup.patron"]) == ("fail", "skip")


def test_relay_beside_a_responder_is_checked_separately(site: Site, responder: str, pysip2: Start) -> None:
    configure(site, pysip2(), f'relay = true\nurl = "{responder}"', connector="ncip")
    sheet = site.examine("ils")
    told = {(one.about, one.check): one.status.value for one in sheet.found}
    assert (told["relay", "login"], told["ncip", "proof.ours"]) == ("ok", "fail")
    assert (told["relay", "tcp"], told["ncip", "tcp"]) == ("ok", "ok")


# ---- the judgements alone


def said(**fields: str) -> Sip2Message:
    return Sip2Message("98", {"on_line_status": "Y", "protocol_version": "2.00", **fields})


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (said(), "ok"),
        (said(BX="Y" * 16), "ok"),
        (said(BX="NNNNNNNYNNYNNNNN"), "ok"),
        (said(BX="YYYYYYYYYYNYYYYY"), "fail"),
        (said(on_line_status="N"), "fail"),
    ],
)
def test_status_check_passes_when_online_with_the_required_messages(answer: Sip2Message, word: str) -> None:
    sheet = Sheet("ils", ("status", "version"), lambda: 0.0, 10)
    judge_status(sheet, answer, "63")
    assert finding(sheet, "status").status.value == word


def test_other_protocol_version_causes_a_warning() -> None:
    sheet = Sheet("ils", ("status", "version"), lambda: 0.0, 10)
    judge_status(sheet, said(protocol_version="1.00"), "63")
    assert finding(sheet, "version").status.value == "warn"


@pytest.mark.parametrize(("bl", "word"), [("N", "ok"), ("Y", "fail"), ("", "fail")])
def test_only_bl_n_means_an_unknown_card(bl: str, word: str) -> None:
    sheet = Sheet("ils", ("lookup.patron",), lambda: 0.0, 10)
    judge_patron(sheet, "63", Sip2Message("64", {"BL": bl} if bl else {}))
    assert finding(sheet, "lookup.patron").status.value == word

"""The daemon between a terminal and the local system, on real sockets: queries, relay, outage and recovery."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.threads import blockingCallFromThread
from twisted.web import server

from demo import demo_setup
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.config import gateway
from hkall_gateway.config.secret_files import SecretFiles
from hkall_gateway.simulator.ils import IlsBook, IlsPatron, SimulatedIls
from hkall_gateway.simulator.ils_ncip import IlsResponder
from tests import databases
from tests.company import SOON, gateway_ports, until
from tests.ils.servers import IlsServer, ResponderPage, listening
from tests.ports import free_ports

pytestmark = pytest.mark.long

CARD = "P0001"
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"


@dataclass
class Site:
    """A gateway with its local system, both in the reactor thread."""

    reactor: Any
    daemon: Daemon
    system: SimulatedIls
    ports: demo_setup.Ports
    port: Any
    path: Path

    def rotate_password(self, new: str) -> None:
        """Write a new password for the local system into the environment file, and reload."""
        self.path.with_name("environment").write_text(f"HKALL_ILS={new}\n", encoding="utf-8")
        self.coroutine(lambda: self.daemon.reload(self.path))

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        return blockingCallFromThread(self.reactor, work, *args)

    def coroutine(self, work: Callable[[], Any]) -> Any:
        from twisted.internet.defer import Deferred

        return self.do(lambda: Deferred.fromCoroutine(work()))

    def terminal(self, login: str = "selfcheck-1") -> SocketTerminal:
        found: SocketTerminal = self.coroutine(lambda: call(self.reactor, self.ports.sip2))
        assert self.do(found.ask, f"9300CN{login}|CO{demo_setup.PASSWORD}|") == "941"
        return found

    def asks(self, terminal: SocketTerminal, line: str) -> str:
        said: str = self.do(terminal.ask, line)
        return said

    def leaves(self) -> None:
        """Switch the local system off: close its listener and its connections."""
        self.system.become("silent")
        self.do(self.port.stopListening)

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.ops}/{path}", timeout=20) as page:
            text: str = page.read().decode()
        return text

    def metric(self, name: str) -> str:
        return next(line.rpartition(" ")[2] for line in self.page("metrics").splitlines() if line.startswith(f"hkall_{name}"))


def opened(
    reactor: Any, folder: Path, ils: dict[str, Any], listener: Callable[[SimulatedIls], Any], at: int = 0
) -> Iterator[Site]:
    """Yield a gateway with these keys of [ils], and its local system behind the result of `listener`.

    `at` is the port of a system already running; then the simulated one listens beside it without being queried.
    """
    ports, (where,) = gateway_ports(), free_ports(1)
    told = {name: value.format(where) if isinstance(value, str) else value for name, value in ils.items()}
    told |= {"port": at or where} if "host" in ils else {}
    environ = {**demo_setup.environment(ports), "HKALL_ILS": "s3cret"}
    own = {**told, "timeout_s": 1.0, "password_env": "HKALL_ILS"}
    path = demo_setup.write_config(folder, ports, courier=SOON, keys={"ils": own})
    databases.fill(path, environ)
    path.with_name("environment").write_text("HKALL_ILS=s3cret\n", encoding="utf-8")
    files = SecretFiles(path, environ)
    logins = {"gateway": "s3cret", "selfcheck-1": demo_setup.PASSWORD, "counter-1": demo_setup.PASSWORD}
    system = SimulatedIls("HKU", lambda: NOW, {CARD: IlsPatron(CARD, "Chan")}, {"L1": IlsBook("L1", "Emma")}, logins)
    listen: Any = serverFromString
    endpoint = f"tcp:{where}:interface=127.0.0.1"
    port = blockingCallFromThread(reactor, lambda: listen(reactor, endpoint).listen(listener(system)))
    config = gateway.load(path, environ)
    made: Daemon = blockingCallFromThread(reactor, lambda: Daemon(config, reactor, environ=environ, secret_files=files))
    site = Site(reactor, made, system, ports, port, path)
    site.coroutine(made.start)
    yield site
    site.do(port.stopListening)
    site.coroutine(made.stop)


@pytest.fixture
def site(reactor: Any, tmp_path: Path) -> Iterator[Site]:
    """The local system queried by SIP2, with terminal messages relayed to it."""
    ils = {"connector": "sip2", "host": "127.0.0.1", "relay": True, "login": "gateway"}
    yield from opened(reactor, tmp_path, ils, listening)


@pytest.fixture
def asked_site(reactor: Any, tmp_path: Path) -> Iterator[Site]:
    """The local system queried by SIP2, without a relay."""
    yield from opened(reactor, tmp_path, {"connector": "sip2", "host": "127.0.0.1", "login": "gateway"}, listening)


@pytest.fixture
def ncip_site(reactor: Any, tmp_path: Path) -> Iterator[Site]:
    """The local system queried by NCIP."""
    ils = {"connector": "ncip", "url": "http://127.0.0.1:{}/ncip"}
    web: Any = server.Site
    yield from opened(reactor, tmp_path, ils, lambda system: web(ResponderPage(IlsResponder(system, "s3cret"))))


def test_patron_and_pin_are_looked_up_by_ncip(ncip_site: Site) -> None:
    terminal = ncip_site.terminal()
    right, wrong = (f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD{pin}|" for pin in ("1234", "4321"))
    assert "BLY|CQY|" in ncip_site.asks(terminal, right)
    assert "BLY|CQN|" in ncip_site.asks(terminal, wrong)
    assert "BLN|CQN|" in ncip_site.asks(terminal, f"63001{DATE}{' ' * 10}AOHKU|AANOBODY|AC|")
    ncip_site.do(ncip_site.port.stopListening)
    assert "BLY|CQY|" in ncip_site.asks(terminal, right)  # the PIN that the system accepted a moment ago
    assert "Please try again" in ncip_site.asks(terminal, wrong)
    assert ncip_site.metric('ils_calls_total{channel="connector",msg="LookupUser",outcome="ok"}') == "5.0"
    ncip_site.do(terminal.hang_up)


ASK_PATRON = f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD1234|"


def test_new_password_of_the_sip2_system_is_used_after_a_reload(asked_site: Site) -> None:
    terminal = asked_site.terminal()
    asked_site.system.logins = {**asked_site.system.logins, "gateway": "the new one"}
    asked_site.rotate_password("the new one")
    assert "BLY|CQY|" in asked_site.asks(terminal, ASK_PATRON)
    assert [line for line in asked_site.system.heard if "CNgateway" in line] == ["9300CNgateway|COthe new one|"]
    asked_site.do(terminal.hang_up)


def test_new_password_of_the_ncip_system_is_used_after_a_reload(ncip_site: Site) -> None:
    terminal = ncip_site.terminal()
    before = ncip_site.asks(terminal, ASK_PATRON)
    ncip_site.rotate_password("wrong")
    wrong = ncip_site.asks(terminal, ASK_PATRON.replace("AD1234", "AD4321"))
    ncip_site.rotate_password("s3cret")
    again = ncip_site.asks(terminal, ASK_PATRON)
    assert ["BLY|CQY|" in said for said in (before, wrong, again)] == [True, False, True]
    assert "Please try again" in wrong
    ncip_site.do(terminal.hang_up)


def test_local_checkout_is_relayed_and_a_local_system_outage_is_reported_to_the_terminal(site: Site) -> None:
    terminal = site.terminal()
    loan = f"11NN{DATE}{' ' * 18}AOHKU|AA{CARD}|ABL1|AC|"
    assert site.asks(terminal, loan) == f"121NUY{DATE}AOHKU|AA{CARD}|ABL1|AJEmma|AH31/03/2017|"
    assert site.system.heard[:2] == [f"9300CNselfcheck-1|CO{demo_setup.PASSWORD}|", loan]
    record = site.asks(terminal, f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD1234|")
    assert "AEChan|BLY|CQY|" in record
    site.leaves()
    assert "Please try again" in site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert site.asks(terminal, f"35{DATE}AOHKU|AA{CARD}|AC|").startswith("36Y")
    site.do(terminal.hang_up)


def test_metrics_show_the_state_of_the_local_system(site: Site) -> None:
    terminal = site.terminal()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert site.metric('ils_up{channel="relay"}') == "1.0"
    assert site.page("readyz") == "ready\n"
    site.leaves()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    until(lambda: site.metric('ils_up{channel="relay"}') == "0.0", "the system is down")
    assert site.metric('ils_up{channel="connector"}') == "0.0"
    assert site.metric('ils_calls_total{channel="relay",msg="17",outcome="unreachable"}') == "1.0"
    assert site.page("readyz") == "ready\nthe library's own system is away\n"
    site.do(terminal.hang_up)


def test_only_the_first_request_waits_when_the_local_system_hangs(site: Site) -> None:
    """Patron status, patron information and item information: only the first of these messages waits for a reply."""
    terminal = site.terminal()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    site.system.become("silent")
    waits: list[bool] = []
    for line in (
        f"23001{DATE}AOHKU|AA{CARD}|AC|AD1234|",
        f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD1234|",
        f"17{DATE}AOHKU|ABL1|AC|",
    ):
        began = time.monotonic()
        site.asks(terminal, line)
        waits.append(time.monotonic() - began > 0.9)
    assert waits == [True, False, False]
    site.do(terminal.hang_up)


def test_terminal_waits_at_most_two_seconds_for_any_number_of_local_queries(site: Site) -> None:
    """Relay, patron and PIN make three requests; each alone may take a second here."""
    terminal = site.terminal()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    site.system.become("silent")
    began = time.monotonic()
    heard = site.asks(terminal, f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD1234|")
    assert time.monotonic() - began < 2.5
    assert "BV" not in heard
    site.do(terminal.hang_up)


def test_recovered_local_system_is_found_by_a_background_probe(site: Site) -> None:
    terminal = site.terminal()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    site.system.become("silent")
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    until(lambda: site.metric('ils_up{channel="relay"}') == "0.0", "the system is down")
    began = time.monotonic()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert time.monotonic() - began < 0.5
    site.system.become("here")
    until(lambda: site.metric('ils_up{channel="relay"}') == "1.0", "the system is found again")
    assert site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|").startswith("1803")
    site.do(terminal.hang_up)


class Touchy(IlsServer):
    """Disconnects on every 37."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's own name
        if data.startswith(b"37"):
            transport: Any = self.transport
            transport.loseConnection()
        else:
            super().dataReceived(data)


@pytest.fixture
def touchy_site(reactor: Any, tmp_path: Path) -> Iterator[Site]:
    ils = {"connector": "sip2", "host": "127.0.0.1", "relay": True, "login": "gateway"}
    factory: Any = Factory.forProtocol
    yield from opened(reactor, tmp_path, ils, lambda system: factory(lambda: Touchy(system)))


def test_broken_connection_of_one_terminal_does_not_affect_other_terminals(touchy_site: Site) -> None:
    site = touchy_site
    one, other = site.terminal("counter-1"), site.terminal()
    for number in range(5):
        payment = f"37{DATE}0400HKDBV1.00|AOHKU|AA{CARD}|AC|BK{number}|"
        assert site.asks(one, payment).startswith("38N")
        assert site.asks(other, f"17{DATE}AOHKU|ABL1|AC|").startswith("1803")
    assert site.metric('ils_hang_ups_total{msg="37",terminal="counter-1"}') == "5.0"
    assert site.metric('ils_up{channel="relay"}') == "1.0"
    site.do(one.hang_up)
    site.do(other.hang_up)


def test_refused_login_is_reported_to_the_terminal_and_to_operators(site: Site) -> None:
    site.system.logins = {"gateway": "s3cret"}
    terminal = site.terminal()
    assert site.asks(terminal, "9900802.00").startswith("98N")
    assert site.metric('ils_login_refused{channel="relay",login="selfcheck-1"}') == "1.0"
    assert site.metric('ils_up{channel="relay"}') == "1.0"
    site.do(terminal.hang_up)


def test_card_blocked_during_an_outage_is_blocked_in_the_local_system_afterwards(site: Site) -> None:
    terminal = site.terminal("counter-1")
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    site.system.become("silent")
    assert "is told later" in site.asks(terminal, f"01N{DATE}AOHKU|ALlost|AA{CARD}|ACsecret|")
    site.system.become("here")
    until(lambda: site.system.readers[CARD].blocked, "the local system is told")
    assert "secret" not in "".join(line for line in site.system.heard if line.startswith("01"))[-60:]
    site.do(terminal.hang_up)

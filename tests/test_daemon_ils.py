"""The daemon between a terminal and the library's own system, on real sockets: asked, passed on, gone and back again."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.config import gateway
from hkall_gateway.daemon import Daemon
from hkall_gateway.lab import setup
from hkall_gateway.lab.ils import Book, LocalSystem, Reader, listening
from hkall_gateway.lab.terminal import Terminal, call
from tests.company import free_ports

CARD = "P0001"
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"


@dataclass
class Site:
    """A gateway with its local system, both in the reactor's thread."""

    reactor: Any
    daemon: Daemon
    system: LocalSystem
    ports: setup.Ports
    port: Any

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        return blockingCallFromThread(self.reactor, work, *args)

    def coroutine(self, work: Callable[[], Any]) -> Any:
        from twisted.internet.defer import Deferred

        return self.do(lambda: Deferred.fromCoroutine(work()))

    def terminal(self) -> Terminal:
        found: Terminal = self.coroutine(lambda: call(self.reactor, self.ports.sip2))
        assert self.do(found.ask, f"9300CNselfcheck-1|CO{setup.PASSWORD}|") == "941"
        return found

    def asks(self, terminal: Terminal, line: str) -> str:
        said: str = self.do(terminal.ask, line)
        return said

    def leaves(self) -> None:
        """The local system is switched off: nobody listens, and what was open is closed."""
        self.system.become("silent")
        self.do(self.port.stopListening)

    def metric(self, name: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.ops}/metrics", timeout=20) as page:
            text: str = page.read().decode()
        return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"hkall_{name}"))


@pytest.fixture
def site(reactor: Any, tmp_path: Path) -> Iterator[Site]:
    ports, where = free_ports(), next(iter(free_ports().partners.values()))
    ils = {"connector": "sip2", "host": "127.0.0.1", "port": where, "relay": True, "timeout_s": 1.0, "login": "gateway"}
    environ = {**setup.environment(ports), "HKALL_ILS": "s3cret"}
    path = setup.write_config(tmp_path, ports, keys={"ils": {**ils, "password_env": "HKALL_ILS"}})
    setup.furnish(path, environ)
    logins = {"gateway": "s3cret", "selfcheck-1": setup.PASSWORD}
    system = LocalSystem("HKU", lambda: NOW, {CARD: Reader(CARD, "Chan")}, {"L1": Book("L1", "Emma")}, logins)
    listen: Any = serverFromString
    port = blockingCallFromThread(
        reactor, lambda: listen(reactor, f"tcp:{where}:interface=127.0.0.1").listen(listening(system))
    )
    made: Daemon = blockingCallFromThread(reactor, lambda: Daemon(gateway.load(path, environ), reactor, environ=environ))
    site = Site(reactor, made, system, ports, port)
    site.coroutine(made.start)
    yield site
    site.do(port.stopListening)
    site.coroutine(made.stop)


def test_a_local_book_is_lent_through_us_and_the_terminal_hears_when_its_own_system_is_gone(site: Site) -> None:
    terminal = site.terminal()
    loan = f"11NN{DATE}{' ' * 18}AOHKU|AA{CARD}|ABL1|AC|"
    assert site.asks(terminal, loan) == f"121NNY{DATE}AOHKU|AA{CARD}|ABL1|AJEmma|AH31/03/2017|"
    assert site.system.heard[:2] == [f"9300CNselfcheck-1|CO{setup.PASSWORD}|", loan]
    record = site.asks(terminal, f"63001{DATE}{' ' * 10}AOHKU|AA{CARD}|AC|AD1234|")
    assert "AEChan|BLY|CQY|" in record
    site.leaves()
    assert "Please try again" in site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert site.asks(terminal, f"35{DATE}AOHKU|AA{CARD}|AC|").startswith("36Y")
    site.do(terminal.hang_up)


def test_the_systems_health_is_a_figure_for_operators(site: Site) -> None:
    terminal = site.terminal()
    site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert site.metric('ils_up{channel="relay"}') == "1"
    site.leaves()
    for _ in range(3):
        site.asks(terminal, f"17{DATE}AOHKU|ABL1|AC|")
    assert site.metric('ils_up{channel="relay"}') == "0"
    assert site.metric('ils_calls_total{channel="relay",msg="17",outcome="unreachable"}') == "3"
    site.do(terminal.hang_up)

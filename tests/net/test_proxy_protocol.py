"""A load balancer reports the caller, and only a load balancer is trusted; protocols behind it never see the header."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.proxy_protocol import HEADER_S, WITHOUT_HEADER, ProxyProtocolFactory
from hkall_gateway.observability.metrics import Metrics
from tests.bounds import refusals
from tests.metrics import value

BALANCER, STRANGER = "10.0.0.9", "10.0.0.7"
V1 = b"PROXY TCP4 192.0.2.5 10.0.0.1 40000 8080\r\n"
V1_6 = b"PROXY TCP6 2001:db8::5 2001:db8::1 40000 8080\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 5, 10, 0, 0, 1]) + b"\x9c\x40\x1f\x90"
ITSELF = b"PROXY UNKNOWN\r\n"


class Behind(Protocol):
    """The protocol behind the load balancer; records the caller and the received data."""

    transport: Any

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's own names
        self.seen, self.heard, self.lost = self.transport.getPeer().host, b"", False
        made.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.heard += data
        self.transport.write(data.upper())

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self.lost = True


made: list[Behind] = []


class Site:
    """A listener behind a load balancer, on a fake clock."""

    def __init__(self) -> None:
        made.clear()
        self.clock, self.metrics = Clock(), Metrics()
        inner = Factory.forProtocol(Behind)
        balancers = AllowList([f"{BALANCER}/32"])
        self.factory = ProxyProtocolFactory(inner, balancers, refusals("ncip", self.metrics), self.clock)

    def call(self, address: str, *chunks: bytes) -> Any:
        peer: Any = IPv4Address("TCP", address, 40000)
        line: Any = StringTransport(peerAddress=peer)  # type: ignore[no-untyped-call]  # twisted.testing has no types here
        line.protocol = self.factory.buildProtocol(peer)
        line.protocol.makeConnection(line)
        for chunk in chunks:
            line.protocol.dataReceived(chunk)
        return line

    @property
    def refused(self) -> float:
        return value(self.metrics, "connections_refused_total", "ncip", "proxy")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(
    ("header", "caller"), [(V1, "192.0.2.5"), (V1_6, "2001:db8::5"), (V2, "192.0.2.5"), (ITSELF, BALANCER)]
)
def test_caller_address_comes_from_the_load_balancer(site: Site, header: bytes, caller: str) -> None:
    line = site.call(BALANCER, header + b"hello")
    assert [(one.seen, one.heard) for one in made] == [(caller, b"hello")]
    assert line.value() == b"HELLO"


def test_no_data_is_delivered_before_the_header_is_complete(site: Site) -> None:
    line = site.call(BALANCER, *(V1[at : at + 1] for at in range(len(V1) - 1)))
    assert made == []
    line.protocol.dataReceived(b"\nhello")
    assert made[0].heard == b"hello"
    site.clock.advance(HEADER_S + 1)
    assert not line.disconnected
    line.protocol.connectionLost(None)
    assert made[0].lost


def test_header_from_other_addresses_is_ordinary_data(site: Site) -> None:
    site.call(STRANGER, V1)
    assert [(one.seen, one.heard) for one in made] == [(STRANGER, V1)]


@pytest.mark.parametrize("said", [b"POST /ncip HTTP/1.1\r\n", b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n"])
def test_load_balancer_with_an_invalid_header_is_disconnected_and_counted(site: Site, said: bytes) -> None:
    line = site.call(BALANCER, said)
    line.protocol.connectionLost(None)
    assert (line.disconnected, site.refused, made, site.clock.getDelayedCalls()) == (True, 1, [], [])


def test_silent_balancer_connection_times_out(site: Site) -> None:
    line = site.call(BALANCER)
    site.clock.advance(HEADER_S - 0.1)
    assert not line.disconnected
    site.clock.advance(0.2)
    assert (line.disconnected, site.refused, made) == (True, 1, [])


def test_disconnected_load_balancer_leaves_no_timer(site: Site) -> None:
    site.call(BALANCER).protocol.connectionLost(None)
    assert (made, site.clock.getDelayedCalls()) == ([], [])


def test_shutdown_closes_only_connections_without_a_header(site: Site) -> None:
    inside, waiting, gone = site.call(BALANCER, V1), site.call(BALANCER, V1[:4]), site.call(BALANCER)
    gone.protocol.connectionLost(None)
    site.factory.stopFactory()
    assert [line.disconnected for line in (inside, waiting, gone)] == [False, True, False]
    assert (site.refused, site.clock.getDelayedCalls()) == (0, [])


def test_error_in_a_header_is_logged(site: Site) -> None:
    with capture_logs() as logged:
        site.call(BALANCER, b"GET / HTTP/1.1\r\n")
        site.call(BALANCER)
        site.clock.advance(HEADER_S + 1)
    assert [(line["event"], line["peer"], line["why"], line["detail"]) for line in logged] == [
        ("ncip.not_admitted", BALANCER, "proxy", "the first bytes are not those of a PROXY header"),
        ("ncip.not_admitted", BALANCER, "proxy", "no header within 10 seconds"),
    ]


def test_connections_of_a_balancer_are_limited_only_before_their_header(site: Site) -> None:
    for _ in range(WITHOUT_HEADER + 5):
        site.call(BALANCER, V1)
    waiting = [site.call(BALANCER, V1[:4]) for _ in range(WITHOUT_HEADER)]
    one_more = site.call(BALANCER)
    assert (one_more.disconnected, value(site.metrics, "connections_refused_total", "ncip", "full")) == (True, 1)
    assert not any(line.disconnected for line in waiting)

    waiting[0].protocol.dataReceived(V1[4:])
    waiting[1].protocol.connectionLost(None)
    assert [site.call(BALANCER).disconnected for _ in range(3)] == [False, False, True]


def test_balancers_are_limited_separately() -> None:
    site = Site()
    site.factory.balancers = AllowList(["10.0.0.0/24"])
    for _ in range(WITHOUT_HEADER):
        site.call(BALANCER)
    assert site.call(BALANCER).disconnected
    assert not site.call("10.0.0.10").disconnected

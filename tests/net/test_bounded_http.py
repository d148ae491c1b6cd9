"""Request heads that the HTTP server of pages and NCIP accepts."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from hkall_gateway.net.bounded_http import BoundedRequest, BoundedSite, Bounds
from hkall_gateway.net.limits.connection_limit import ConnectionLimit
from hkall_gateway.net.limits.fair_reads import BodyBudget


class Silent:
    def note(self, *_what: str) -> None:
        """Record nothing."""


class Page(Resource):
    isLeaf = True  # noqa: N815  # Twisted's own name

    def render(self, _request: object) -> bytes:
        return b"a page"


class Transport(StringTransport):
    def abortConnection(self) -> None:  # noqa: N802
        self.loseConnection()  # type: ignore[no-untyped-call]  # twisted has no types here

    def unregisterProducer(self) -> None:  # noqa: N802
        """Allow unregistering twice, as a real connection may do."""
        self.producer = None


class Echo(Resource):
    isLeaf = True  # noqa: N815  # Twisted's own name

    def render(self, request: Any) -> bytes:
        sent = sorted(request.requestHeaders.getAllRawHeaders())
        return repr((request.method, request.uri, request.args, sent, request.content.read())).encode()


def make_site(page: Any = Page) -> BoundedSite:
    bounds = Bounds(connections=ConnectionLimit(9, 9, 9), bodies=BodyBudget(1 << 20), refusals=Silent(), max_body_bytes=1000)  # type: ignore[arg-type]
    return BoundedSite(page(), bounds, Clock(), BoundedRequest)


def exchange(site: BoundedSite, *packets: bytes) -> bytes:
    """Return all that the server writes when it receives these packets on one connection."""
    connection: Any = Transport
    channel: Any = site.buildProtocol(None)  # type: ignore[no-untyped-call]
    transport = connection()
    channel.makeConnection(transport)
    for packet in packets:
        channel.dataReceived(packet)
    written: bytes = transport.value()
    channel.loseConnection()
    channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    return re.sub(rb"Date: .*\r\n", b"", written)


def answer(request: bytes) -> bytes:
    """Return the server's response to these bytes, without the page text."""
    return exchange(make_site(), request).partition(b"\r\n")[0]


def head(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST / HTTP/" + version, *lines, b"", b""])


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"x",
        b"hkall.lib.hku.hk",
        b"hkall.lib.hku.hk.:8443",
        b"127.0.0.1:80",
        b"[::1]:80",
        b"a_b.test",
        b"a" * 63 + b".test",
    ],
)
def test_request_with_one_valid_host_is_answered(host: bytes) -> None:
    assert answer(head(b"Host: " + host, b"Content-Length: 0")) == b"HTTP/1.1 200 OK"


def test_request_without_a_host_is_answered_in_version_1_0() -> None:
    assert answer(head(b"Content-Length: 0", version=b"1.0")).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 0",),
        (b"Host: a", b"Host: a", b"Content-Length: 0"),
        (b"Host: a", b"Host: b", b"Content-Length: 0"),
        (b"Host: " + b"a" * 64, b"Content-Length: 0"),
        (b"Host: " + b"a." * 200 + b"b", b"Content-Length: 0"),
        (b"Host: a..b", b"Content-Length: 0"),
        (b"Host: a b", b"Content-Length: 0"),
        (b"Host: a\x1b[31m", b"Content-Length: 0"),
        (b"Host: a/b", b"Content-Length: 0"),
        (b"Host: user@a", b"Content-Length: 0"),
        (b"Host: \xff", b"Content-Length: 0"),
        (b"Host: a:port", b"Content-Length: 0"),
        (b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Host: a", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
        (b"Host: a", b"Transfer-Encoding: chunked, identity"),
        (b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    ],
)
def test_ambiguous_request_head_is_refused(lines: tuple[bytes, ...]) -> None:
    assert answer(head(*lines) + b"0\r\n\r\n") == b"HTTP/1.1 400 Bad Request"


def test_bytes_after_a_refused_head_are_not_read() -> None:
    assert answer(head(b"Content-Length: 0") + head(b"Host: a", b"Content-Length: 0")) == b"HTTP/1.1 400 Bad Request"


POST = head(b"Host: a", b"Content-Length: 3")
GET = b"GET /x?y=z HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "stream",
    [
        POST + b"abc",
        POST + b"abc" + POST + b"def" + GET,
        GET + GET + POST + b"abc",
        GET + b"HEAD" + GET[3:] + GET,
        b"\r\n" + GET + b"\r\n" + GET,
        head(b"Host: a", b"Connection: close", b"Content-Length: 3") + b"abc" + GET,
        head(b"Host: a", b"Content-Length: 3", version=b"1.0") + b"abc" + GET,
        head(b"Host: a", b"Expect: 100-continue", b"Content-Length: 3") + b"abc" + GET,
        head(b"Host: a", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n" + POST + b"abc",
        head(b"Host: a", b"Cookie: b=c", b"Content-Length: 0") * 2,
        head(b"Content-Length: 0") + GET,
        head(b"Host: a", b"Content-Length: 2000") + b"a" * 2000 + GET,
    ],
)
def test_request_is_read_the_same_in_any_packets(stream: bytes) -> None:
    site = make_site(Echo)
    bytewise = exchange(site, *(stream[at : at + 1] for at in range(len(stream))))
    assert bytewise.startswith(b"HTTP/1.")
    for packets in [(stream,), *((stream[:at], stream[at:]) for at in range(1, len(stream)))]:
        assert exchange(site, *packets) == bytewise, packets


def test_request_after_the_server_has_closed_the_connection_is_not_processed() -> None:
    """TLS delivers what the client had sent before it read the end of the connection."""
    site = make_site(Echo)
    channel: Any = site.buildProtocol(None)  # type: ignore[no-untyped-call]
    transport: Any = cast(Any, Transport)()
    channel.makeConnection(transport)
    channel.timeoutConnection()
    channel.dataReceived(GET)
    assert transport.value() == b""
    channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

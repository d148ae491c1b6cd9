"""Request heads that the HTTP server of pages and NCIP accepts."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
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


def answer(request: bytes) -> bytes:
    """Return the server's response to these bytes, without the page text."""
    bounds = Bounds(ConnectionLimit(9, 9, 9), BodyBudget(1 << 20), Silent(), 1000)  # type: ignore[arg-type]
    page: Any = Page
    connection: Any = Transport
    site, transport = BoundedSite(page(), bounds, Clock(), BoundedRequest), connection()
    channel: Any = site.buildProtocol(None)  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    channel.dataReceived(request)
    written: bytes = transport.value()
    channel.loseConnection()
    return written.partition(b"\r\n")[0]


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

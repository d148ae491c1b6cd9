"""HTTP clients and servers on twisted.web with limits on connections, request time, body size and unread replies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.server import Request, Site
from zope.interface import implementer

from hkall_gateway.clock import ScheduledCall, cancel
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, ConnectionSlot, Refusals
from hkall_gateway.net.limits.fair_reads import BodyBudget, send_at_once

MOST_HEAD: Final = 16_384
"""Maximum number of bytes in the head of a reply, including interim responses. Twisted's server limits requests likewise."""
READ: Final = 8_192
"""Maximum number of bytes per read, so that a reply of many tiny chunks does not block the reactor."""


class TooMuch(Exception):
    """A reply exceeds a limit; the connection is closed."""


@implementer(IAgentEndpointFactory)
class BoundedEndpoints:
    """Creates endpoints for an Agent whose connections are closed after more than `most` bytes of a reply."""

    def __init__(self, reactor: object, connect_s: float, most: int) -> None:
        self._reactor, self._connect_s, self._most = reactor, connect_s, most
        self._policy = BrowserLikePolicyForHTTPS()  # type: ignore[no-untyped-call]  # twisted.web has no types

    def endpointForURI(self, uri: URI) -> object:  # noqa: N802  # Twisted's own name
        """Return the endpoint for a URI."""
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=self._connect_s)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self._most)


class _Endpoint:
    """An endpoint whose connections count the bytes received."""

    def __init__(self, endpoint: Any, most: int) -> None:
        self._endpoint, self._most = endpoint, most

    def connect(self, factory: object) -> Deferred[object]:
        made: Deferred[Any] = self._endpoint.connect(_Counting(factory, self._most))
        return made.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Counting(WrappingFactory):
    noisy = False

    def __init__(self, factory: object, most: int) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # twisted's policies have no types
        self.most = most
        self.protocol: Any = _Reply


class _Reply(ProtocolWrapper):
    """Counts the bytes received on one connection, and aborts it when the reply or its head is too long."""

    factory: Any
    transport: Any
    _why: TooMuch | None = None

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        self._heard, self._head = 0, bytearray()
        self._in_head = True
        _socket_transport(transport).bufferSize = READ
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._heard += len(data)
        if self._in_head:
            seen = max(0, len(self._head) - 3)
            self._head += data[: MOST_HEAD + 4]
            while self._in_head and (end := self._head.find(b"\r\n\r\n", seen)) >= 0:
                if self._head[:10].upper().startswith(b"HTTP/1.1 1"):  # an interim response: another head follows
                    del self._head[: end + 4]
                    seen = 0
                else:
                    self._in_head = end > MOST_HEAD
                    self._head.clear()
        if self._heard > self.factory.most:
            self._cut_off(f"a reply of more than {self.factory.most} bytes")
        elif self._in_head and self._heard > MOST_HEAD:
            self._cut_off(f"a reply whose head has more than {MOST_HEAD} bytes")
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        super().connectionLost(Failure(self._why) if self._why else reason)  # type: ignore[no-untyped-call]

    def _cut_off(self, why: str) -> None:
        if self._why is None:
            self._why = TooMuch(why)
            self.transport.abortConnection()


def _socket_transport(transport: Any) -> Any:
    """Return the transport below TLS, which reads from the socket."""
    below = getattr(transport, "transport", None)
    return transport if below is None else _socket_transport(below)


IDLE_S: Final = 60.0
MOST_PIPELINED: Final = 16
"""Maximum number of pipelined requests in one read; if there are more, the connection is closed."""
DRAINED: Final = 16
"""Multiple of the body limit up to which a longer body is read and discarded, so that the client can read the 413."""
BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TOO_LONG: Final = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
NO_ROOM: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_HOST: Final = re.compile(
    rb"(?=.{0,255}\Z)(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{0,63})(?::[0-9]{0,5})?", re.DOTALL
)
"""A valid DNS name or IP address with an optional port. Source: RFC 9110, 7.2; RFC 1035, 2.3.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits for one protocol: number of connections, bytes of unfinished bodies, and seconds for one request."""

    connections: ConnectionLimit
    bodies: BodyBudget
    refusals: Refusals
    max_body_bytes: int
    idle_s: float = IDLE_S

    def enter(self, address: str, transport: Any) -> ConnectionSlot | None:
        """Return the slot for a new connection, or None after counting a refusal because a limit is reached."""

        def close() -> None:
            self.refusals.note("evicted", address)
            transport.abortConnection()

        seat = self.connections.enter(address, close)
        if seat is None:
            self.refusals.note("full", address)
        return seat


class BoundedRequest(Request):
    """A request that counts the bytes of its body as they arrive, and discards a body that exceeds the limit."""

    channel: Any
    content: BytesIO
    received, hung_up, gone = 0, False, False

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's own name
        """Refuse a malformed request, and a body whose announced length is too large to be drained."""
        self.content = BytesIO()
        if not self._is_well_formed():
            self.hang_up(BAD_REQUEST)
        elif length is not None and length > DRAINED * self._request_bounds.max_body_bytes:
            self._is_endless()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Count and store a piece of the body."""
        self.received += len(data)
        if self.hung_up:
            return
        if self.received > DRAINED * self._request_bounds.max_body_bytes:
            self._is_endless()
        elif self.too_long:
            self._drop_body()
        else:
            self.content.write(data)
            self._request_bounds.bodies.reserve(self, self.received, self._give_up)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Process a well-formed request."""
        self._request_bounds.bodies.release(self)
        if not self.hung_up:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]  # twisted.web has no types

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Discard the body."""
        self.gone = True
        self._drop_body()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    @property
    def too_long(self) -> bool:
        """Return whether the body exceeds the limit."""
        return self.received > self._request_bounds.max_body_bytes

    @property
    def client_address(self) -> str:
        """Return the client's IP address."""
        return str(getattr(self.getClientAddress(), "host", ""))  # type: ignore[no-untyped-call]

    def hang_up(self, status: bytes) -> None:
        """Answer with `status`, a complete response, and close the connection. Discard data that still arrives."""
        if not self.hung_up:
            self.hung_up = True
            self._drop_body()
            self.channel.transport.write(status)
            self.channel.loseConnection()

    def _is_well_formed(self) -> bool:
        """Check that the request has exactly one valid Host (optional in HTTP/1.0) and at most one Transfer-Encoding.

        Source: RFC 9112, 3.2 and 6.1. Twisted itself refuses a request with both Content-Length and `chunked`.
        """
        hosts: Sequence[bytes] = self.requestHeaders.getRawHeaders(b"host", [])
        codings: Sequence[bytes] = self.requestHeaders.getRawHeaders(b"transfer-encoding", [])
        if len(codings) > 1 or len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            return False
        return bool(hosts) or self.channel._version != b"HTTP/1.1"  # the request has no version before its body is read

    def _is_endless(self) -> None:
        self.channel.site.too_long(self)
        self.hang_up(TOO_LONG)

    def _give_up(self) -> None:
        self._request_bounds.refusals.note("bodies", self.client_address, f"{self.received} bytes of an unfinished body")
        self.hang_up(NO_ROOM)

    def _drop_body(self) -> None:
        self._request_bounds.bodies.release(self)
        self.content = BytesIO()

    @property
    def _request_bounds(self) -> Bounds:
        found: Bounds = self.channel.site.bounds
        return found


class BoundedChannel(http.HTTPChannel):
    """An HTTP connection, which is not read while the client does not read its replies.

    `seat` is the slot under the connection limit, or None if the connection was refused.
    """

    transport: Any
    site: Any
    persistent: bool
    seat: ConnectionSlot | None = None
    _begun = _choked = _reading = False
    _finished = 0
    _closing: ScheduledCall | None = None
    _unsent = b""

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's own name
        """Count the connection, or refuse it."""
        super().connectionMade()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._host: object = self.transport.getHost()
        self.seat = self.site.enter(self)
        if self.seat is None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Release the connection's slot."""
        cancel(self._closing)
        if self.seat is not None:
            self.site.leave(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        super().setTimeout(None)  # type: ignore[no-untyped-call]

    def setTimeout(self, period: float | None) -> float | None:  # noqa: N802
        """Set the idle timeout. While it is None the timer runs on without effect, since a new timer takes longer to make."""
        if period is not None:
            return super().setTimeout(period)  # type: ignore[no-untyped-call, no-any-return]
        previous, self.timeOut = self.timeOut, None
        return previous

    def timeoutConnection(self) -> None:  # noqa: N802
        """Close the connection, unless a request is being processed."""
        if self.timeOut is not None:
            super().timeoutConnection()  # type: ignore[no-untyped-call]

    def loseConnection(self) -> object:  # noqa: N802
        """Close the connection, or abort it after `abortTimeout` seconds if the client does not read the written data."""
        if self._closing is None and self.abortTimeout is not None:
            self._closing = self.site.reactor.callLater(self.abortTimeout, self.transport.abortConnection)
        return super().loseConnection()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:  # noqa: N802
        """Restart the idle timer only at the first byte of a request, so that one limit covers the whole request."""
        if not self._begun:
            self._begun = True
            super().resetTimeout()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:  # noqa: N802
        """Process the request, and let the next one restart the idle timer."""
        self._begun = False
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Parse the data, unless the connection was refused."""
        if self.seat is None:  # the connection was refused, but data may follow a PROXY header in the same packet
            return
        outermost, self._reading = not self._reading, True
        if outermost:
            self._finished = 0
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        finally:
            self._reading = not outermost

    def getHost(self) -> object:  # noqa: N802
        """Return the local address, which does not change during a connection."""
        return self._host

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:  # noqa: N802
        """Write the head of a reply together with the first piece of the body."""
        lines = [b": ".join((name, value)) for name, values in headers.getAllRawHeaders() for value in values]
        self._unsent = b"\r\n".join([b" ".join((version, code, reason)), *lines, b"", b""])

    def write(self, data: bytes) -> None:
        """Write a piece of the body, and send at once what the socket takes."""
        data, self._unsent = self._unsent + data, b""
        send_at_once(self.transport, data)

    def writeSequence(self, iovec: Sequence[bytes]) -> None:  # noqa: N802
        """Write a piece of the body that consists of several."""
        self.write(b"".join(iovec))

    def requestDone(self, request: object) -> None:  # noqa: N802
        """Continue with the next request, or close the connection after MOST_PIPELINED requests in one read."""
        if self._unsent:  # a reply without a body
            self.write(b"")
        self._finished += self._reading
        if self._finished > MOST_PIPELINED:
            self.persistent = False
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if self._choked:
            self.pauseProducing()

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop writing and reading, because the client does not read its replies."""
        self._choked = True
        super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:  # noqa: N802
        """Resume writing and reading, because the client has read its replies."""
        self._choked = False
        super().resumeProducing()  # type: ignore[no-untyped-call]


class BoundedSite(Site):
    """A site that enforces `bounds`."""

    noisy = False
    protocol: Any = BoundedChannel

    def __init__(self, root: object, bounds: Bounds, reactor: Any, request: type[BoundedRequest] = BoundedRequest) -> None:
        self.bounds, self.reactor = bounds, reactor
        super().__init__(  # type: ignore[no-untyped-call]  # twisted.web has no types
            root, requestFactory=request, timeout=bounds.idle_s, reactor=reactor, parsePOSTFormSubmission=False
        )

    def enter(self, channel: Any) -> ConnectionSlot | None:
        """Return the slot for a new connection, or None if a limit is reached."""
        address = str(getattr(channel.transport.getPeer(), "host", ""))
        return self.bounds.enter(address, channel.transport)

    def leave(self, channel: Any) -> None:
        """Release the slot of a closed connection."""
        channel.seat.leave()

    def too_long(self, request: BoundedRequest) -> None:
        """Do nothing: a hook for subclasses, called when a request's body is too large to be drained."""

    def log(self, request: object) -> None:
        """Write no access log."""

    def startFactory(self) -> None:  # noqa: N802
        """Do nothing: there is no access log to open, and no timer for its timestamps to start."""

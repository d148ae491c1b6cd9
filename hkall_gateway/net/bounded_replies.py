"""Outgoing HTTP connections with limits on the size of a reply and of its head."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

MOST_HEAD: Final = 16_384
"""Bytes of a reply's head, interim responses included. Twisted's own server has the same limit for requests."""
READ: Final = 8_192
"""Bytes read at a time, so that a reply in very small chunks is processed piece by piece."""


class TooMuch(Exception):
    """A reply that exceeds a limit; the connection is closed."""


@implementer(IAgentEndpointFactory)
class BoundedEndpoints:
    """Makes the endpoints of an Agent. A reply of more than `most` bytes, in any framing, is cut off."""

    def __init__(self, reactor: Any, connect_s: float, most: int) -> None:
        self._reactor, self._connect_s, self._most = reactor, connect_s, most
        self._policy = BrowserLikePolicyForHTTPS()  # type: ignore[no-untyped-call]  # twisted.web has no types

    def endpointForURI(self, uri: Any) -> Any:  # noqa: N802  # Twisted's own name
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=self._connect_s)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self._most)


class _Endpoint:
    """An endpoint that counts the reply bytes of its connections."""

    def __init__(self, endpoint: Any, most: int) -> None:
        self._endpoint, self._most = endpoint, most

    def connect(self, factory: Any) -> Deferred[Any]:
        made: Deferred[Any] = self._endpoint.connect(_Counting(factory, self._most))
        return made.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Counting(WrappingFactory):
    noisy = False

    def __init__(self, factory: Any, most: int) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # twisted's policies have no types
        self.most = most
        self.protocol: Any = _Reply


class _Reply(ProtocolWrapper):
    """Counts the bytes received on one connection; closes it when the reply or its head is too long."""

    factory: Any
    transport: Any
    _why: TooMuch | None = None

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        self._heard, self._head = 0, bytearray()
        self._in_head = True
        _socket(transport).bufferSize = READ
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._heard += len(data)
        if self._in_head:
            self._look_for_end(data)
        if self._heard > self.factory.most:
            self._cut(f"a reply of more than {self.factory.most} bytes")
        elif self._in_head and self._heard > MOST_HEAD:
            self._cut(f"a reply whose head has more than {MOST_HEAD} bytes")
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        super().connectionLost(Failure(self._why) if self._why else reason)  # type: ignore[no-untyped-call]

    def _look_for_end(self, data: bytes) -> None:
        seen = max(0, len(self._head) - 3)
        self._head += data[: MOST_HEAD + 4]
        while (end := self._head.find(b"\r\n\r\n", seen)) >= 0:
            interim = self._head[:10].upper().startswith(b"HTTP/1.1 1")
            if not interim:
                self._in_head = end > MOST_HEAD
                self._head.clear()
                return
            del self._head[: end + 4]
            seen = 0

    def _cut(self, why: str) -> None:
        if self._why is None:
            self._why = TooMuch(why)
            self.transport.abortConnection()


def _socket(transport: Any) -> Any:
    """Returns the transport that reads from the socket, below TLS."""
    below = getattr(transport, "transport", None)
    return transport if below is None else _socket(below)

"""In-memory connections, reliable or with the faults of FAULTS, driven by a given clock.

Every write of one end takes one step of the clock to arrive, so that a test with a fake clock always has the same order. They
transport bytes and know no protocol, except for the error pages that a proxy returns in place of a web server.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.clock import Clock
from hkall_gateway.simulator.consortium.faults import FaultSource, NetworkFault, ProxyErrorPage, damage_bytes

_failure: Any = Failure  # the function has no types
_refused: Any = error.ConnectionRefusedError  # the class has no types

HERE: Final = IPv4Address("TCP", "127.0.0.1", 0)


@implementer(ITransport, IPushProducer)
class End:
    """An in-memory transport. `clock` delivers its bytes; `far` is the other end, once connected."""

    disconnecting = disconnected = False
    producer: Any = None

    def __init__(self, clock: Clock, near: Any) -> None:
        self._clock, self.near = clock, near
        self.far: End | None = None

    def write(self, data: bytes) -> None:
        """Send the data, unless this end was closed."""
        if not self.disconnecting and data:
            self._clock.callLater(0, partial(self._carry, data))

    def writeSequence(self, pieces: Any) -> None:  # noqa: N802  # Twisted's own name
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:  # noqa: N802
        """Close the connection after the bytes already written have arrived."""
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self.close)

    abortConnection = loseConnection  # noqa: N815

    def close(self, reason: BaseException | None = None) -> None:
        """Close both ends with the same reason."""
        for end in (self, self.far):
            if end is not None and not end.disconnected:
                end.disconnecting = end.disconnected = True
                end.near.connectionLost(_failure(reason or ConnectionDone()))

    def hear(self, data: bytes) -> None:
        """Deliver data to the protocol of this end."""
        if not self.disconnected:
            self.near.dataReceived(data)

    def getPeer(self) -> IPv4Address:  # noqa: N802
        return HERE

    def getHost(self) -> IPv4Address:  # noqa: N802
        return HERE

    def registerProducer(self, producer: Any, _streaming: bool) -> None:  # noqa: N802
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def pauseProducing(self) -> None:  # noqa: N802
        """Ignored: no end writes too much here."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Ignored: no end writes too much here."""

    def stopProducing(self) -> None:  # noqa: N802
        self.loseConnection()

    def setTcpNoDelay(self, _enabled: bool) -> None:  # noqa: N802
        """Ignored: there is no TCP."""

    def setTcpKeepAlive(self, _enabled: bool) -> None:  # noqa: N802
        """Ignored: there is no TCP."""

    def _carry(self, data: bytes) -> None:
        if self.far is not None:
            self.far.hear(data)


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """An endpoint that connects to `server`, a factory; None refuses every connection."""

    def __init__(self, server: Any, clock: Clock) -> None:
        self.server, self._clock = server, clock

    def connect(self, factory: Any) -> Deferred[Any]:
        """Return a protocol of `factory`, connected to a protocol of the server."""
        there = self.server.buildProtocol(HERE) if self.server is not None else None
        if there is None:
            return fail(_refused())
        here = factory.buildProtocol(HERE)
        near, far = End(self._clock, here), End(self._clock, there)
        near.far, far.far = far, near
        there.makeConnection(far)
        here.makeConnection(near)
        return succeed(here)


# ---- connections with faults


TIMEOUT_S: Final = 20.0
"""Seconds that a client waits for a reply. A slow reply takes up to twice as long."""

_connect: Any = connectProtocol  # the function has no types


@implementer(IStreamClientEndpoint)
class LossyEndpoint:
    """Connects like `endpoint`, with the faults of `trouble`; `clock` delivers late replies."""

    def __init__(self, endpoint: Any, trouble: FaultSource, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint: Any = endpoint
        self._trouble, self._clock, self._timeout_s = trouble, clock, timeout_s

    def connect(self, factory: Any) -> Deferred[Any]:
        """Return a connection that may meet a fault."""
        fault = self._trouble.next()
        return self._endpoint.connect(factory) if fault is None else self.suffer(fault, factory)

    def suffer(self, fault: NetworkFault, factory: Any) -> Deferred[Any]:
        """Return a connection that meets one fault."""
        if fault.reply == "unconnected":
            return fail(_refused(fault.name))
        client = factory.buildProtocol(HERE)
        wait_s = self._trouble.draw.random() * 2 * self._timeout_s if fault.reply == "late" else 0
        line = _Line(fault, self._trouble, self._endpoint, self._clock, client, wait_s)
        client.makeConnection(line)
        return succeed(client)


class _Line(End):
    """The client's transport. It has several far ends or none: one `_Leg` for each immediate delivery of the client's bytes."""

    def __init__(
        self, fault: NetworkFault, trouble: FaultSource, endpoint: Any, clock: Clock, client: Any, wait_s: float
    ) -> None:
        super().__init__(clock, client)
        self._fault, self._trouble, self._endpoint, self._wait_s = fault, trouble, endpoint, wait_s
        self._said: list[bytes] = []
        self._legs = [self._leg() for when in fault.arrives if when == "now" or (when == "perhaps" and trouble.even())]
        if self._legs:
            self._legs[-1].line = self
        if "later" in fault.arrives:
            clock.callLater(trouble.latest_s(), self._arrive_late)

    def write(self, data: bytes) -> None:
        """Send the data on every leg; if no leg will reply, the first write triggers the fault's reply."""
        if not self._said and (self._fault.page or not self._fault.arrives):
            self._clock.callLater(0, self._answer)
        # The header arrives intact, so that the body is read.
        said = damage_bytes(data) if self._fault.damaged and self._said else data
        self._said.append(said)
        for leg in self._legs:
            leg.say(said)

    def close(self, reason: BaseException | None = None) -> None:
        """Close the client's side and all connections to the server."""
        super().close(reason)
        for leg in self._legs:
            leg.hang_up()

    def heard(self, data: bytes) -> None:
        """Handle data from the server."""
        if self._fault.reply == "none":
            self.close(ConnectionLost(self._fault.name))
        elif self._fault.reply != "page":
            said = damage_bytes(data) if self._fault.reply == "damaged" else data
            self._clock.callLater(self._wait_s, partial(self.hear, said))

    def ended(self) -> None:
        """Handle a close by the server."""
        if self._fault.reply != "page":
            self._clock.callLater(self._wait_s, self.close)

    def _answer(self) -> None:
        if self._fault.page is None:
            self.close(ConnectionLost(self._fault.name))
        else:
            self.hear(_written(self._fault.page, self._trouble.busy_s(self._fault.page)))
            self.close()

    def _arrive_late(self) -> None:
        self._leg().say(b"".join(self._said))

    def _leg(self) -> _Leg:
        leg = _Leg()
        _connect(self._endpoint, leg).addErrback(lambda _: self.ended())
        return leg


class _Leg(Protocol):
    """One connection to the server. Without a `line` its replies are dropped."""

    transport: Any

    def __init__(self) -> None:
        self.line: _Line | None = None
        self._waiting: list[bytes] = []

    def say(self, data: bytes) -> None:
        """Send the data now, or once connected."""
        if self.transport is None:
            self._waiting.append(data)
        else:
            self.transport.write(data)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's own name
        while self._waiting:
            self.transport.write(self._waiting.pop(0))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.line is not None:
            self.line.heard(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self.line is not None:
            self.line.ended()


def _written(page: ProxyErrorPage, wait_s: int) -> bytes:
    """Return an HTTP response with this page."""
    wait = f"Retry-After: {wait_s}\r\n" if page.names_time else ""
    head = f"HTTP/1.1 {page.status} No\r\nContent-Type: text/html\r\n{wait}Content-Length: {len(page.body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + page.body

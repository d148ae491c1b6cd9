"""Connections without sockets: a client's endpoint that leads to a server's factory in the same process, by a given clock.

Every write of one end takes one step of the clock to arrive, so that a test with a fake clock has the same order each time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.circulation.ports import Clock

_failure: Any = Failure  # it has no types
_refused: Any = error.ConnectionRefusedError  # nor has this

HERE: Final = IPv4Address("TCP", "127.0.0.1", 0)


@implementer(ITransport, IPushProducer)
class End:
    """A transport in memory. `clock` delivers its bytes; `far` is the other end once there is one."""

    disconnecting = disconnected = False
    producer: Any = None

    def __init__(self, clock: Clock, near: Any) -> None:
        self._clock, self.near = clock, near
        self.far: End | None = None

    def write(self, data: bytes) -> None:
        """Sends the data, unless this end was closed."""
        if not self.disconnecting and data:
            self._clock.callLater(0, partial(self._carry, data))

    def writeSequence(self, pieces: Any) -> None:  # noqa: N802  # Twisted's own name
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:  # noqa: N802
        """Closes the connection after the bytes already written have arrived."""
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self.close)

    abortConnection = loseConnection  # noqa: N815

    def close(self, reason: BaseException | None = None) -> None:
        """Closes both ends, with the same reason."""
        for end in (self, self.far):
            if end is not None and not end.disconnected:
                end.disconnecting = end.disconnected = True
                end.near.connectionLost(_failure(reason or ConnectionDone()))

    def hear(self, data: bytes) -> None:
        """Delivers data to the protocol of this end."""
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
        """Returns a protocol of `factory`, connected to one of the server's."""
        there = self.server.buildProtocol(HERE) if self.server is not None else None
        if there is None:
            return fail(_refused())
        here = factory.buildProtocol(HERE)
        near, far = End(self._clock, here), End(self._clock, there)
        near.far, far.far = far, near
        there.makeConnection(far)
        here.makeConnection(near)
        return succeed(here)

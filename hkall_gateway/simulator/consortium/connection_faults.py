"""Network faults on connections: wraps a client's endpoint, and injects the faults of FAULTS, driven by a given clock.

It handles bytes and knows no protocol, except for the error pages that a proxy returns in place of a web server.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from hkall_gateway.circulation.ports import Clock
from hkall_gateway.simulator.consortium.in_memory_transport import HERE, End
from hkall_gateway.simulator.consortium.network_faults import FaultSource, NetworkFault, ProxyErrorPage, damaged

TIMEOUT_S: Final = 20.0
"""Seconds that a client waits for a reply; a slow one takes up to twice as long."""

_connect: Any = connectProtocol  # it has no types
_refused: Any = error.ConnectionRefusedError  # nor has this


@implementer(IStreamClientEndpoint)
class LossyEndpoint:
    """Connects as `endpoint` does, with the faults of `trouble`; late replies arrive by `clock`."""

    def __init__(self, endpoint: Any, trouble: FaultSource, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint: Any = endpoint
        self._trouble, self._clock, self._timeout_s = trouble, clock, timeout_s

    def connect(self, factory: Any) -> Deferred[Any]:
        """Returns a connection that may meet a fault."""
        fault = self._trouble.next()
        return self._endpoint.connect(factory) if fault is None else self.suffer(fault, factory)

    def suffer(self, fault: NetworkFault, factory: Any) -> Deferred[Any]:
        """Returns a connection that meets one fault."""
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
        """Sends the data on every leg; where no leg will answer, the first write triggers the fault's reply."""
        if not self._said and (self._fault.page or not self._fault.arrives):
            self._clock.callLater(0, self._answer)
        said = damaged(data) if self._fault.damaged and self._said else data  # its head arrives, so that the rest is read
        self._said.append(said)
        for leg in self._legs:
            leg.say(said)

    def close(self, reason: BaseException | None = None) -> None:
        """Closes the client's side and all connections to the server."""
        super().close(reason)
        for leg in self._legs:
            leg.hang_up()

    def heard(self, data: bytes) -> None:
        """Called with data from the server."""
        if self._fault.reply == "none":
            self.close(ConnectionLost(self._fault.name))
        elif self._fault.reply != "page":
            said = damaged(data) if self._fault.reply == "damaged" else data
            self._clock.callLater(self._wait_s, partial(self.hear, said))

    def ended(self) -> None:
        """Called when the server has closed."""
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
        """Sends the data now, or as soon as it is connected."""
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802, ARG002
        if self.line is not None:
            self.line.ended()


def _written(page: ProxyErrorPage, wait_s: int) -> bytes:
    """A page as an HTTP response."""
    wait = f"Retry-After: {wait_s}\r\n" if page.names_time else ""
    head = f"HTTP/1.1 {page.status} No\r\nContent-Type: text/html\r\n{wait}Content-Length: {len(page.body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + page.body

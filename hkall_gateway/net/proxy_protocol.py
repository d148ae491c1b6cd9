"""Connections through a load balancer: removes the PROXY header and shows the address in it as the peer's address."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from hkall_gateway.circulation.ports import ScheduledCall, cancel
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, ConnectionSlot, Refusals
from hkall_gateway.net.proxy_header import BadHeader, ProxyHeader, strip

HEADER_S: Final = 10.0
"""Seconds in which a balancer must send the PROXY header."""
WITHOUT_HEADER: Final = 1_000
"""Connections of one balancer that may wait for their header at one time. A balancer sends it with the first packet."""


class ProxyProtocolFactory(WrappingFactory):
    """Wraps `factory`: reads the PROXY header of connections from `balancers`; headers from other addresses are ignored.

    No data reaches the inner protocol before the header is complete. A connection without a valid header in time is closed and
    noted in `refusals`, and so is one beyond WITHOUT_HEADER.
    """

    noisy = False

    def __init__(self, factory: Any, balancers: AllowList, refusals: Refusals, clock: Any) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # twisted's policies have no types
        self.balancers, self.refusals, self.clock = balancers, refusals, clock
        self.limit = ConnectionLimit(10 * WITHOUT_HEADER, WITHOUT_HEADER, WITHOUT_HEADER)
        self.waiting: set[_Connection] = set()
        self.protocol: Any = _Connection

    def close_waiting(self) -> None:
        """Closes the connections that wait for their header: at the end of the process, when the port is closed."""
        for connection in tuple(self.waiting):
            connection.close()


class _Connection(ProtocolWrapper):
    """One connection; the inner protocol sees it as its transport."""

    factory: Any
    transport: Any
    _header: bytearray | None = None
    _caller: IPv4Address | IPv6Address | None = None
    _balancer = ""
    _timeout: ScheduledCall | None = None
    _seat: ConnectionSlot | None = None

    def makeConnection(self, transport: Any) -> None:  # noqa: N802  # Twisted's own name
        address = str(getattr(transport.getPeer(), "host", ""))
        if not self.factory.balancers.admits(address):
            super().makeConnection(transport)  # type: ignore[no-untyped-call]
            return
        directlyProvides(self, providedBy(transport))
        self.transport, self._header, self._balancer = transport, bytearray(), address
        self.factory.waiting.add(self)
        self._timeout = self.factory.clock.callLater(HEADER_S, self._refuse, "proxy", f"no header within {HEADER_S:g} seconds")
        self._seat = self.factory.limit.enter(address, partial(self._refuse, "evicted"))
        if self._seat is None:
            self._refuse("full", "too many connections of this balancer wait for their PROXY header")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._header is None:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        self._header += data
        try:
            told = strip(bytes(self._header))
        except BadHeader as bad:
            self._refuse("proxy", str(bad))
            return
        if told:
            self._let_in(told)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self._header is None:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        else:
            self._stop_waiting()

    def getPeer(self) -> Any:  # noqa: N802
        return self._caller or self.transport.getPeer()

    def close(self) -> None:
        """Closes the connection, which has not sent its header."""
        self._stop_waiting()
        self.transport.abortConnection()

    def _let_in(self, told: ProxyHeader) -> None:
        self._stop_waiting()
        self._header = None
        if told.source:  # without one it is a health check by the balancer itself
            kind = IPv6Address if ":" in told.source else IPv4Address
            self._caller = kind("TCP", told.source, told.port)
        super().makeConnection(self.transport)  # type: ignore[no-untyped-call]
        if told.rest:
            super().dataReceived(told.rest)  # type: ignore[no-untyped-call]

    def _refuse(self, why: str, detail: str = "") -> None:
        self.factory.refusals.note(why, self._balancer, detail)
        self.close()

    def _stop_waiting(self) -> None:
        """Stops counting the connection as waiting for its header."""
        self.factory.waiting.discard(self)
        cancel(self._timeout)
        if self._seat is not None:
            self._seat.leave()

"""The PROXY protocol: strips a load balancer's header, and reports the client's address as the peer's address.

Source: The PROXY protocol, versions 1 and 2 (haproxy.org, 2020-03-05). Only configured balancers are trusted. A header from any
other address is passed to the inner protocol, which treats it as an invalid first message.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from hkall_gateway.clock import ScheduledCall, cancel
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, ConnectionSlot, Refusals

_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
_V2_LONGEST: Final = 4096
"""Maximum length of a version 2 header after the fixed part. The length field would allow 64 KiB for each connection."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_FAMILIES: Final[dict[int, int]] = {
    0x00: 0,  # unspecified, without the client's address
    0x11: 12,  # TCP over IPv4: two addresses, two ports
    0x21: 36,  # TCP over IPv6
    0x31: 216,  # UNIX stream: its address cannot be in an allow list
}
"""The number of address bytes for each address family (byte 14 of a version 2 header)."""


class BadHeader(Exception):
    """The first bytes are not a valid PROXY header, so the connection should be closed. The message describes the fault."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The contents of a PROXY header.

    Attributes:
        source: The client's IP address; "" if unknown, or if the balancer opened the connection for itself.
        port: The client's port.
        rest: The bytes received after the header.
    """

    source: str
    port: int
    rest: bytes


def parse_header(data: bytes) -> ProxyHeader | None:
    """Parse a header at the start of the received bytes; return None if it is incomplete. Raise BadHeader if it is invalid."""
    if data.startswith(_V2[: len(data)]):
        return _parse_version_2(data) if len(data) >= _V2_FIXED else None
    if data.startswith(_V1[: len(data)]):
        return _parse_version_1(data)
    raise BadHeader("the first bytes are not those of a PROXY header")


def _parse_version_1(data: bytes) -> ProxyHeader | None:
    line, end, rest = data.partition(b"\r\n")
    if len(line) + len(b"\r\n") > _V1_LONGEST and (end or len(data) >= _V1_LONGEST):
        raise BadHeader(f"no line end within {_V1_LONGEST} bytes")
    if not end:
        return None
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader("", 0, rest)
    if len(words) != 6:
        raise BadHeader(f"{len(words)} words instead of 6")
    _, family, source, target, port, target_port = words
    _parse_address(family, target)
    _parse_port(target_port)
    return ProxyHeader(_parse_address(family, source), _parse_port(port), rest)


def _parse_address(family: str, text: str) -> str:
    try:
        if family == "TCP4":
            return str(ipaddress.IPv4Address(text))
        if family == "TCP6":
            return str(ipaddress.IPv6Address(text))
    except ipaddress.AddressValueError as bad:
        raise BadHeader(f"{text!r} is not an address of {family}") from bad
    raise BadHeader(f"{family!r} is not TCP4, TCP6 or UNKNOWN")


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and str(int(text)) == text and int(text) <= 65535):
        raise BadHeader(f"{text!r} is not a port")
    return int(text)


def _parse_version_2(data: bytes) -> ProxyHeader | None:
    command, family, length = data[12], data[13], int.from_bytes(data[14:_V2_FIXED], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"version and command {command:#04x} are not known")
    if length > _V2_LONGEST:
        raise BadHeader(f"a header of {length} bytes")
    if command == _PROXY and (family not in _FAMILIES or length < _FAMILIES[family]):
        raise BadHeader(f"family {family:#04x} with {length} bytes of addresses")
    end = _V2_FIXED + length
    if len(data) < end:
        return None
    block, rest = data[_V2_FIXED:end], data[end:]
    match family if command == _PROXY else None:
        case 0x11:
            return ProxyHeader(str(ipaddress.IPv4Address(block[:4])), int.from_bytes(block[8:10], "big"), rest)
        case 0x21:
            return ProxyHeader(str(ipaddress.IPv6Address(block[:16])), int.from_bytes(block[32:34], "big"), rest)
        case _:
            return ProxyHeader("", 0, rest)


HEADER_S: Final = 10.0
"""Seconds within which a balancer must send the PROXY header."""
WITHOUT_HEADER: Final = 1_000
"""Maximum number of connections from one balancer without a header. Balancers send the header in the first packet."""


class ProxyProtocolFactory(WrappingFactory):
    """Wraps `factory` and strips the PROXY header from connections that come from `balancers`.

    The inner protocol receives no data before the header is complete. A connection is closed, and recorded in `refusals`, if it
    does not send a valid header in time, or if too many connections already wait for their header (WITHOUT_HEADER).
    """

    noisy = False

    def __init__(self, factory: object, balancers: AllowList, refusals: Refusals, clock: object) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # twisted's policies have no types
        self.balancers, self.refusals, self.clock = balancers, refusals, clock
        self.limit = ConnectionLimit(10 * WITHOUT_HEADER, WITHOUT_HEADER, WITHOUT_HEADER)
        self.waiting: set[_Connection] = set()
        self.protocol: Any = _Connection

    def stopFactory(self) -> None:  # noqa: N802  # Twisted's own name
        """Close the connections that wait for their header, because the port is closed."""
        for connection in tuple(self.waiting):
            connection.close()


class _Connection(ProtocolWrapper):
    """The protocol of a connection, and at the same time the transport of the inner protocol."""

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
            header = parse_header(bytes(self._header))
        except BadHeader as bad:
            self._refuse("proxy", str(bad))
            return
        if header is None:
            return
        self._stop_waiting()
        self._header = None
        if header.source:  # a balancer's own health check has no source
            kind = IPv6Address if ":" in header.source else IPv4Address
            self._caller = kind("TCP", header.source, header.port)
        super().makeConnection(self.transport)  # type: ignore[no-untyped-call]
        if header.rest:
            super().dataReceived(header.rest)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self._header is None:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        else:
            self._stop_waiting()

    def getPeer(self) -> object:  # noqa: N802
        return self._caller or self.transport.getPeer()

    def close(self) -> None:
        """Abort a connection that waits for its header."""
        self._stop_waiting()
        self.transport.abortConnection()

    def _refuse(self, why: str, detail: str = "") -> None:
        self.factory.refusals.note(why, self._balancer, detail)
        self.close()

    def _stop_waiting(self) -> None:
        """Stop counting the connection as waiting for its header."""
        self.factory.waiting.discard(self)
        cancel(self._timeout)
        if self._seat is not None:
            self._seat.leave()

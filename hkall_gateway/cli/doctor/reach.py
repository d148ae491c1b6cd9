"""Reach: the name resolves and the port accepts a connection, both as the gateway itself resolves and connects."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within

SHOWN: Final = 4
"""So many addresses of a name are named."""


async def reached(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host that accepts connections on `port`; () where one of the two checks failed."""
    addresses = await _resolved(sheet, tools, host, port)
    return addresses if addresses and await _connected(sheet, tools, host, port) else ()


async def _resolved(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> tuple[str, ...]:
    receiver = _Receiver()
    tools.reactor.nameResolver.resolveHostName(receiver, host, port)
    try:
        addresses = await within(tools.reactor, sheet.left_s(), receiver.done)
    except TooLong as late:
        sheet.fail("dns", f"{host}: {late}")
        return ()
    if addresses:
        sheet.ok("dns", ", ".join(addresses[:SHOWN]))
    else:
        sheet.fail("dns", f"{host} has no address")
    return addresses


async def _connected(sheet: Sheet, tools: ExaminationTools, host: str, port: int) -> bool:
    began, left_s = tools.reactor.seconds(), sheet.left_s()
    endpoint: Any = HostnameEndpoint(tools.reactor, host, port, timeout=left_s)
    try:
        line = await within(tools.reactor, left_s, endpoint.connect(_factory()))
    except (TooLong, ConnectError, OSError) as failed:
        sheet.fail("tcp", f"port {port}: {connection_error(failed)}")
        return False
    sheet.ok("tcp", f"port {port} of {line.transport.getPeer().host}, {(tools.reactor.seconds() - began) * 1000:.0f} ms")
    line.transport.loseConnection()
    return True


def connection_error(failed: BaseException) -> str:
    """Returns a short reason why a connection failed."""
    text = str(failed).rstrip(".")
    if isinstance(failed, ConnectError):
        text = text.rpartition(": ")[2]  # Twisted's own words, the number and the system's words
    return text or type(failed).__name__


def on_this_machine(host: str) -> bool:
    """Whether a host is this machine's loopback."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _factory() -> Any:
    made: Any = Factory.forProtocol(Protocol)
    made.noisy = False
    return made


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects the addresses of one name."""

    def __init__(self) -> None:
        self.done: Deferred[tuple[str, ...]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolution: Any) -> None:  # noqa: N802  # Twisted's own name
        """Ignores the start of a resolution; only its addresses count."""

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        if address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802
        if not self.done.called:
            self.done.callback(tuple(self._found))

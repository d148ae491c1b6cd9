"""Server endpoints from Twisted endpoint strings, for ports of one gateway and ports shared by several gateways."""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.endpoints import serverFromString
from twisted.internet.tcp import makeBinding

from hkall_gateway.rules.values import NUMBER


def numbered(text: str, number: str) -> str:
    """Insert a gateway's number into an endpoint string: `tcp:808{instance}` becomes `tcp:8082` for the second gateway."""
    return text.replace(NUMBER, number)


class Peered(Protocol):
    """A transport that knows the address of its peer."""

    def getPeer(self) -> object:  # noqa: N802
        """Return the address of the peer."""


class Transport(Peered, Protocol):
    """The methods of a Twisted transport (TCP or TLS) that our protocols use. Mypy cannot use zope's interfaces for this."""

    def write(self, data: bytes) -> object:
        """Write data without blocking."""

    def loseConnection(self) -> object:  # noqa: N802
        """Close the connection after the written data is sent."""

    def abortConnection(self) -> object:  # noqa: N802
        """Close the connection immediately, without sending the remaining data."""

    def pauseProducing(self) -> object:  # noqa: N802
        """Stop reading."""

    def resumeProducing(self) -> object:  # noqa: N802
        """Resume reading."""

    def registerProducer(self, producer: object, streaming: bool) -> object:  # noqa: N802
        """Register a producer, which is paused while the peer does not read."""

    def unregisterProducer(self) -> object:  # noqa: N802
        """Unregister the producer."""


_endpoint: Any = serverFromString  # the function is untyped

SHARED: Final = ("tcp", "tcp6", "ssl")
"""The kinds of endpoints whose port can be shared."""
BACKLOG: Final = 512
"""Maximum number of connections in the kernel's accept queue. A full queue delays a client by a second."""


class CannotOpen(Exception):
    """A port cannot be opened. The message names the port, the reason and the remedy."""


class NotPassed(CannotOpen):
    """The configuration names a socket that systemd has not passed to this process."""


def server_endpoint(reactor: object, text: str, *, shared: bool = False) -> Any:
    """Create a server endpoint from a Twisted endpoint string. Raise NotPassed if systemd has not passed the socket.

    With `shared`, other processes may listen on the same port (SO_REUSEPORT). Endpoint strings have no option for that, so the
    option is set on the endpoint's port.
    """
    if text.startswith("systemd:"):
        try:
            return _endpoint(reactor, text)
        except LookupError:
            remedy = (
                "start its .socket unit (FileDescriptorName is the name) and this service by systemd, or listen on a tcp: port"
            )
            raise NotPassed(f"{text}: systemd has passed no such socket: {remedy}") from None
    roomy = text.partition(":")[0] in SHARED and "backlog=" not in text
    made = _endpoint(reactor, f"{text}:backlog={BACKLOG}" if roomy else text)
    if shared and text.partition(":")[0] in SHARED:
        made._port = makeBinding(made._interface, made._port, reuseAddress=True, reusePort=True)
    return made

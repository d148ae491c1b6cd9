"""Server endpoints: opens a port from its endpoint string, alone or shared with other gateways."""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.endpoints import serverFromString
from twisted.internet.tcp import makeBinding

from hkall_gateway.rules.values import NUMBER


def numbered(text: str, number: str) -> str:
    """Return the endpoint of the gateway with this number: `tcp:808{instance}` is `tcp:8082` for the second."""
    return text.replace(NUMBER, number)


class Peered(Protocol):
    """A transport of any kind that tells the address of its peer."""

    def getPeer(self) -> object:  # noqa: N802
        """Return the address of the peer."""


class Transport(Peered, Protocol):
    """The part of a Twisted transport that protocols use, plain TCP or TLS. To mypy zope's interfaces are no protocols."""

    def write(self, data: bytes) -> object:
        """Write data, without waiting."""

    def loseConnection(self) -> object:  # noqa: N802
        """Close after the written data is sent."""

    def abortConnection(self) -> object:  # noqa: N802
        """Close at once."""

    def pauseProducing(self) -> object:  # noqa: N802
        """Stop reading."""

    def resumeProducing(self) -> object:  # noqa: N802
        """Read again."""

    def registerProducer(self, producer: object, streaming: bool) -> object:  # noqa: N802
        """Have a producer paused while the peer does not read."""

    def unregisterProducer(self) -> object:  # noqa: N802
        """Forget the producer."""


_endpoint: Any = serverFromString  # it has no types

SHARED: Final = ("tcp", "tcp6", "ssl")
"""The kinds of endpoints that have a port to share."""
BACKLOG: Final = 512
"""Connections that the kernel holds until they are accepted; a full backlog delays a client by a second."""


class CannotOpen(Exception):
    """A port cannot be opened. The text names it, the reason and the remedy."""


class NotPassed(CannotOpen):
    """The configuration expects a socket from systemd, and systemd has not passed it to this process."""


def server_endpoint(reactor: object, text: str, *, shared: bool = False) -> Any:
    """Make the server endpoint of a description. Raises NotPassed.

    With `shared` other processes may listen on its port too (SO_REUSEPORT). Twisted's endpoint strings have no option for that,
    so the port of their endpoint is made to set it.
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

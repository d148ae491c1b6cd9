"""How a door is opened: from the text of its endpoint, alone on its port or with other gateways; and how it answers."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.endpoints import serverFromString
from twisted.internet.tcp import Port, Server, makeBinding

_endpoint: Any = serverFromString  # it has no types

SHARED: Final = ("tcp", "tcp6", "ssl")
"""The kinds of endpoints that have a port to share."""
NUMBER: Final = "{instance}"
"""Stands in an endpoint for the number of the gateway on this machine, so that all of them have one configuration."""


def numbered(text: str, number: str) -> str:
    """The endpoint of the gateway that has this number: `tcp:808{instance}` is `tcp:8082` for the second."""
    return text.replace(NUMBER, number)


def entrance(reactor: Any, text: str, *, shared: bool = False) -> Any:
    """The server endpoint of a description. `shared`: others may listen on its port too, and the kernel deals out the callers.

    Twisted's endpoint strings have no word for SO_REUSEPORT; the port of the endpoint that they make says it.
    """
    made = _endpoint(reactor, text)
    if shared and text.partition(":")[0] in SHARED:
        made._port = makeBinding(made._interface, made._port, reuseAddress=True, reusePort=True)
    return made


def prompt(port: Any) -> Any:
    """The same port, on which callers from now on are answered without a detour (`Prompt`); a UNIX socket is left as it is."""
    if isinstance(port, Port):
        port.transport = Prompt  # Twisted's own place for another kind of connection
    return port


class Prompt(Server):
    """A connection that sends at once what it is given, and leaves to the reactor only what the socket does not take.

    Twisted queues every write and asks the kernel to be told when the socket takes it, which it nearly always does: two
    system calls for each answer. What was queued goes first, so the order is that of the writes. Source: performance.md 1.
    """

    _queued = False

    def startWriting(self) -> None:  # noqa: N802
        self._queued = True
        super().startWriting()  # type: ignore[no-untyped-call]  # it has no types

    def stopWriting(self) -> None:  # noqa: N802
        self._queued = False
        super().stopWriting()  # type: ignore[no-untyped-call]  # it has no types

    def write(self, data: bytes) -> None:
        if self.connected and not (self._queued or self.TLS or self.disconnecting):
            sent = self.writeSomeData(data)
            # An error is met again by the reactor, which knows how a connection ends.
            data = data[sent:] if isinstance(sent, int) else data
        super().write(data)  # type: ignore[no-untyped-call]

"""How a door is opened: from the text of its endpoint, alone on its port or with other gateways of this machine."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.endpoints import serverFromString
from twisted.internet.tcp import makeBinding

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

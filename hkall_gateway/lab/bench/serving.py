"""The small servers that the gateway is compared with, each in a process of its own: `python -m …serving NAME PORT`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from hkall_gateway.lab.bench.processes import HOST

CANNED: Final = b"<?xml version='1.0'?><m><LookupUserResponse/><RequestItemResponse/>" + b"<x/>" * 300 + b"</m>"
"""About as long as the answers that it stands for."""


def echo(port: int) -> None:
    """A bare Twisted LineReceiver that says every line again: the ceiling of anything on Twisted."""
    from twisted.internet import protocol
    from twisted.protocols.basic import LineReceiver

    class Echo(LineReceiver):
        delimiter = b"\r"

        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            self.sendLine(line)  # type: ignore[no-untyped-call]  # it has no types

    factory: Any = protocol.Factory.forProtocol(Echo)
    _serve(port, factory)


def canned(port: int) -> None:
    """A twisted.web resource that answers always the same bytes."""
    from twisted.web import resource, server

    class Canned(resource.Resource):
        isLeaf = True  # noqa: N815

        def render_POST(self, request: Any) -> bytes:  # noqa: N802
            request.setHeader(b"content-type", b"application/xml")
            return CANNED

    site: Any = server.Site
    _serve(port, site(Canned()))  # type: ignore[no-untyped-call]


def _serve(port: int, factory: Any) -> None:
    from hkall_gateway.daemon import the_reactor

    reactor = the_reactor()
    reactor.listenTCP(port, factory, 512, HOST)
    reactor.run()


SERVERS: Final[Mapping[str, Callable[[int], None]]] = {"echo": echo, "canned": canned}
"""By the names that subjects have."""


if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))

"""A terminal on a real socket, which sends messages and reads replies with sequence numbers and checksums."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from hkall_gateway.net.endpoints import Transport
from hkall_gateway.simulator.scenario.in_memory import Seal


class SocketTerminal(Protocol):
    """A connection to a gateway. `overhear(direction, line)` is called for every message, to print it for example."""

    def __init__(self, overhear: Callable[[str, str], None]) -> None:
        self._overhear = overhear
        self._buffer = b""
        self._waiting: deque[Deferred[str]] = deque()
        self._seal = Seal("utf-8")
        self.closed: Deferred[None] = Deferred()

    def ask(self, line: str) -> Deferred[str]:
        """Send a message without its terminator. The Deferred fires with the reply, also without its terminator."""
        self._overhear(">", line)
        cast(Transport, self.transport).write(self._seal.sealed(line))
        waiter: Deferred[str] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Fire the oldest waiting Deferred with each complete line."""
        self._buffer += data
        while b"\r" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r")
            text = line.strip(b"\n").decode()
            body = text[: text.rindex("AY")] if "AY" in text[-9:] else text
            self._overhear("<", body)
            if self._waiting:
                self._waiting.popleft().callback(body)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Fail the Deferreds that still wait."""
        for waiter in self._waiting:
            waiter.errback(reason)
        self.closed.callback(None)

    def hang_up(self) -> None:
        """Close the connection."""
        cast(Transport, self.transport).loseConnection()


async def call(
    reactor: object, port: int, overhear: Callable[[str, str], None] = lambda _direction, _line: None
) -> SocketTerminal:
    """Connect to a gateway on this machine."""
    factory: Any = Factory.forProtocol(lambda: SocketTerminal(overhear))  # Twisted accepts any callable that returns a protocol
    return cast(SocketTerminal, await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory))

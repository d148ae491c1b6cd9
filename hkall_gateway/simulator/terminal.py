"""A simulated terminal on a real socket: sends lines and reads replies, with sequence numbers and checksums."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from hkall_gateway.sip2.codec.lines import checksum


class SocketTerminal(Protocol):
    """A connection to a gateway. `overhear(direction, line)` is called for every line, for output such as the demo's."""

    def __init__(self, overhear: Callable[[str, str], None]) -> None:
        self._overhear = overhear
        self._buffer = b""
        self._waiting: deque[Deferred[str]] = deque()
        self._number = 0
        self.closed: Deferred[None] = Deferred()

    def ask(self, line: str) -> Deferred[str]:
        """Sends a line without its end; fires with the reply without its end."""
        number, self._number = self._number, (self._number + 1) % 10
        whole = f"{line}AY{number}AZ".encode()
        self._overhear(">", line)
        self._send(whole + checksum(whole) + b"\r")
        waiter: Deferred[str] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._buffer += data
        while b"\r" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r")
            self._answered(line.strip(b"\n").decode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        for waiter in self._waiting:
            waiter.errback(reason)
        self.closed.callback(None)

    def hang_up(self) -> None:
        """Closes the connection."""
        transport: Any = self.transport
        transport.loseConnection()

    def _answered(self, line: str) -> None:
        body = line[: line.rindex("AY")] if "AY" in line[-9:] else line
        self._overhear("<", body)
        if self._waiting:
            self._waiting.popleft().callback(body)

    def _send(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)


def _in_silence(_direction: str, _line: str) -> None:
    """Ignores the line."""


async def call(reactor: Any, port: int, overhear: Callable[[str, str], None] = _in_silence) -> SocketTerminal:
    """Connects to a gateway on this machine."""
    factory: Any = Factory.forProtocol(lambda: SocketTerminal(overhear))  # any callable makes a protocol
    connected: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    return connected  # type: ignore[no-any-return]

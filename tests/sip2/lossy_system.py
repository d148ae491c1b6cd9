"""A local system at the other end of real connections that loses, delays, truncates and repeats messages and replies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hkall_gateway.simulator.ils import SimulatedIls
from hkall_gateway.sip2.client import LineConnection
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, decode, encode
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND

STANDARD: Final = DIALECTS["standard"]
GONE: Any = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's own
LATE_S: Final = 50
"""Delay in seconds before a delayed message is executed."""
VERY_LATE_S: Final = 57
"""Delay of a message that is overtaken by later ones about the same item. It is nearly the minute that the gateway allows."""

FAULTS: Final = (
    "none",
    "request lost",
    "reply lost",
    "executed late",
    "overtaken",
    "answered late",
    "cut",
    "garbled",
    "said twice",
    "hangs up before",
    "hangs up after",
    "no port",
)
"""Possible faults of one message and its reply."""


class LossySystem:
    """Connections to a simulated system. `faults` apply to its next messages, one each.

    Transactions on one item are executed in the order received, although a delayed one is not answered. Only an "overtaken" one
    is executed after later ones.
    While `is_away`, it takes no connection. `payments` counts executed payments by patron and number.
    """

    def __init__(self, system: SimulatedIls, clock: Clock) -> None:
        self.system, self.clock = system, clock
        self.faults: deque[str] = deque()
        self.is_away = False
        self.payments: Counter[tuple[str, str]] = Counter()
        self._late: list[Sip2Message] = []
        self._wires: list[_Wire] = []

    def drop_silently(self) -> None:
        """Let a firewall drop all connections without telling either side: nothing arrives any more."""
        for wire in self._wires:
            wire.dropped = True

    def hang_up_all(self) -> None:
        """Close all connections, as a system does that stops."""
        while self._wires:
            self._wires.pop().hang_up()

    def lose_all_connections(self) -> None:
        """Drop all connections, as if the gateway was killed: no further reply arrives."""
        while self._wires:
            self._wires.pop().dead = True

    async def dial(self) -> LineConnection:
        if self.is_away:
            raise ConnectError
        if self.faults and self.faults[0] == "no port":
            self.faults.popleft()
            raise ConnectError
        client = LineConnection()
        connected: Any = client
        self._wires.append(_Wire(self, client))
        connected.makeConnection(self._wires[-1])
        return client

    def heard(self, line: bytes, wire: _Wire) -> None:
        """Handle one line of a connection."""
        asked = decode(line, STANDARD)
        if asked.code == RESEND:
            # Repeat the reply with sequence number 0, whatever the number was before, as SIPServer does.
            wire.says(encode(Sip2Message(wire.last.code, wire.last.fields, "0", checked=True), STANDARD))
            return
        fault = self.faults.popleft() if self.faults else "none"
        if fault == "hangs up before":
            wire.hang_up()
        elif fault == "executed late" and asked.code in ("09", "11", "37"):
            self._late.append(asked)
            self.clock.callLater(LATE_S, self._execute_late, asked)
        elif fault == "overtaken" and asked.code in ("09", "11", "37"):
            self.clock.callLater(VERY_LATE_S, self._executed, asked)
        elif fault not in ("request lost", "executed late", "overtaken"):
            self._answer(asked, fault, wire)

    def _answer(self, asked: Sip2Message, fault: str, wire: _Wire) -> None:
        for late in list(self._late):  # the item is locked, so earlier transactions are executed first
            if late.get("AB") and late.get("AB") == asked.get("AB") and asked.code != "17":
                self._execute_late(late)
        said = self._executed(asked)
        wire.last = Sip2Message(said.code, said.fields, asked.sequence, checked=True)
        line = encode(wire.last, STANDARD)
        REPLIES[fault](self, wire, line)

    def _execute_late(self, asked: Sip2Message) -> None:
        if asked in self._late:
            self._late.remove(asked)
            self._executed(asked)

    def _executed(self, asked: Sip2Message) -> Sip2Message:
        if asked.code == "37":
            self.payments[asked.get("AA"), asked.get("BK")] += 1
        return self.system.answer(asked, STANDARD)


class _Wire(StringTransport):
    """The system's end of one connection."""

    def __init__(self, system: LossySystem, client: LineConnection) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own
        self._system, self._client, self.dead, self.dropped = system, client, False, False
        self.last = Sip2Message(GARBLED)

    def write(self, data: bytes) -> None:
        if not self.dropped:
            self._system.heard(data, self)

    def says(self, line: bytes) -> None:
        if not self._client.closed and not self.dead and not self.dropped:
            self._client.dataReceived(line)

    def hang_up(self) -> None:
        if not self._client.closed and not self.dead:
            self._client.connectionLost(GONE)

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's own name
        self.hang_up()


def _nothing(_system: LossySystem, _wire: _Wire, _line: bytes) -> None:
    """Lose the reply."""


REPLIES: Final[dict[str, Callable[[LossySystem, _Wire, bytes], object]]] = {
    "none": lambda _system, wire, line: wire.says(line),
    "no port": lambda _system, wire, line: wire.says(line),  # the connection is already open, so there is no fault
    "reply lost": _nothing,
    "answered late": lambda system, wire, line: system.clock.callLater(5, wire.says, line),
    "cut": lambda _system, wire, line: wire.says(line[: max(30, len(line) * 2 // 3)] + b"\r"),
    "garbled": lambda _system, wire, line: wire.says(line[:20] + b"#" + line[21:]),
    "said twice": lambda _system, wire, line: wire.says(line + line),
    "hangs up after": lambda _system, wire, _line: wire.hang_up(),
}
"""How a reply is sent, by the fault of its message."""

"""NCIP 1 without HTTP: documents on a bare connection, each ended by its own closing tag, and answered in order.

Nobody who does this sends a length or a terminator (Aleph, Voyager); the end of a document is the end of its root element.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from hkall_gateway.edge.limits import Gate
from hkall_gateway.ncip.handlers import Door, respond
from hkall_gateway.ncip.peers import peer_of

LOG = structlog.get_logger()

IDLE_S: Final = 60.0
MOST_WAITING: Final = 16
"""So many documents may wait for their turn on one connection; then nothing more is read until one is answered."""
END: Final = re.compile(rb"</(?:[\w.-]{1,40}:)?NCIP(?:Version)?Message\s{0,100}>")
LONGEST_END: Final = 160
BLANK: Final = b" \t\r\n\0\x04"


class NcipLine(Protocol):
    """One connection: bytes are cut into documents, and each waits for the answer of the one before."""

    transport: Any
    factory: Any

    def __init__(self, lines: NcipLines) -> None:
        self._lines, self._buffer, self._seen = lines, bytearray(), 0
        self._waiting, self._busy, self._last, self._gone = deque[bytes](), False, False, False
        self._timer: Any = None
        self._let_in = False

    @property
    def busy(self) -> bool:
        return self._busy or bool(self._waiting)

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's own name
        self._let_in = self._lines.enter(self)
        if not self._let_in:
            self.transport.loseConnection()
            return
        self._rest()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802
        self._wake()
        self._waiting.clear()
        self._last = self._gone = True
        if self._let_in:
            self._lines.leave(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._last:
            return
        if not self._buffer:
            self._rest()  # a document begins, and all of it has as long as a silence may last
        self._buffer += data
        while (document := self._next()) is not None:
            self._rest()
            self._take(document)
        if not self._buffer.strip(BLANK):
            self._buffer.clear()
            self._seen = 0
        if len(self._buffer) > self._lines.max_body_bytes:
            LOG.warning("ncip.too_long", host=peer_of(self.transport).address, bytes=len(self._buffer))
            self._give_up()

    def close(self) -> None:
        """No further document; hang up when what is in hand is answered."""
        self._last = True
        if not self.busy:
            self.transport.loseConnection()

    # ---- cutting

    def _next(self) -> bytes | None:
        """The next whole document; None while its end has not come. What was searched once is not searched again."""
        found = END.search(self._buffer, max(0, self._seen - LONGEST_END))
        if found is None:
            self._seen = len(self._buffer)
            return None
        document = bytes(self._buffer[: found.end()])
        del self._buffer[: found.end()]
        self._seen = 0
        return document

    def _take(self, document: bytes) -> None:
        self._waiting.append(document)
        if len(self._waiting) > MOST_WAITING:
            self.transport.pauseProducing()
        if not self._busy:
            ensureDeferred(self._answer_all())

    async def _answer_all(self) -> None:
        self._busy = True
        while self._waiting:
            document = self._waiting.popleft()
            reply = await respond(self._lines.door, document, None, peer_of(self.transport))
            if not self._gone:
                self.transport.write(reply)
            if len(self._waiting) == MOST_WAITING and not self._last:
                self.transport.resumeProducing()
        self._busy = False
        if self._last and not self._gone:
            self.transport.loseConnection()
        self._lines.rested()

    # ---- silence

    def _rest(self) -> None:
        self._wake()
        self._timer = self._lines.reactor.callLater(self._lines.idle_s, self._silent)

    def _wake(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _silent(self) -> None:
        """Nothing came for too long. A document that did not end is answered as what it is; then the line is closed."""
        if self.busy:
            self._rest()
        else:
            self._give_up()

    def _give_up(self) -> None:
        begun = bytes(self._buffer[: self._lines.max_body_bytes]).strip(BLANK)
        self._buffer.clear()
        self._wake()
        self._last = True
        if begun:
            self._take(begun)
        elif not self.busy:
            self.transport.loseConnection()


class NcipLines(Factory):
    """All connections of the raw door. `drain` ends it in good order."""

    noisy = False

    def __init__(self, door: Door, max_body_bytes: int, reactor: Any, gate: Gate, idle_s: float = IDLE_S) -> None:
        self.door, self.max_body_bytes, self.reactor, self.idle_s = door, max_body_bytes, reactor, idle_s
        self._gate, self._lines, self._drained = gate, dict[NcipLine, str](), list[Deferred[None]]()

    def buildProtocol(self, addr: Any) -> NcipLine:  # noqa: ARG002, N802
        return NcipLine(self)

    def enter(self, line: NcipLine) -> bool:
        """Whether there is room for this connection."""
        address = peer_of(line.transport).address
        if not self._gate.enter(address):
            self.door.counters.add("connections_refused_total", "ncip", "limit")
            return False
        self._lines[line] = address
        return True

    def leave(self, line: NcipLine) -> None:
        """This connection is gone."""
        self._gate.leave(self._lines.pop(line))
        self.rested()

    def rested(self) -> None:
        """Somebody has nothing in hand any more."""
        while self._drained and not any(line.busy for line in self._lines):
            self._drained.pop().callback(None)

    def drain(self) -> Deferred[None]:
        """Answer what is in hand, take nothing new, then close every connection. Fires when nothing is in hand any more."""
        for line in list(self._lines):
            line.close()
        if not any(line.busy for line in self._lines):
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._drained.append(waiting)
        return waiting

"""NCIP 1 over raw TCP, where a connection carries documents without HTTP, which are answered in order.

Systems that use raw TCP (Aleph, Voyager) send neither a length nor a terminator. A document ends with the root's closing tag.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from hkall_gateway.circulation.command import pause
from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.ncip.handlers import NcipServices, respond
from hkall_gateway.ncip.serving import services_of
from hkall_gateway.net.bounded_http import Bounds
from hkall_gateway.net.endpoints import Transport
from hkall_gateway.net.limits.connection_limit import ConnectionSlot
from hkall_gateway.net.limits.fair_reads import mark_authenticated
from hkall_gateway.net.limits.timeout import message_deadline
from hkall_gateway.peers.callers import Caller, peer_of
from hkall_gateway.peers.protocol import Peers

LOG = structlog.get_logger()

MOST_WAITING: Final = 16
"""Number of waiting documents on one connection above which reading is paused."""
FLOOD: Final = 64
"""Number of waiting documents above which the connection is closed after answering them."""
AT_ONCE: Final = 4
"""Number of documents to answer on one connection before serving other connections."""
CLOSE_S: Final = 15.0
"""Seconds that a peer has to read the last replies before the connection is aborted."""
END: Final = re.compile(rb"</(?:[\w.-]{1,40}:)?NCIP(?:Version)?Message\s{0,100}>")
LONGEST_END: Final = 160
BLANK: Final = b" \t\r\n\0\x04"


class NcipConnection(Protocol):
    """Protocol for one connection that splits the received bytes into documents and answers them one after the other."""

    transport: Transport  # type: ignore[assignment]  # mypy does not treat zope interfaces as protocols

    def __init__(self, factory: NcipConnectionFactory) -> None:
        self._factory, self._buffer, self._seen = factory, bytearray(), 0
        self._waiting: deque[tuple[bytes, Deadline | None]] = deque()
        self._deadline: Deadline | None = None
        self._busy = self._last = self._gone = False
        self._choked = self._paused = False
        self._timer: ScheduledCall | None = None
        self._seat: ConnectionSlot | None = None

    @property
    def busy(self) -> bool:
        """Whether a document is waiting or being answered."""
        return self._busy or bool(self._waiting)

    def connectionMade(self) -> None:  # noqa: N802  # named by Twisted
        """Take a connection slot, or abort the connection if no slot is free."""
        self._seat = self._factory.enter(self)
        if self._seat is None:
            self._last = True
            self.transport.abortConnection()
            return
        self.transport.registerProducer(self, True)
        self._restart_idle_timer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802
        """Drop the waiting documents, and free the connection slot."""
        self._cancel_timer()
        self._waiting.clear()
        if self._deadline is not None:
            self._deadline.drop()
        self._last = self._gone = True
        self._factory.bounds.bodies.release(self)
        if self._seat is not None:
            self._seat.leave()
            self._factory.leave(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Split the received bytes into documents."""
        if self._last:
            return
        if not self._buffer:
            data = data.lstrip(BLANK)
            if not data:
                return  # blanks do not reset the idle timeout
            self._restart_idle_timer()  # a document begins, and must be complete within the idle timeout
        self._buffer += data
        while not self._last and (document := self._cut_document()) is not None:
            self._restart_idle_timer()
            self._waiting.append((document, self._start_deadline()))
            self._last = len(self._waiting) > FLOOD
        self._start_answering()
        if self._last:
            self._buffer.clear()
        elif len(self._buffer) > self._factory.bounds.max_body_bytes:
            LOG.warning("ncip.too_long", host=peer_of(self.transport).address, bytes=len(self._buffer))
            self._give_up()
        else:
            self._factory.bounds.bodies.reserve(self, len(self._buffer), self._drop_incomplete)

    def close(self) -> None:
        """Stop accepting documents, and close the connection after answering the waiting documents."""
        self._last = True
        if not self.busy:
            self._hang_up()

    # ---- IPushProducer, which the transport calls when its write buffer is full or drained

    def pauseProducing(self) -> None:  # noqa: N802  # named by Twisted
        """Pause reading while the write buffer is full."""
        self._choked = True
        self._hold_back()

    def resumeProducing(self) -> None:  # noqa: N802
        """Resume reading."""
        self._choked = False
        self._hold_back()

    def stopProducing(self) -> None:  # noqa: N802
        """Do nothing, since the connection is closed and connectionLost follows."""

    def _start_deadline(self) -> Deadline | None:
        return message_deadline(self._factory.services.timeout, self.transport)

    def _cut_document(self) -> bytes | None:
        """Cut the next document from the buffer. Return None if it is incomplete. Do not search the same bytes twice."""
        found = END.search(self._buffer, max(0, self._seen - LONGEST_END))
        if found is None:
            self._seen = len(self._buffer)
            return None
        document = bytes(self._buffer[: found.end()])
        self._buffer = self._buffer[found.end() :].lstrip(BLANK)
        self._factory.bounds.bodies.release(self)
        self._seen = 0
        return document

    def _start_answering(self) -> None:
        """Start answering the waiting documents, unless they are already being answered."""
        if self._waiting and not self._busy:
            _ = ensureDeferred(self._answer_all())
        self._hold_back()

    def _hold_back(self) -> None:
        """Pause reading if the peer does not read replies or sends faster than we answer. Otherwise resume reading."""
        paused = self._choked or len(self._waiting) > MOST_WAITING
        if paused == self._paused or self._last:
            return
        self._paused = paused
        if paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    async def _answer_all(self) -> None:
        self._busy = True
        answered = 0
        while self._waiting:
            document, self._deadline = self._waiting.popleft()
            services, peer = self._factory.services, peer_of(self.transport)
            try:
                reply = await respond(services, document, None, peer, self._mark_authenticated, deadline=self._deadline)
            except Undecided:
                self._waiting.clear()
                self._last = self._gone = True
                self.transport.abortConnection()
                break
            if not self._gone:
                self.transport.write(reply)
            self._hold_back()
            answered += 1
            if self._waiting and not answered % AT_ONCE:
                await pause(self._factory.reactor, 0)  # serve other connections first
        self._busy, self._deadline = False, None
        if self._last and not self._gone:
            self._hang_up()
        self._factory.rested()

    def _mark_authenticated(self, caller: Caller) -> None:
        """Count the connection for its authenticated caller, unless the caller has reached its `max_connections`."""
        if self._seat is not None and self._seat.prove(caller.agency, caller.access.max_connections):
            mark_authenticated(self.transport, f"ncip {caller.agency}")

    def _restart_idle_timer(self) -> None:
        self._start_timer(self._factory.bounds.idle_s, self._handle_idle_timeout)

    def _start_timer(self, seconds: float, then: Callable[[], object]) -> None:
        self._cancel_timer()
        self._timer = self._factory.reactor.callLater(seconds, then)

    def _cancel_timer(self) -> None:
        cancel(self._timer)

    def _handle_idle_timeout(self) -> None:
        """Answer the incomplete document (with a Problem) after the idle timeout, and close the connection."""
        if self.busy:
            self._restart_idle_timer()
        else:
            self._give_up()

    def _drop_incomplete(self) -> None:
        """Drop the incomplete document to free memory, and close the connection."""
        self._factory.bounds.refusals.note("bodies", peer_of(self.transport).address, f"{len(self._buffer)} bytes")
        self._buffer.clear()
        self._give_up()

    def _give_up(self) -> None:
        begun = bytes(self._buffer[: self._factory.bounds.max_body_bytes]).strip(BLANK)
        self._buffer.clear()
        self._factory.bounds.bodies.release(self)
        self._cancel_timer()
        self._last = True
        if begun:
            self._waiting.append((begun, self._start_deadline()))
            self._start_answering()
        elif not self.busy:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close the connection. Abort it after CLOSE_S if the peer does not read the last replies."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._start_timer(CLOSE_S, self.transport.abortConnection)


class NcipConnectionFactory(Factory):
    """The factory for raw TCP connections. `drain` shuts all connections down gracefully."""

    noisy = False

    def __init__(self, services: NcipServices, bounds: Bounds, reactor: Clock) -> None:
        self.services, self.bounds, self.reactor = services, bounds, reactor
        self._connections, self._drained = set[NcipConnection](), list[Deferred[None]]()

    def buildProtocol(self, addr: object) -> NcipConnection:  # noqa: ARG002, N802
        """Create the protocol for a new connection."""
        return NcipConnection(self)

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""
        return self.services.admits(address)

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on."""
        self.services = services_of(peers)

    def enter(self, connection: NcipConnection) -> ConnectionSlot | None:
        """Return a slot for a connection, or None if no caller may use the IP address or if a limit is reached."""
        address = peer_of(connection.transport).address
        if not self.services.admits(address):
            self.bounds.refusals.note("address", address)
            return None
        seat = self.bounds.enter(address, connection.transport)
        if seat is not None:
            self._connections.add(connection)
        return seat

    def leave(self, connection: NcipConnection) -> None:
        """Forget a closed connection."""
        self._connections.discard(connection)
        self.rested()

    def rested(self) -> None:
        """Fire the Deferreds from `drain` if all connections are idle. Called when a connection becomes idle or closes."""
        while self._drained and not any(connection.busy for connection in self._connections):
            self._drained.pop().callback(None)

    def drain(self) -> Deferred[None]:
        """Stop accepting documents, answer the waiting documents, and close all connections. Fires after the last answer."""
        for connection in list(self._connections):
            connection.close()
        if not any(connection.busy for connection in self._connections):
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._drained.append(waiting)
        return waiting

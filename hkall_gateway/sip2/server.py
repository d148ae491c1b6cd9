"""The sockets of terminals: bytes in, turn-taking, timeouts, and one write per answer. It does not look inside."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from hkall_gateway.edge.limits import Gate
from hkall_gateway.sip2.dialects import DIALECTS, Dialect
from hkall_gateway.sip2.handlers import Door, respond, struck_out
from hkall_gateway.sip2.session import Event, Hang, Say, Session

LOG = structlog.get_logger()

LOGIN_S: Final = 60.0
"""Time to log in. Source: Koha's sample configuration."""
MOST_WAITING: Final = 64
"""Messages of one terminal that may wait; beyond it nothing more is read from its socket."""
DRAIN_S: Final = 4.0
"""How long `drain` waits for what is in hand, and for peers that do not read their answers."""


class Clock(Protocol):
    """The part of a reactor that has a timer; a test's clock has it too."""

    def callLater(self, delay: float, call: Callable[..., Any], /, *args: object) -> Any: ...  # noqa: N802


class Socket(Protocol):
    """The part of a Twisted transport that is used here, plain TCP or TLS; to mypy zope's interfaces are no protocols."""

    def getPeer(self) -> Any: ...  # noqa: N802

    def write(self, data: bytes) -> object: ...

    def loseConnection(self) -> object: ...  # noqa: N802

    def abortConnection(self) -> object: ...  # noqa: N802

    def pauseProducing(self) -> object: ...  # noqa: N802

    def resumeProducing(self) -> object: ...  # noqa: N802


class Terminals(Factory):
    """Makes the connections of one door and counts them.

    `door` answers what is configured now, so that a reload is seen by the next message; `framing` is the dialect until
    the login names one; `idle_s` is the silence after which a logged-in terminal is hung up on.
    """

    noisy = False

    def __init__(
        self,
        door: Callable[[], Door],
        gate: Gate,
        clock: Clock,
        idle_s: float,
        login_s: float = LOGIN_S,
        framing: Dialect = DIALECTS["standard"],
    ) -> None:
        self.door, self.gate, self.clock = door, gate, clock
        self.idle_s, self.login_s, self.framing = idle_s, login_s, framing
        self.lines: set[Line] = set()
        self._drained: Deferred[None] | None = None
        self._patience: Any = None

    @property
    def draining(self) -> bool:
        return self._drained is not None

    def buildProtocol(self, addr: IAddress | None) -> Line:  # noqa: ARG002, N802
        return Line(self)

    def drain(self) -> Deferred[None]:
        """Take nothing more, answer what is in hand, close. Fires when the last connection is closed; called once.

        What is not done after DRAIN_S seconds is cut off.
        """
        self._drained = Deferred()
        self._patience = self.clock.callLater(DRAIN_S, self._cut)
        for line in tuple(self.lines):
            line.finish()
        self._look_if_drained()
        return self._drained

    def opened(self, line: Line) -> None:
        self.lines.add(line)
        self._count()

    def closed(self, line: Line) -> None:
        self.lines.discard(line)
        self._count()
        self._look_if_drained()

    def _count(self) -> None:
        self.door().counters.put("sip2_sessions", len(self.lines))

    def _cut(self) -> None:
        for line in tuple(self.lines):
            line.hang("cut", at_once=True)

    def _look_if_drained(self) -> None:
        if self._drained is None or self.lines or self._drained.called:
            return
        if self._patience.active():
            self._patience.cancel()
        self._drained.callback(None)


class Line(TwistedProtocol):
    """One terminal's connection. Its messages are answered one after the other, in the order in which they came."""

    def __init__(self, terminals: Terminals) -> None:
        self._terminals = terminals
        self._session = Session(terminals.framing)
        self._waiting: deque[Event] = deque()
        self._counted: Counter[str] = Counter()
        self._serving = self._admitted = self._paused = self._closing = False
        self._peer = self._why = ""
        self._timer: Any = None

    @property
    def _socket(self) -> Socket:
        return cast(Socket, self.transport)  # makeConnection was called: there is one

    # ---- what Twisted calls

    def connectionMade(self) -> None:  # noqa: N802
        self._peer = str(getattr(self._socket.getPeer(), "host", ""))  # a UNIX socket's peer has none
        if why := self._unwelcome():
            self._terminals.door().counters.add("connections_refused_total", "sip2", why)
            LOG.warning("sip2.not_admitted", channel="sip2", peer=self._peer, why=why)
            self.hang(why, at_once=True)
            return
        self._admitted = True
        self._terminals.opened(self)
        self._timer = self._terminals.clock.callLater(self._terminals.login_s, self._too_late)
        LOG.info("sip2.opened", channel="sip2", peer=self._peer)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._closing:
            return
        if self._session.terminal is not None:
            self._timer.reset(self._terminals.idle_s)
        self._waiting.extend(self._session.receive(data))
        self._tally()
        if not self._serving and self._waiting:
            self._serving = True
            Deferred.fromCoroutine(self._serve()).addErrback(self._failed)
        self._hold_back()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self._closing = True
        self._waiting.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._admitted:
            self._tally()
            self._terminals.gate.leave(self._peer)
            self._terminals.closed(self)
            LOG.info(
                "sip2.closed",
                channel="sip2",
                peer=self._peer,
                terminal=self._session.terminal or "",
                why=self._why or type(reason.value).__name__,
                counters=dict(self._session.counters),
            )

    # ---- what the factory calls

    def finish(self) -> None:
        """Read nothing more; answer what is in hand, then close."""
        if self._serving:
            self._why = self._why or "drained"
            self._waiting.append(Hang("drained"))
        else:
            self.hang("drained")

    def hang(self, why: str, *, at_once: bool = False) -> None:
        """Close; what was written is still sent, unless it is at once."""
        self._closing, self._why = True, self._why or why
        self._waiting.clear()
        if at_once:
            self._socket.abortConnection()
        else:
            self._socket.loseConnection()

    # ---- private

    def _unwelcome(self) -> str:
        """Why this peer is not let in; "" if it is, and then the gate has counted it."""
        if self._terminals.draining:
            return "draining"
        if not self._terminals.door().admits(self._peer):
            return "address"
        return "" if self._terminals.gate.enter(self._peer) else "full"

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._do(self._waiting.popleft())
                self._hold_back()
        finally:
            self._serving = False
            self._tally()

    async def _do(self, event: Event) -> None:
        if isinstance(event, Hang):
            self.hang(event.why)
        elif isinstance(event, Say):
            self._socket.write(event.data)
        else:
            known = self._session.terminal
            answer = await respond(self._terminals.door(), self._session, event, self._peer)
            if not self._closing:
                self._write(answer, came_in=known is None and self._session.terminal is not None)

    def _write(self, answer: bytes, *, came_in: bool) -> None:
        self._socket.write(answer)
        if struck_out(self._session):
            self.hang("three strikes")
        elif came_in:
            self._timer.reset(self._terminals.idle_s)

    def _hold_back(self) -> None:
        """Read no more from a terminal that does not wait for its answers, until there are fewer to give."""
        crowded = len(self._waiting) > MOST_WAITING
        if self._closing or crowded == self._paused:
            return
        self._paused = crowded
        if crowded:
            self._socket.pauseProducing()
        else:
            self._socket.resumeProducing()

    def _too_late(self) -> None:
        """The timer rang: no login in time, or silence. What is in hand is answered first."""
        if self._serving and self._session.terminal is not None:
            self._timer = self._terminals.clock.callLater(self._terminals.idle_s, self._too_late)
        else:
            self.hang("idle" if self._session.terminal is not None else "no login")

    def _failed(self, failure: Failure) -> None:
        """A bug of ours outside the answer itself; this line is past saving, the others are not touched."""
        LOG.error("sip2.line_failed", channel="sip2", peer=self._peer, exception=failure.getTraceback())
        self.hang("failed", at_once=True)

    def _tally(self) -> None:
        """Tell the process's counters what this session counted since the last time."""
        fresh = self._session.counters - self._counted
        for event, count in fresh.items():
            self._terminals.door().counters.add("sip2_events_total", event, by=count)
        self._counted += fresh

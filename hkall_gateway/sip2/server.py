"""Listening ports and terminal connections: input and output in order, timeouts, and graceful shutdown.

Messages are not interpreted here: the session parses lines, and `dispatch.respond` answers messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, cast

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from hkall_gateway.circulation.command import pause
from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.net.client_certificate import client_certificate
from hkall_gateway.net.endpoints import Transport
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, ConnectionSlot, Refusals
from hkall_gateway.net.limits.fair_reads import mark_authenticated, send_at_once
from hkall_gateway.net.limits.timeout import message_deadline
from hkall_gateway.sip2.client import UpstreamInterface
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.session import LOGIN, Close, Event, Prompts, SendBytes, Session
from hkall_gateway.sip2.dispatch import PLAIN, STRUCK_OUT, Listener, Sip2Services, log_in_by_address, respond

LOG = structlog.get_logger()

MOST_WAITING: Final = 64
"""Maximum number of a terminal's messages that may wait; while more are waiting, the socket is not read."""
MOST_BEFORE_LOGIN: Final = 16
"""Maximum number of messages that may wait before the login; a connection that exceeds it is closed as a flood."""
MOST_EARLY: Final = 4096
"""Maximum number of bytes from a connection that waits for admission, such as data in the same packet as a PROXY header."""
AT_ONCE: Final = 16
"""Maximum number of a terminal's messages that are answered in one reactor iteration."""
IN_TIME: Final = 0.8
"""Deadline for an answer, as a fraction of the timeout period that the 98 announces to the terminal."""
LOGIN_S: Final = 60.0
"""Seconds within which a terminal must log in. Source: Koha's sample configuration."""
DRAIN_S: Final = 4.0
"""Seconds that `drain` waits for messages in progress, and for peers that do not read their answers."""
CLOSE_S: Final = 10.0
"""Seconds within which a peer must read written data before its connection is aborted."""


class TerminalConnection(TwistedProtocol):
    """The connection of one terminal. Messages are answered one after another, in the order of arrival."""

    def __init__(self, port: TerminalFactory) -> None:
        self._port = port
        self._session = Session(DIALECTS["standard"])
        self._upstream: UpstreamInterface | None = None
        self._prompts: Prompts | None = None
        self._waiting: deque[tuple[Event, Deadline | None]] = deque()
        self._deadline: Deadline | None = None
        self._counted: dict[str, int] = {}
        self._serving = self._paused = self._choked = self._closing = False
        self._seat: ConnectionSlot | None = None
        self._early = bytearray()
        self._peer = self._why = ""
        self._timer: ScheduledCall | None = None

    @property
    def terminal(self) -> str:
        """Return the login of this connection; "" before the login."""
        return self._session.terminal or ""

    def connectionMade(self) -> None:  # noqa: N802
        """Admit the peer, or refuse it."""
        self._socket = cast(Transport, self.transport)
        self._peer = str(getattr(self._socket.getPeer(), "host", ""))  # the peer of a UNIX socket has no host
        self._port.lines.add(self)
        self._socket.registerProducer(self, True)
        if why := self._find_refusal():
            self._refuse_peer(why)
            return
        self._port.count()
        if self._seat is not None and self._seat.queued:
            self._socket.pauseProducing()
            self._restart_timer(self._port.login_s)
        else:
            self._begin_session()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Queue the messages in the data and start to answer them."""
        if self._closing or not data:
            return
        if self._seat is not None and self._seat.queued:
            self._early += data
            if len(self._early) > MOST_EARLY:
                self.close("flood", at_once=True)
            return
        if self._session.terminal is not None:
            self._restart_timer(self._port.idle_s)
        events = self._session.receive(data) if self._prompts is None else self._prompt_events(data, self._prompts)
        self._waiting.extend((event, self._message_deadline()) for event in events)
        if self._session.terminal is None and len(self._waiting) > MOST_BEFORE_LOGIN:
            self.close("flood", at_once=True)
            return
        if not self._serving and self._waiting:
            self._serving = True
            _ = Deferred.fromCoroutine(self._serve_messages())
        self._apply_backpressure()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Discard the waiting messages and release the connection's slot."""
        self._closing = True
        self._waiting.clear()
        if self._deadline is not None:
            self._deadline.drop()
        cancel(self._timer)
        if self._seat is not None:
            self.tally()
            if self._upstream is not None:
                self._upstream.close()
            self._seat.leave()
            LOG.info(
                "sip2.closed",
                channel="sip2",
                peer=self._peer,
                terminal=self.terminal,
                why=self._why or type(reason.value).__name__,
                counters=dict(self._session.counters),
            )
        self._port.closed(self)

    def finish(self) -> None:
        """Answer the messages already received, then close."""
        if self._serving:
            self._why = self._why or "drained"
            self._waiting.append((Close("drained"), None))
        else:
            self.close("drained")

    def close(self, why: str, *, at_once: bool = False) -> None:
        """Close the connection after sending the written data, or abort it if `at_once` is set."""
        closing, self._closing, self._why = self._closing, True, self._why or why
        self._waiting.clear()
        if at_once:
            self._socket.abortConnection()
        elif not closing:
            self._socket.unregisterProducer()
            self._socket.loseConnection()
            cancel(self._timer)
            self._timer = self._port.clock.callLater(CLOSE_S, self._socket.abortConnection)

    def tally(self) -> None:
        """Add the session's counts since the previous call to the metrics."""
        for event, count in self._session.counters.items():
            reported = self._counted.get(event, 0)
            if count > reported:
                self._port.services().metrics.sip2_events.labels(event).inc(count - reported)
                self._counted[event] = count

    # ---- IPushProducer: flow control by the transport

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop reading, because the peer does not read its replies."""
        self._choked = True
        self._apply_backpressure()

    def resumeProducing(self) -> None:  # noqa: N802
        """Resume reading, because the peer has read its replies."""
        self._choked = False
        self._apply_backpressure()

    def stopProducing(self) -> None:  # noqa: N802
        """Do nothing: the connection is lost, and `connectionLost` is called next."""

    def _admit_queued(self) -> None:
        """Begin the session of a connection that waited for admission, with the data received meanwhile."""
        if not self._closing:
            self._socket.resumeProducing()
            self._begin_session()
            self.dataReceived(bytes(self._early))

    def _begin_session(self) -> None:
        dialect, framed = self._port.listener.framing_of(self._peer)
        self._session = Session(dialect, framed=framed, seconds=self._port.clock.seconds)
        opens = self._port.services().upstream
        self._upstream = opens() if opens is not None else None
        log_in_by_address(self._port.services(), self._session, self._port.listener, self._peer)
        known = self._session.terminal is not None
        if known and not self._claim_terminal():
            return
        self._restart_timer(self._port.idle_s if known else self._port.login_s)
        if self._port.listener.login == "telnet":
            self._prompts = Prompts()
            self._socket.write(LOGIN)
        LOG.info("sip2.opened", channel="sip2", peer=self._peer)

    def _find_refusal(self) -> str:
        """Return the reason to refuse the peer, or "" after counting an admitted peer against the connection limit."""
        if self._port.draining:
            return "draining"
        if not self._port.services().admits(self._peer):
            return "address"
        self._seat = self._port.limit.enter(self._peer, partial(self._refuse_peer, "evicted"), self._admit_queued)
        return "" if self._seat else "full"

    def _claim_terminal(self) -> bool:
        """Count the connection against the terminal's limit. If the limit is exceeded, refuse the peer and return False."""
        terminal = self.terminal
        row = self._port.services().terminals.get(terminal)
        if self._seat is None or row is None or not self._seat.prove(terminal, row.max_connections):
            self._refuse_peer("terminal", f"{terminal} has as many connections as it may")
            return False
        mark_authenticated(self._socket, f"sip2 {terminal}")
        return True

    def _refuse_peer(self, why: str, detail: str = "") -> None:
        self._port.refusals.note(why, self._peer, detail)
        self.close(why, at_once=True)

    def _restart_timer(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._port.clock.callLater(seconds, self._close_after_timeout)
        else:
            self._timer.reset(seconds)

    def _prompt_events(self, data: bytes, prompts: Prompts) -> Iterable[Event]:
        return [SendBytes(piece) if isinstance(piece, bytes) else piece for piece in prompts.receive(data)]

    def _message_deadline(self) -> Deadline | None:
        """Return the deadline for a message that was just read."""
        tenths = self._session.dialect.timeout_tenths
        return message_deadline(self._port.services().timeout, self.transport, tenths / 10 * IN_TIME if tenths else None)

    async def _serve_messages(self) -> None:
        served = 0
        try:
            while self._waiting:
                event, self._deadline = self._waiting.popleft()
                if isinstance(event, SendBytes):
                    self._socket.write(event.data)
                elif isinstance(event, Close):
                    self.close(event.why)
                else:
                    services, send = self._port.services(), partial(self._send_answer, self._session.terminal)
                    certificate = partial(client_certificate, self._socket)
                    await respond(
                        services,
                        self._session,
                        event,
                        self._peer,
                        self._upstream,
                        self._deadline,
                        send,
                        certificate,
                    )
                self._apply_backpressure()
                served += 1
                if self._waiting and not served % AT_ONCE:
                    await pause(self._port.clock, 0)  # let other connections run in the next reactor iteration
        except Undecided:
            self.close("undecided", at_once=True)
        except Exception:  # noqa: BLE001  # a bug must not affect other connections
            failure = Failure()  # type: ignore[no-untyped-call]  # Failure.__init__ has no annotations
            LOG.error("sip2.line_failed", channel="sip2", peer=self._peer, exception=failure.getTraceback())
            self.close("failed", at_once=True)
        finally:
            self._serving, self._deadline = False, None

    def _send_answer(self, known: str | None, answer: bytes) -> None:
        """Send the answer, unless the connection is closing. `known` is the terminal's login before the message, or None."""
        came_in = self._session.terminal not in (None, known)
        if self._closing or (came_in and not self._claim_terminal()):
            return
        send_at_once(self._socket, answer if self._prompts is None else self._answer_prompt(self._prompts))
        if self._session.counters[STRUCK_OUT]:
            self.close("three strikes")
        elif came_in:
            self._restart_timer(self._port.idle_s)

    def _answer_prompt(self, prompts: Prompts) -> bytes:
        """Return the telnet text for the result of a login. After a success, pass further data to the session."""
        right = self._session.terminal is not None
        text = prompts.judged(right)
        if right:
            self._prompts = None
            self._session.begin()
        rest = self._session.receive(prompts.rest()) if right else self._prompt_events(b"", prompts)
        self._waiting.extendleft(reversed([(event, self._message_deadline()) for event in rest]))
        return text

    def _apply_backpressure(self) -> None:
        """Pause reading while too many messages wait or the terminal does not read its replies."""
        crowded = self._choked or len(self._waiting) > MOST_WAITING
        if self._closing or crowded == self._paused:
            return
        self._paused = crowded
        if crowded:
            self._socket.pauseProducing()
        else:
            self._socket.resumeProducing()

    def _close_after_timeout(self) -> None:
        """Close an idle connection, or a connection without a login, after answering any message in progress."""
        if self._serving and self._session.terminal is not None:
            self._timer = self._port.clock.callLater(self._port.idle_s, self._close_after_timeout)
        else:
            self.close("idle" if self._session.terminal is not None else "no login")


class TerminalFactory(Factory):
    """Creates the connections of one port and counts them.

    Attributes:
        services: Returns the current services, so that a reload applies from the next message.
        limit: Connection limit, which several ports may share.
        idle_s: Idle timeout for a logged-in terminal, in seconds.
        login_s: Seconds within which a terminal must log in.
    """

    noisy = False

    def __init__(
        self,
        services: Callable[[], Sip2Services],
        limit: ConnectionLimit,
        refusals: Refusals,
        clock: Clock,
        idle_s: float,
        login_s: float = LOGIN_S,
        listener: Listener = PLAIN,
    ) -> None:
        self.services, self.limit, self.refusals, self.clock = services, limit, refusals, clock
        self.idle_s, self.login_s, self.listener = idle_s, login_s, listener
        self.lines: set[TerminalConnection] = set()
        self._drained: Deferred[None] | None = None
        self._timeout: ScheduledCall | None = None
        services().metrics.before_collection(self._tally)

    @property
    def draining(self) -> bool:
        """Return whether the port is shutting down."""
        return self._drained is not None

    def buildProtocol(self, addr: IAddress | None) -> TerminalConnection:  # noqa: ARG002, N802
        """Create the protocol for a new connection."""
        return TerminalConnection(self)

    def drain(self) -> Deferred[None]:
        """Answer the messages already received, and close all connections. Call it only once.

        Connections that are still open after DRAIN_S seconds are aborted.

        Returns:
            A Deferred that fires when the last connection is closed.
        """
        self._drained = Deferred()
        self._timeout = self.clock.callLater(DRAIN_S, self._abort_connections)
        for line in tuple(self.lines):
            line.finish()
        self._check_drained()
        return self._drained

    def closed(self, line: TerminalConnection) -> None:
        """Remove a closed connection."""
        self.lines.discard(line)
        self.count()
        self._check_drained()

    def count(self) -> None:
        """Update the metric of connected terminals."""
        self.services().metrics.sip2_sessions.set(self.limit.inside)

    def _tally(self) -> None:
        for line in self.lines:
            line.tally()

    def _abort_connections(self) -> None:
        for line in tuple(self.lines):
            line.close("cut", at_once=True)

    def _check_drained(self) -> None:
        if self._drained is None or self.lines or self._drained.called:
            return
        cancel(self._timeout)
        self._drained.callback(None)

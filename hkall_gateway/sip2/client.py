"""The SIP2 client: the gateway acts as a terminal of the library's own system, on a persistent, logged-in connection.

`LastKnown` caches the local system's last answer about each card, for replies while the system is unreachable.
"""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, Final, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.clock import Clock
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.endpoints import Transport
from hkall_gateway.net.limits.timeout import left_s
from hkall_gateway.rules.vocabulary import NOTHING, Sensitive
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, body_of, decode, encode, seal_body
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES

MOST_BYTES: Final = 1_048_576
"""Maximum length of a reply in bytes. The connection is aborted if a line is longer."""
MOST_LINES: Final = 64
"""Maximum number of unread lines; a system that sends more is not answering our requests."""
LOOKS: Final = frozenset({"17", "23", "63", "99"})
"""Codes of the read-only requests."""
ANSWERED: Final = LOOKS | {"09", "11", "29", "37", "93"}
"""Codes of requests that every server answers. Other requests may stay unanswered: edge-sip2 ignores 01, 15, 19 and 25."""
OFF_LINE: Final = "98"
UNSEALED: Final = "unsealed"
ARE_YOU_THERE: Final = b"9900802.00"
"""The message that probes an unreachable system in the background."""
FAIR_S: Final = 1.0
"""A timeout counts as a failure only if the request had at least this many seconds, or half of the configured timeout."""
IDLE_S: Final = 30.0
"""Seconds without a message after which a firewall may have dropped a connection without telling either side."""
FIRST_TRY: Final = 0.5
"""Fraction of the time that a query may take on an idle connection, before it is asked again on a new connection."""
KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Socket options: a connection that a firewall has dropped is noticed within a minute, and a firewall sees traffic."""
TRIES: Final = 4
"""Maximum number of lines read for one answer, including garbled lines and late answers to earlier requests."""


class Ask(Protocol):
    """A query to the local system.

    The call takes the body of a line, without AY, AZ and terminator, and returns the body of the reply. It raises Unreachable
    if no usable reply arrives in time.
    """

    def __call__(self, body: bytes, /) -> Awaitable[bytes]:
        """Send the body and return the body of the reply."""


class UpstreamInterface(Ask, Protocol):
    """A connection to the local system for one terminal. A new `login` takes effect when the connection is next opened."""

    login: Login

    @property
    def dialect(self) -> Sip2Dialect:
        """Return the dialect of the local system."""

    @property
    def up(self) -> bool:
        """Return whether the system answered the last request."""

    @property
    def refused(self) -> bool:
        """Return whether the local system has refused this connection's login."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for the local system; no login is sent if `name` is empty."""

    name: str = ""
    password: Sensitive = NOTHING
    location: str = ""


NOBODY: Final = Login()


class Unusable(Exception):
    """The local system replied, but not with an answer to the request."""


class LoginRefused(Unusable):
    """The local system is reachable, but refuses this login."""


class Garbled(Unusable):
    """The reply has a wrong checksum."""


class HungUp(Unreachable):
    """The local system closed the connection after the message had been sent."""


class Unanswered(Unreachable):
    """No answer arrived. The message may have been executed, or may still be executed."""


class LineConnection(TwistedProtocol):
    """A connection that sends and receives whole lines.

    Attributes:
        closed: The reason why the connection was closed, or "" while it is open.
        unsealed: Whether the system sends replies without sequence number and checksum.
    """

    def __init__(self) -> None:
        self.closed, self.unsealed = "", False
        self._buffer = bytearray()
        self._lines: deque[bytes] = deque()
        self._waiter: Deferred[bytes] | None = None

    def forget_lines(self) -> None:
        """Discard the lines received before a request is sent, since none of them can be the reply."""
        self._lines.clear()

    def keep_alive(self) -> None:
        """Let the operating system probe the idle connection, so that it stays open or is known to be closed."""
        transport: Any = self.transport
        transport.setTcpKeepAlive(True)
        handle: socket.socket = transport.getHandle()
        for name, value in KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:  # not every operating system has all options
                handle.setsockopt(socket.IPPROTO_TCP, option, value)

    def say(self, line: bytes) -> None:
        """Send a line."""
        cast(Transport, self.transport).write(line)

    def line(self) -> Deferred[bytes]:
        """Return a Deferred for the next line without its terminator; it fails with Unusable if the connection closes first."""
        if self._lines:
            return succeed(self._lines.popleft())
        self._waiter = Deferred()
        if self.closed:
            self._waiter.errback(Unusable(self.closed))
        return self._waiter

    def drop(self) -> None:
        """Abort the connection, so that late data cannot answer a later request."""
        self.closed = self.closed or "dropped"
        if self.transport is not None:
            cast(Transport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Split the data into lines."""
        first, *others = data.replace(b"\n", b"\r").split(b"\r")
        self._buffer += first
        for piece in others:
            if self._buffer:
                self._lines.append(bytes(self._buffer))
            self._buffer = bytearray(piece)
        if len(self._buffer) > MOST_BYTES or len(self._lines) > MOST_LINES:
            self.drop()
        if self._lines and self._waiter is not None and not self._waiter.called:
            self._waiter.callback(self._lines.popleft())

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Fail the Deferred of a caller that is waiting for a line."""
        self.closed = self.closed or type(reason.value).__name__
        if self._waiter is not None and not self._waiter.called:
            self._waiter.errback(Unusable(self.closed))


Dial = Callable[[], Awaitable[LineConnection]]


class Upstream:
    """A connection to the local system with one request at a time.

    The connection is opened, and the login sent, for the first request and after every loss. Connecting, login and request
    together may take `timeout_s` seconds, or the time left in the terminal message's budget if that is less.

    A request that may have been executed is never repeated automatically: the gateway does not know whether the loan was made,
    but the person at the terminal does. A read-only request is asked once more on a new connection if a kept connection turns
    out to be closed, or if an idle one stays silent, since a firewall may have dropped it. A line that the peer could not read
    (96) was not executed and is sent again. A garbled reply is requested again (97).

    Only failures that affect every request count against the system: no connection, no answer to the login, no answer in time.
    If the system closes the connection during a request or a login, that counts only if a probe fails too.
    """

    def __init__(
        self, dial: Dial, clock: Clock, timeout_s: float, dialect: Sip2Dialect, health: CircuitBreaker, login: Login
    ) -> None:
        self._dial, self._clock, self._timeout_s, self.dialect = dial, clock, timeout_s, dialect
        self._health, self.login, self._first_login = health, login, login
        self._wire: LineConnection | None = None
        self._number = 0
        self._answered_s = 0.0  # time of the last reply by the clock
        self._left = self._entered = self._sent = self._trying = False

    @property
    def up(self) -> bool:
        """Return whether the system answered the last request."""
        return self._health.up

    @property
    def refused(self) -> bool:
        """Return whether the system refused this connection's login and the next attempt is not due yet."""
        return bool(self.login.name) and not self._health.may_log_in(self.login.name, self.login)

    async def __call__(self, body: bytes) -> bytes:
        """Send a query and return the reply; see `Ask`. Raise HungUp or Unanswered if the query was sent but not answered."""
        question = body[:2].decode("latin-1")
        if not self._health.may_ask():
            self._health.record_skipped(question)
            raise Unreachable("the local system is down")
        if self._is_closed and self.refused:
            self._health.record_skipped(question)
            raise Unreachable("the local system does not take this login")
        return await self._send_and_read(body, question)

    async def try_again(self) -> None:
        """Probe the system on a separate connection and report the result to the circuit breaker. Never raise an exception.

        The login with which this object was created is tried first: a later login came from a terminal and may be wrong.
        """
        for login in dict.fromkeys((self._first_login, self.login)):
            own = Upstream(self._dial, self._clock, self._timeout_s, self.dialect, self._health, login)
            own._trying = True
            try:
                if not own.refused:
                    await own._send_and_read(ARE_YOU_THERE, "99")
                    return
            except Unreachable:
                pass  # `_send_and_read` has reported the failure to the circuit breaker
            finally:
                own.close()

    async def _send_and_read(self, body: bytes, question: str) -> bytes:
        began = self._clock.seconds()
        allowed_s = left_s(began, self._timeout_s)
        if allowed_s <= 0:
            raise Unreachable("no time is left for this message")
        self._left = self._sent = False
        going = Deferred.fromCoroutine(self._converse(body, allowed_s))
        _ = going.addTimeout(allowed_s, cast(Any, self._clock))
        try:
            reply = await going
        except Exception as failed:  # whatever failed, the local system counts as unreachable
            hung_up = isinstance(failed, Unusable) and self._wire is not None and bool(self._wire.closed)
            if not self._left:
                fair = allowed_s >= min(FAIR_S, self._timeout_s / 2)
                self._report_failure(failed, question, self._clock.seconds() - began, hung_up=hung_up, fair=fair)
            self._drop_connection()
            kind = Unreachable if not self._sent else HungUp if hung_up else Unanswered
            raise kind(_read_reply(failed)) from failed
        self._health.record_reply(question, self._clock.seconds() - began)
        return reply

    def _report_failure(self, failed: Exception, question: str, took_s: float, *, hung_up: bool, fair: bool) -> None:
        """Report a failed request to the circuit breaker."""
        if isinstance(failed, LoginRefused):
            self._health.record_reply("93", took_s)
            self._health.login_refused(self.login.name, self.login, str(failed))
        elif hung_up and not self._trying:
            self._health.hung_up(question, self.try_again)
        else:
            grave = fair and (not self._entered or question in ANSWERED)
            trial = None if self._trying else self.try_again  # a probe has only one login; `try_again` tries both
            self._health.record_failure(question, _read_reply(failed), grave=grave, trial=trial)

    def close(self) -> None:
        """Close the connection; the next request reopens it. A request in progress does not count against the system."""
        self._left = True
        self._drop_connection()

    @property
    def _is_closed(self) -> bool:
        return self._wire is None or bool(self._wire.closed)

    def _drop_connection(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.drop()

    async def _converse(self, body: bytes, allowed_s: float) -> bytes:
        kept = self._wire
        if kept is None or kept.closed:
            return await self._send_request(await self._open_connection(), body)
        is_query = body[:2].decode("latin-1") in LOOKS
        first_try = Deferred.fromCoroutine(self._send_request(kept, body))
        if is_query and self._clock.seconds() - self._answered_s >= IDLE_S:
            _ = first_try.addTimeout(allowed_s * FIRST_TRY, cast(Any, self._clock))
        try:
            return await first_try
        except TimedOut:
            pass  # a firewall may have dropped the idle connection, so the query never arrived
        except Unusable:
            if not kept.closed or not is_query:
                raise
        return await self._send_request(await self._open_connection(), body)

    async def _send_request(self, wire: LineConnection, body: bytes) -> bytes:
        """Record that the request may now be executed, unless the connection is already closed, and send it."""
        self._sent = not wire.closed
        reply = await self._exchange(wire, body)
        self._answered_s = self._clock.seconds()
        return reply

    async def _open_connection(self) -> LineConnection:
        self._drop_connection()
        self._entered = False
        wire = self._wire = await self._dial()
        self._number = 0
        if self.login.name:
            if not (await self._exchange(wire, login_line(self.login, self.dialect))).startswith(b"941"):
                raise LoginRefused("the login was refused")
            self._health.login_taken(self.login.name)
        self._entered = True
        return wire

    async def _exchange(self, wire: LineConnection, body: bytes) -> bytes:
        numbered = self.dialect.error_detection
        request = Sip2Message(body[:2].decode("latin-1"), sequence=str(self._number) if numbered else None, checked=numbered)
        self._number = (self._number + 1) % 10
        line, verdicts, unsealed = seal_body(body, request, self.dialect), set[str](), b""
        wire.forget_lines()
        wire.say(line)
        for _ in range(TRIES):
            reply_line = await wire.line()
            verdict = classify_reply(reply_line, request, self.dialect, repeated=RESEND in verdicts)
            if verdict == UNSEALED:
                # A first reply without AY and AZ may be a truncated line, so it is requested again. If the repetition is
                # identical, or the reply answers a login, the system does not use AY and AZ.
                wire.unsealed = wire.unsealed or reply_line == unsealed or request.code == "93"
                verdict, unsealed = ("" if wire.unsealed else RESEND), reply_line
            verdicts.add(verdict)
            if verdict == "":
                return body_of(reply_line, self.dialect)
            if verdict == RESEND:
                line = encode(Sip2Message(RESEND, checked=True), self.dialect)
            if verdict in (GARBLED, RESEND):
                wire.say(line)
        if verdicts == {RESEND}:
            raise Garbled("the checksums of its replies are wrong")
        raise Unusable("it could not read the line" if verdicts == {GARBLED} else "no usable reply")


def classify_reply(line: bytes, request: Sip2Message, dialect: Sip2Dialect, *, repeated: bool = False) -> str:
    """Classify a line received in reply to a request.

    A reply that was requested again with a 97 (`repeated`) may have another sequence number than the request: SIPServer sends
    0, and the 2.00 document repeats the reply without a number.

    Returns:
        "" for the answer to the request, "96" if the peer could not read our line, "97" if the reply is garbled, "unsealed"
            for an answer without sequence number and checksum, "late" for the answer to an earlier request, and "another" or
            the `why` of a BadMessage for any other line.

    Raises:
        Unusable: The line is a 98, with which the system announces that it goes off line.
    """
    try:
        reply = decode(line, dialect)
    except BadMessage as bad:
        return RESEND if bad.why in ("checksum", "truncated") else bad.why
    if reply.code == GARBLED:
        return GARBLED
    if reply.sequence not in (None, request.sequence) and not repeated:
        return "late"
    expected = SHAPES[request.code].reply
    if reply.code == expected:
        sealed_too = reply.checked and (reply.sequence is not None or repeated)
        return "" if sealed_too or request.sequence is None else UNSEALED
    if reply.code == OFF_LINE:
        raise Unusable("it says that it is off line")
    return "another"


def pin_verdict(reply: Sip2Message) -> bool | None:
    """Return whether a 24 or 64 says that the PIN is right (CQ), or None if it does not say.

    FOLIO's edge-sip2 sends no CQ unless the tenant has turned on the verification of PINs.
    """
    return {"Y": True, "N": False}.get(reply.get("CQ"))


def login_line(login: Login, dialect: Sip2Dialect) -> bytes:
    """Return the body of a login (93) in plain text."""
    fields: dict[str, Value] = {"uid_algorithm": "0", "pwd_algorithm": "0"}
    fields |= {"CN": login.name, "CO": login.password.reveal()}
    fields |= {"CP": login.location} if login.location else {}
    return encode_body(Sip2Message("93", fields), dialect)


def encode_body(message: Sip2Message, dialect: Sip2Dialect) -> bytes:
    """Encode a message without sequence number, checksum and terminator."""
    return encode(message, dialect).removesuffix(dialect.terminator)


def make_dialler(reactor: object, host: str, port: int, timeout_s: float, *, tls: bool = False) -> Dial:
    """Return a function that opens connections to a port. With `tls`, require a trusted certificate for `host`."""
    endpoint: Any = HostnameEndpoint(reactor, host, port, timeout=timeout_s)
    if tls:
        endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
    factory: Any = Factory.forProtocol(LineConnection)
    factory.noisy = False

    async def dial() -> LineConnection:
        opened: LineConnection = await endpoint.connect(factory)
        opened.keep_alive()
        return opened

    return dial


def _read_reply(failed: Exception) -> str:
    if isinstance(failed, CancelledError):  # the caller cancelled the request
        return "TimeoutError"
    return str(failed) if isinstance(failed, Unusable) else type(failed).__name__


MOST: Final = 5_000
"""Maximum number of cached cards; fewer patrons visit a library within a quarter of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFlags:
    """The BL and CQ flags for a card; an unknown flag is "".

    Attributes:
        status: The patron status in the last answer; "" if it is unknown.
        name: The name in the last answer (AE).
    """

    valid: str = ""
    pin: str = ""
    status: str = ""
    name: Sensitive = NOTHING


UNKNOWN_FLAGS: Final = KnownFlags()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    valid: bool
    pin: bytes
    at: datetime
    status: str = ""
    name: Sensitive = NOTHING


class LastKnown:
    """Remembers the last answer about each card, and its last accepted PIN as a keyed hash. It does so only in memory.

    `keep_s` returns the number of seconds for which an answer stays valid; 0 disables the cache.
    """

    def __init__(self, keep_s: Callable[[], float] = lambda: 900.0) -> None:
        self._keep_s, self._key = keep_s, token_bytes(32)
        self._cards: OrderedDict[str, _Kept] = OrderedDict()

    def note(
        self,
        card: str,
        *,
        valid: bool,
        pin_ok: bool,
        pin: Sensitive,
        now: datetime,
        status: str = "",
        name: Sensitive = NOTHING,
    ) -> None:
        """Record the local system's answer about this card and whether it accepted this PIN."""
        before = self._cards.pop(card, None)
        accepted_pin = before.pin if before else b""
        if pin_ok:
            accepted_pin = self._hash(pin)
        self._cards[card] = _Kept(valid=valid, pin=accepted_pin, at=now, status=status, name=name)
        if len(self._cards) > MOST:
            self._cards.popitem(last=False)

    def of(self, card: str, pin: Sensitive, now: datetime) -> KnownFlags:
        """Return the cached flags for a card, unless they have expired. CQ is unknown unless `pin` is the last accepted PIN."""
        kept = self._cards.get(card)
        if kept is None or now - kept.at >= timedelta(seconds=self._keep_s()):
            return UNKNOWN_FLAGS
        right = bool(pin) and bool(kept.pin) and kept.pin == self._hash(pin)
        return KnownFlags(valid="Y" if kept.valid else "N", pin="Y" if right else "", status=kept.status, name=kept.name)

    def is_right(self, card: str, pin: Sensitive, now: datetime) -> bool:
        """Return whether the cache holds an unexpired answer that accepts this card and PIN."""
        flags = self.of(card, pin, now)
        return (flags.valid, flags.pin) == ("Y", "Y")

    def forget(self, card: str) -> None:
        """Forget the answer about a card, because the card was blocked or enabled since."""
        self._cards.pop(card, None)

    def _hash(self, pin: Sensitive) -> bytes:
        return blake2b(pin.reveal().encode(), key=self._key).digest()

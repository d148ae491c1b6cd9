"""The session of one terminal: splits bytes into lines, handles resends and duplicates, and keeps the login."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode, encode, seal_body
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES

LOGIN: Final = b"login: "
PASSWORD: Final = b"password: "
WELCOME: Final = b"Login OK.  Initiating SIP\r\n"
WRONG: Final = b"Login incorrect\r\n"
"""The login scripts of terminals wait for exactly these texts. Source: `SIPServer.pm` (atz), also in Koha."""

LONGEST: Final = 1024
"""Maximum number of bytes of a name or password; a longer value is cut and therefore wrong."""

MOST_KEPT: Final = 65536
"""Maximum number of bytes buffered while a login is checked."""

_COMMAND: Final = re.compile(rb"\xff(?:[\xfb-\xfe].|[^\xff])", re.DOTALL)
"""A telnet command of two or three bytes. Source: RFC 854."""


class Prompts:
    """The telnet login dialogue before the session.

    `receive` yields prompts to write and, after name and password, a login to check. Pass the result of the check to `judged`,
    which returns the text to write. Bytes that arrive during the check or after a successful login are kept for `rest`.
    """

    __slots__ = ("_buffer", "_judging", "_name", "_was_cr")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._name: str | None = None
        self._judging = self._was_cr = False

    def receive(self, data: bytes) -> Iterator[bytes | Sip2Message]:
        """Yield prompts to write, and at most one login to check."""
        self._buffer += data[: MOST_KEPT - len(self._buffer)]
        while not self._judging and (line := self._next_line()) is not None:
            text = _COMMAND.sub(b"", line).decode("utf-8", "replace").strip()
            if self._name is None:
                self._name = text
                yield PASSWORD
            else:
                self._judging = True
                yield Sip2Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0", "CN": self._name, "CO": text})

    def judged(self, right: bool) -> bytes:
        """Return the text for the result of a login check. Call `rest` after a success, `receive(b"")` after a failure."""
        self._name, self._judging = None, False
        return WELCOME if right else WRONG + LOGIN

    def rest(self) -> bytes:
        """Return and clear the bytes received after the login, which belong to the session."""
        kept = bytes(self._buffer)
        self._buffer.clear()
        return kept

    def _next_line(self) -> bytes | None:
        """Return the next line without CR, LF, CR LF or CR NUL, or None if no complete line has been received."""
        if self._was_cr and self._buffer.startswith((b"\n", b"\0")):
            del self._buffer[:1]
        ends = [at for at in (self._buffer.find(b"\r"), self._buffer.find(b"\n")) if at >= 0]
        if not ends:
            self._was_cr = self._was_cr and not self._buffer
            del self._buffer[LONGEST:]
            return None
        at = min(ends)
        line, self._was_cr = bytes(self._buffer[:at]), self._buffer[at] == 0x0D
        del self._buffer[: at + 1]
        return line[:LONGEST]


STRIKES: Final = 3
"""Number of consecutive wrong logins after which a connection is closed. Source: the SIP servers of atz and Koha."""
ALWAYS_NEW: Final = frozenset({"99"})
"""Requests that are answered anew each time: an old 98 would hide that the system went off line."""
USUAL_REPLAY_S: Final = 30.0
"""Seconds within which a request may be sent again, if the dialect names no timeout or no tries."""
FLOOD: Final = 4
"""Multiple of the dialect's `max_line`; a peer that sends a longer line is disconnected."""
MOST_IDLE: Final = 64
"""Maximum number of consecutive lines without a new request (such as resends) in one read; more disconnect the peer."""

_TERMINATOR: Final = re.compile(rb"[\r\n]")
_BLANKS: Final = bytes(range(0x21))


@dataclass(frozen=True, slots=True)
class Refuse:
    """An event: a known message with unusable content.

    Answer it with the negative reply, by passing `message` to `Session.reply`. `message` contains the readable part, at least
    code, `sequence` and `checked`.
    """

    code: str
    message: Sip2Message
    why: str


@dataclass(frozen=True, slots=True)
class SendBytes:
    """An event: write these bytes now."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Close:
    """An event: close the connection."""

    why: str


Event = Sip2Message | Refuse | SendBytes | Close


@dataclass(slots=True, eq=False)
class _PendingReply:
    """A request that `receive` returned at `at_s`, with the line sent in reply.

    `line` is None if the request has no AY or AZ.
    """

    message: Sip2Message
    line: bytes | None = field(repr=False)
    at_s: float = 0.0
    answer: bytes | None = field(default=None, repr=False)


class Session:
    """The protocol state of one connection.

    Each request is returned once. An identical line with AY and AZ is a resend: if the request is already answered, the answer
    is sent again, and otherwise the resend is ignored. Some terminals send every line with the same AY, so an identical line is
    a new request once the terminal has no tries left (timeout period times tries, see 98), and an SC Status (99) always is.
    For this purpose the session keeps all unanswered requests and the last answered request. A 97 is also ignored while
    requests are unanswered, since the terminal would take an earlier answer for the expected answer. Whole lines are compared,
    since barcodes with transposed digits have the same checksum. Source: SIP2 2.00, error detection.

    The session does not limit the number of unanswered requests. The caller limits them by pausing the socket.
    """

    # fmt: off
    __slots__ = (
        "_broken", "_buffer", "_framed", "_last_words", "_length", "_pending", "_seconds", "_strikes", "counters", "dialect",
        "terminal",
    )
    # fmt: on

    def __init__(self, dialect: Sip2Dialect, *, framed: bool = False, seconds: Callable[[], float] = lambda: 0.0) -> None:
        """Initialise the session.

        Args:
            dialect: The dialect until the login.
            framed: Whether this dialect's framing stays in force after the login.
            seconds: Returns the time of a monotonic clock. Without a clock, a resend is recognised however late it comes.
        """
        self._seconds = seconds
        self.dialect = dialect
        self._framed = framed
        self.terminal: str | None = None
        self.counters: Counter[str] = Counter()
        self._buffer = bytearray()
        self._length = 0  # length of the unfinished line, including discarded bytes
        self._broken = False
        self._strikes = 0
        self._pending: list[_PendingReply] = []
        self._last_words: bytes | None = None

    @property
    def held(self) -> int:
        """Return the number of buffered bytes of an unfinished line, at most the dialect's `max_line`."""
        return len(self._buffer)

    @property
    def waiting(self) -> int:
        """Return the number of unanswered requests."""
        return sum(exchange.answer is None for exchange in self._pending)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield the events for these bytes in order. Exhaust the iterator, because the bytes are parsed during iteration.

        A line ends at CR or LF. Blank lines and leading blanks are discarded; a line longer than `max_line` is discarded and
        counted. If a line exceeds FLOOD times `max_line`, or if more than MOST_IDLE consecutive lines in one call contain no
        new request, the result ends with `Close("flood")`, and all further bytes are ignored.
        """
        if self._broken:
            return
        first, *others = _TERMINATOR.split(data)
        if flood := self._buffer_piece(first):
            yield flood
        idle = 0
        for piece in others:
            if self._broken:
                return
            was_line, event = self._length > 0, self._end_line()
            if event:
                yield event
            idle = 0 if isinstance(event, Sip2Message | Refuse) else idle + was_line
            if flood := self._disconnect_flood() if idle > MOST_IDLE else self._buffer_piece(piece):
                yield flood

    def reply(self, request: Sip2Message, code: str, fields: Mapping[str, Value]) -> bytes:
        """Encode the reply to `request`, and keep it for a resend.

        The reply repeats the request's AY, and has AZ if the request had AY or AZ. `request` is a message from `receive`, or
        the `message` of a Refuse.

        Raises:
            ValueError: SIP2 does not have this message code or a field name.
        """
        return self._remember_answer(
            request, encode(Sip2Message(code, fields, request.sequence, request.checked), self.dialect)
        )

    def relay(self, request: Sip2Message, body: bytes) -> bytes:
        """Build a reply line from another system's reply: `body`, unchanged, with this connection's AY, AZ and terminator."""
        return self._remember_answer(request, seal_body(body, request, self.dialect))

    def _remember_answer(self, request: Sip2Message, line: bytes) -> bytes:
        """Store the answer, and discard the earlier answered requests."""
        self._last_words = line
        self.counters["answered"] += 1
        for at, exchange in enumerate(self._pending):
            if exchange.message is request:
                exchange.answer = line
                self._pending[:at] = [before for before in self._pending[:at] if before.answer is None]
                break
        return line

    def log_in(self, terminal: str, dialect: Sip2Dialect | None = None) -> None:
        """Bind this connection to `terminal`. The reply to the login already uses the terminal's dialect, if it has one."""
        self.terminal = terminal
        chosen = dialect or self.dialect
        self.dialect = chosen.framed_as(self.dialect) if self._framed else chosen
        self._strikes = 0

    def begin(self) -> None:
        """Begin SIP2 after the telnet prompts: forget earlier replies, so that a 97 does not repeat them."""
        self._last_words = None
        self._pending.clear()

    def strike(self) -> bool:
        """Count a wrong login. Return True if the connection should be closed after STRIKES consecutive wrong logins."""
        self._strikes += 1
        return self._strikes >= STRIKES

    def _buffer_piece(self, piece: bytes) -> Event | None:
        """Append a piece to the unfinished line. Bytes beyond `max_line` are discarded, but counted."""
        if not piece:
            return None
        if not self._length:
            piece = piece.lstrip(_BLANKS)
        self._length += len(piece)
        self._buffer += piece[: self.dialect.max_line - len(self._buffer)]
        if self._length <= FLOOD * self.dialect.max_line:
            return None
        self.counters["too_long"] += 1
        return self._disconnect_flood()

    def _disconnect_flood(self) -> Event:
        """Ignore all further bytes, because the peer is not a terminal, and return the event that disconnects it."""
        self._broken = True
        self._buffer.clear()
        return Close("flood")

    def _end_line(self) -> Event | None:
        line, length = bytes(self._buffer), self._length
        self._buffer.clear()
        self._length = 0
        if not length:
            return None
        self.counters["received"] += 1
        if length > self.dialect.max_line:
            self.counters["too_long"] += 1
            return None
        return self._read_line(line)

    def _read_line(self, line: bytes) -> Event | None:
        try:
            message = decode(line, self.dialect)
        except BadMessage as bad:
            return self._handle_bad_line(bad, line)
        if message.unknown or message.code_point_sum:
            self._count_deviations(message)
        if message.code == RESEND:
            if self.waiting:
                self.counters["in_progress"] += 1
                return None
            return self._request_resend(message.checked) if self._last_words is None else self._replay_answer(self._last_words)
        if SHAPES[message.code].reply:
            return self._accept_request(message, message, line)
        self.counters["unknown_command"] += 1  # the code belongs to a reply, which a terminal may not send
        return None

    def _handle_bad_line(self, bad: BadMessage, line: bytes) -> Event | None:
        if bad.why == "checksum":
            self.counters["bad_checksum"] += 1
            return self._request_resend(checked=True)
        if bad.message is not None and SHAPES[bad.message.code].reply:
            self.counters[bad.why] += 1
            self._count_deviations(bad.message)
            return self._accept_request(Refuse(bad.message.code, bad.message, bad.why), bad.message, line)
        self.counters["unknown_command" if bad.why == "truncated" else bad.why] += 1
        return None

    def _count_deviations(self, message: Sip2Message) -> None:
        if message.unknown:
            self.counters["unknown_field"] += len(message.unknown)
        if message.code_point_sum:
            self.counters["code_point_sum"] += 1

    def _accept_request(self, event: Sip2Message | Refuse, message: Sip2Message, line: bytes) -> Event | None:
        now_s = self._seconds()
        known = line.rstrip() if message.checked and message.sequence else None
        for exchange in self._pending:
            if known and exchange.line == known:
                if exchange.answer is None:
                    self.counters["in_progress"] += 1
                    return None
                if message.code not in ALWAYS_NEW and now_s - exchange.at_s <= self._replay_s:
                    return self._replay_answer(exchange.answer)
        self._pending.append(_PendingReply(message, known, now_s))
        return event

    @property
    def _replay_s(self) -> float:
        """Return the seconds within which the terminal may send a request again: timeout period times tries, as in our 98."""
        return self.dialect.timeout_tenths / 10 * self.dialect.retries or USUAL_REPLAY_S

    def _replay_answer(self, line: bytes) -> SendBytes:
        self.counters["replayed"] += 1
        self._last_words = line
        return SendBytes(line)

    def _request_resend(self, checked: bool) -> SendBytes:
        self._last_words = encode(Sip2Message(GARBLED, checked=checked), self.dialect)
        return SendBytes(self._last_words)

"""The session of one terminal: splitting bytes into lines, resends, duplicates, sequence numbers, and the login."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode, encode, seal_body
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES

# ---- Telnet login: prompts for a name and a password, then ordinary SIP2 on the same connection.


LOGIN: Final = b"login: "
PASSWORD: Final = b"password: "
WELCOME: Final = b"Login OK.  Initiating SIP\r\n"
WRONG: Final = b"Login incorrect\r\n"
"""Scripts on terminals wait for these very texts. Source: atz `SIPServer.pm`, Koha likewise."""

LONGEST: Final = 1024
"""Maximum bytes of a name or password; a longer one is cut, and therefore wrong."""

MOST_KEPT: Final = 65536
"""Bytes that are kept while a login is being judged."""

_COMMAND: Final = re.compile(rb"\xff(?:[\xfb-\xfe].|[^\xff])", re.DOTALL)
"""Telnet's own negotiation, three bytes or two. Source: RFC 854."""


class Prompts:
    """The telnet dialogue before the session.

    `receive` yields bytes to write and, after both answers, a login to check. `judged` then returns the text to write. While a
    login is checked, and after a successful one, received bytes are kept for the session; see `rest`.
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
        """Return the text after a login check. Call `receive(b"")` next if it failed, `rest` if it passed."""
        self._name, self._judging = None, False
        return WELCOME if right else WRONG + LOGIN

    def rest(self) -> bytes:
        """Return the bytes after the login, which belong to the session."""
        kept = bytes(self._buffer)
        self._buffer.clear()
        return kept

    def _next_line(self) -> bytes | None:
        """Return the next line without its end (CR, LF, CR LF or CR NUL); None if it has not ended."""
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
"""Wrong logins on one connection. Source: atz and Koha SIP servers, telnet style."""
FLOOD: Final = 4
"""Multiple of the line length cap after which one line disconnects the peer."""
MOST_IDLE: Final = 64
"""Consecutive lines without a new request (resends, 97, garbled or unknown ones) in one read; more disconnect the peer."""

_TERMINATOR: Final = re.compile(rb"[\r\n]")
_BLANKS: Final = bytes(range(0x21))


@dataclass(frozen=True, slots=True)
class Refuse:
    """A known command with unusable content.

    Answer `message` by `reply` with the command's negative reply. `message` holds what could be read, at least the code, the
    sequence and `checked`.
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
    """A request that was handed out, and its reply once there is one. `line` is None if a resend cannot be recognized."""

    message: Sip2Message
    line: bytes | None = field(repr=False)
    answer: bytes | None = field(default=None, repr=False)


class Session:
    """The protocol state of one connection.

    A request is handed out once. The same line again, with AY and AZ, is a resend: if it was answered, `SendBytes` that answer;
    while its answer is being made, the resend is ignored. Kept are the last answered request and all that still wait. A 97
    while requests wait is ignored too, since the terminal would take an older answer for the awaited one. Lines are compared as
    a whole and not by AY and AZ alone: two barcodes with swapped digits have one sum. Source: SIP2 2.00, error detection.

    The session does not limit the number of waiting requests: the reader of the socket checks `waiting` and pauses.
    """

    # fmt: off
    __slots__ = (
        "_broken", "_buffer", "_framed", "_last_words", "_length", "_pending", "_strikes", "counters", "dialect", "terminal",
    )
    # fmt: on

    def __init__(self, dialect: Sip2Dialect, *, framed: bool = False) -> None:
        """Make a session.

        Args:
            dialect: The dialect until the login.
            framed: Whether the connection's framing stays after the login, whose dialect does not replace it.
        """
        self.dialect = dialect
        self._framed = framed
        self.terminal: str | None = None
        self.counters: Counter[str] = Counter()
        self._buffer = bytearray()
        self._length = 0  # of the line so far, including bytes that were dropped
        self._broken = False
        self._strikes = 0
        self._pending: list[_PendingReply] = []
        self._last_words: bytes | None = None

    @property
    def held(self) -> int:
        """Return the number of bytes kept of an unfinished line, at most the dialect's limit."""
        return len(self._buffer)

    @property
    def waiting(self) -> int:
        """Return the number of requests handed out and not yet answered."""
        return sum(exchange.answer is None for exchange in self._pending)

    def receive(self, data: bytes) -> Iterable[Event]:
        """Return the events for these bytes, in order. Iterate to the end: the bytes are parsed during iteration.

        A line ends at CR or LF; blank lines and leading blanks are dropped, a line over the limit is dropped and counted.
        `Close("flood")` comes once, if a line exceeds FLOOD times the limit, or if more than MOST_IDLE consecutive lines of one
        call hold no new request; bytes after it are ignored.
        """
        line = data.rstrip(b"\r\n")
        # Usually the data is exactly one complete line.
        whole = len(line) < len(data) and line[:1] > b" " and not self._length and not self._broken
        if not whole or len(line) > self.dialect.max_line or b"\r" in line or b"\n" in line:
            return self._receive_pieces(data)
        self.counters["received"] += 1
        event = self._read_line(line)
        return (event,) if event else ()

    def _receive_pieces(self, data: bytes) -> Iterator[Event]:
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
        """Return the line that answers `request`, and remember it for a resend.

        AY is the request's; AZ goes along if the request had either. `request` is the message handed out, or a Refuse's.

        Raises:
            ValueError: SIP2 does not have this code or a field name.
        """
        return self._remember_answer(
            request, encode(Sip2Message(code, fields, request.sequence, request.checked), self.dialect)
        )

    def relay(self, request: Sip2Message, body: bytes) -> bytes:
        """Return the line for another system's reply: its unchanged `body` with this line's number, sum and end."""
        return self._remember_answer(request, seal_body(body, request, self.dialect))

    def _remember_answer(self, request: Sip2Message, line: bytes) -> bytes:
        """Store the answer and remove the requests that were answered before it."""
        self._last_words = line
        self.counters["answered"] += 1
        for at, exchange in enumerate(self._pending):
            if exchange.message is request:
                exchange.answer = line
                self._pending[:at] = [before for before in self._pending[:at] if before.answer is None]
                break
        return line

    def log_in(self, terminal: str, dialect: Sip2Dialect | None = None) -> None:
        """Bind this connection to `terminal`. The terminal's dialect, if any, applies from the reply to this login."""
        self.terminal = terminal
        chosen = dialect or self.dialect
        self.dialect = chosen.framed_as(self.dialect) if self._framed else chosen
        self._strikes = 0

    def begin(self) -> None:
        """Begin SIP2 after telnet's prompts: forget earlier replies, so that a 97 does not repeat them."""
        self._last_words = None
        self._pending.clear()

    def strike(self) -> bool:
        """Count a wrong login; return True at the third in a row, when the connection should be closed."""
        self._strikes += 1
        return self._strikes >= STRIKES

    def _buffer_piece(self, piece: bytes) -> Event | None:
        """Add to the line up to the limit; further bytes are only counted."""
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
        """Stop reading, because the peer is not a terminal; return the event that disconnects it."""
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
        self.counters["unknown_command"] += 1  # a reply's code is invalid from a terminal
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
        known = line.rstrip() if message.checked and message.sequence else None
        for exchange in self._pending:
            if known and exchange.line == known:
                if exchange.answer is not None:
                    return self._replay_answer(exchange.answer)
                self.counters["in_progress"] += 1
                return None
        self._pending.append(_PendingReply(message, known))
        return event

    def _replay_answer(self, line: bytes) -> SendBytes:
        self.counters["replayed"] += 1
        self._last_words = line
        return SendBytes(line)

    def _request_resend(self, checked: bool) -> SendBytes:
        self._last_words = encode(Sip2Message(GARBLED, checked=checked), self.dialect)
        return SendBytes(self._last_words)

"""A terminal's side of a connection: sends what a probe says, byte by byte, with care."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from dataclasses import dataclass, field

from circprobe.care import Connections, Permissions, Refused, Throttle
from circprobe.results import Exchange
from circprobe.sip2 import codec, messages

QUIET_S = 1.0
"""How long the kit listens where the standard wants silence."""


@dataclass(frozen=True)
class Target:
    """The server under test, and how it is spoken to.

    Attributes:
        answer_s: how long an answer may take.
        quiet_s: how long the kit listens where no answer is expected.
        detects_errors: messages carry AY and AZ.
        checks_certificate: speak only to a server whose certificate this machine trusts.
        known_secrets: the login password and the PIN that the person gave.
    """

    host: str
    port: int
    encoding: str = "utf-8"
    answer_s: float = 5.0
    quiet_s: float = QUIET_S
    detects_errors: bool = True
    uses_tls: bool = False
    checks_certificate: bool = False
    known_secrets: frozenset[str] = frozenset()


@dataclass
class Guard:
    """Everything that is sent passes here: permissions, rate and number of connections."""

    permissions: Permissions
    known_secrets: frozenset[str]
    throttle: Throttle = field(default_factory=Throttle)
    connections: Connections = field(default_factory=Connections)

    def check(self, content: bytes) -> None:
        """Wait until a message may go out.

        Raises:
            Refused: if nobody allowed it.
        """
        for line in content.replace(b"\n", b"\r").split(b"\r"):
            self._check_line(line.strip())
        self.throttle.wait()

    def _check_line(self, line: bytes) -> None:
        message = codec.read(line)
        if message.code in messages.TRANSACTIONS and not self.permissions.transactions:
            raise Refused(f"message {message.code} needs --transactions")
        if self.permissions.wrong_pin:
            return
        # Also in a message that is damaged on purpose, whose fields cannot be read.
        secrets = re.findall(r"\|(?:AD|CO)([^|]+)", message.text)
        secrets += message.values("AD") + message.values("CO")
        for secret in secrets:
            if secret and secret not in self.known_secrets:
                raise Refused("a PIN or password that is not the given one needs --wrong-pin")


class Connection:
    """One connection to the server under test."""

    def __init__(self, target: Target, guard: Guard) -> None:
        self._target = target
        self._guard = guard
        self._buffer = b""
        self._sequence = -1
        self.last_sent = b""
        self.is_closed = False
        guard.connections.add()
        try:
            self._socket = self._connect()
        except OSError:
            guard.connections.remove()
            raise

    def _connect(self) -> socket.socket:
        target = self._target
        plain = socket.create_connection((target.host, target.port), target.answer_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not target.uses_tls:
            return plain
        # The kit judges SIP2, not certificates: a self-signed one is usual here.
        context = ssl.create_default_context()
        if not target.checks_certificate:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=target.host)

    def close(self) -> None:
        """Close the connection; closing it again does nothing."""
        if self._socket.fileno() != -1:
            self._hang_up()
            self._guard.connections.remove()
        self.is_closed = True

    def has_ended(self) -> bool:
        """Say whether the other side has closed, which it may do at any time between two probes."""
        if self.is_closed or self._buffer:
            return self.is_closed
        self._socket.settimeout(0)
        try:
            self._buffer = self._socket.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return not self._buffer

    def _hang_up(self) -> None:
        """Wait until the other side has closed too, or it would count a third connection."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(0.5)
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65536):
                pass
        self._socket.close()

    def frame(self, content: bytes) -> bytes:
        """Append error detection, with the next sequence number, if it is in use."""
        if not self._target.detects_errors:
            return content
        if content[:2] in {b"96", b"97"}:
            return codec.with_checksum(content, None)
        self._sequence = (self._sequence + 1) % 10
        return codec.with_checksum(content, self._sequence)

    def write(self, content: bytes) -> None:
        """Send bytes as they are.

        Raises:
            Refused: if nobody allowed it.
        """
        self._guard.check(content)
        self.last_sent = content
        try:
            self._socket.sendall(content)
        except OSError:
            self.is_closed = True

    def write_in_pieces(self, pieces: list[bytes]) -> None:
        """Send one message in several segments."""
        self._guard.check(b"".join(pieces))
        self.last_sent = b"".join(pieces)
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                time.sleep(0.02)
        except OSError:
            self.is_closed = True

    def receive(self, patience_s: float) -> Exchange:
        """Read one message, up to and including its terminator.

        Returns:
            An exchange without a sent part; `received` is empty if nothing came in time.
        """
        began = time.monotonic()
        note = ""
        # A line feed after the last message's carriage return belongs to that message.
        while b"\r" not in self._buffer.lstrip(b"\n"):
            remaining_s = began + patience_s - time.monotonic()
            if remaining_s <= 0:
                note = f"no answer within {patience_s:g} s"
                break
            self._socket.settimeout(remaining_s)
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                chunk = b""
            if not chunk:
                self.is_closed = True
                note = "the connection was closed"
                break
            self._buffer += chunk
        seconds = time.monotonic() - began
        line = self._take_line()
        return Exchange(b"", line, seconds, "" if line else note)

    def _take_line(self) -> bytes:
        end = self._buffer.find(b"\r")
        if end < 0:
            # What never ended is shown, because a missing terminator is a finding.
            line, self._buffer = self._buffer, b""
            return line
        end += 1
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

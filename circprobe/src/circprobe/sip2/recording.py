"""Recordings of SIP2 sessions, with names and PINs replaced: a bug report becomes a test.

A recording is a text file. Each line is `T` (the terminal) or `S` (the server), a blank and the
message. Checksums are computed anew, so that a recording can be replayed.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from circprobe.care import Permissions
from circprobe.redaction import Redactor
from circprobe.results import Exchange
from circprobe.sip2 import codec, messages
from circprobe.sip2.client import Connection, Guard, Target

FROM_TERMINAL = "T"
FROM_SERVER = "S"


@dataclass
class Writer:
    """Writes the lines of a recording, redacted.

    Attributes:
        put: takes each finished line.
    """

    put: Callable[[str], None]
    encoding: str = "utf-8"
    redactor: Redactor = field(default_factory=Redactor)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, side: str, line: bytes) -> None:
        """Write one message of a side."""
        message = codec.read(line, self.encoding)
        body = line.strip(b"\r\n")
        if message.checksum is not None:
            body = body[: -4 - (2 + 3 * (message.sequence is not None))]
        text = body.decode(self.encoding, "replace")
        with self.lock:
            if message.code in messages.MESSAGES:
                length = messages.fixed_length(message.code)
                text = self.redactor.message(text, length)
            else:
                # Nothing is known about it, so nothing of it is kept.
                text = text[:2] + "(unknown command)"
            self.put(f"{side} {self._framed(text, message)}")

    def _framed(self, text: str, message: codec.Message) -> str:
        if message.checksum is None:
            return text
        is_right = message.has_right_checksum
        sequence = message.sequence_number
        framed = codec.with_checksum(text.encode(), sequence).decode()
        return framed if is_right else framed[:-4] + "0000"


class Recorder(socketserver.ThreadingTCPServer):
    """Stands between terminals and a server, and records what passes."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], server: tuple[str, int], writer: Writer) -> None:
        self.server_under_record = server
        self.writer = writer
        super().__init__(address, _Pair)

    @property
    def port(self) -> int:
        """The port that terminals connect to."""
        return int(self.server_address[1])


class _Pair(socketserver.BaseRequestHandler):
    server: Recorder

    def handle(self) -> None:
        with socket.create_connection(self.server.server_under_record) as onward:
            back = threading.Thread(
                target=self._pass, args=(onward, self.request, FROM_SERVER), daemon=True
            )
            back.start()
            self._pass(self.request, onward, FROM_TERMINAL)
            back.join(2)

    def _pass(self, source: socket.socket, sink: socket.socket, side: str) -> None:
        buffer = b""
        try:
            while chunk := source.recv(65536):
                *lines, buffer = (buffer + chunk).split(b"\r")
                for line in lines:
                    if line.strip():
                        self.server.writer.add(side, line)
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@dataclass(frozen=True)
class Step:
    """One message of a recording, with the answer that it got."""

    sent: str
    answer: str


def read(text: str) -> Iterator[Step]:
    """Read the steps of a recording."""
    sent = ""
    for line in text.splitlines():
        side, _, content = line.partition(" ")
        if side == FROM_TERMINAL:
            if sent:
                yield Step(sent, "")
            sent = content
        elif side == FROM_SERVER and sent:
            yield Step(sent, content)
            sent = ""
    if sent:
        yield Step(sent, "")


def replay(
    steps: Iterator[Step],
    target: Target,
    permissions: Permissions,
    replacements: Mapping[str, str],
) -> Iterator[tuple[Step, Exchange, str]]:
    """Send a recording to a server.

    Args:
        steps: the recording.
        target: the server.
        permissions: what may be sent; the same care as for a catalogue.
        replacements: values for the pseudonyms of the recording.

    Yields:
        Each step, what came now, and how it differs in form from what was recorded.
    """
    guard = Guard(permissions, target.known_secrets)
    guard.throttle.is_on = not permissions.load
    connection = Connection(target, guard)
    try:
        for step in steps:
            text = step.sent
            for pseudonym, value in replacements.items():
                text = text.replace(pseudonym, value)
            message = codec.read(text.encode(target.encoding))
            connection.write(_reframed(text, message, target.encoding) + b"\r")
            answer = connection.receive(target.answer_s)
            exchange = Exchange(connection.last_sent, answer.received, answer.seconds, answer.note)
            yield step, exchange, _difference(step, exchange)
    finally:
        connection.close()


def _reframed(text: str, message: codec.Message, encoding: str) -> bytes:
    content = text.encode(encoding)
    if message.checksum is None:
        return content
    body = content[: -4 - (2 + 3 * (message.sequence is not None))]
    sequence = message.sequence_number
    return codec.with_checksum(body, sequence)


def _difference(step: Step, exchange: Exchange) -> str:
    """Compare two answers in form: command, completeness, the tags that stand in them."""
    if not step.answer:
        return ""
    if not exchange.received:
        return exchange.note
    before, now = codec.read(step.answer.encode()), codec.read(exchange.received)
    if before.code != now.code:
        return f"the answer was {before.code}, and is {now.code}"
    if before.fixed.get("ok") != now.fixed.get("ok"):
        return f"ok was {before.fixed.get('ok')}, and is {now.fixed.get('ok')}"
    before_tags = {tag for tag, _ in before.fields}
    now_tags = {tag for tag, _ in now.fields}
    missing, added = sorted(before_tags - now_tags), sorted(now_tags - before_tags)
    parts = [f"{', '.join(missing)} missing"] if missing else []
    parts += [f"{', '.join(added)} new"] if added else []
    return "; ".join(parts)

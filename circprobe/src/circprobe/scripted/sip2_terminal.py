"""A scripted terminal, which keeps every clause unless a fault is planted."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from datetime import datetime

from circprobe.scripted.faults import Fault
from circprobe.sip2 import codec

DAY = (
    "9300CNkiosk|COsecret-of-kiosk|CPDesk|",
    "9900802.00",
    "23001{date}AOHKX|AA21234000|AC|AD7391|",
    "63001{date}          AOHKX|AA21234000|AC|AD7391|",
    "63001{date}  Y       AOHKX|AA21234000|AC|AD7391|",
    "17{date}AOHKX|AB30001|AC|",
    "11NN{date}{blank}AOHKX|AA21234000|AB30001|AC|AD7391|",
    "29NN{date}{blank}AOHKX|AA21234000|AD7391|AB30001|AC|",
    "09N{date}{date}APDesk|AOHKX|AB30001|AC|",
    "15+{date}BY3|BSDesk|AOHKX|AA21234000|AD7391|AB30002|AC|",
    "15-{date}BY3|BSDesk|AOHKX|AA21234000|AD7391|AB30002|AC|",
    "65{date}AOHKX|AA21234000|AD7391|AC|",
    "37{date}0100HKDBV2.50|AOHKX|AA21234000|AC|BKpayment-1|",
    "63001{date}   Y      AOHKX|AA21234000|AC|AD7391|",
    "11NY{date}{date}AOHKX|AA21234000|AB30001|AC|AD7391|",
    "09Y{date}{date}APDesk|AOHKX|AB30001|AC|",
    "17{date}AOHKX|AB30002|AC|",
    "35{date}AOHKX|AA21234000|AC|AD7391|",
    "9900802.00",
    "63001{date}          AOHKX|AA21234000|AC|AD7391|",
)
"""What the terminal sends, in order."""


@dataclass
class Terminal:
    """Sends its day, message by message, and repeats as the protocol asks.

    Attributes:
        patience_s: how long it waits for an answer before it repeats.
        day: what it sends, in order.
    """

    port: int
    fault: Fault = field(default_factory=Fault)
    patience_s: float = 0.8
    day: tuple[str, ...] = DAY
    _sequence: int = -1
    _buffer: bytes = b""

    def run(self) -> None:
        """Send everything on one connection."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines = list(self.day)
            if self.fault.has("sends two messages at once"):
                self._send_two(connection, lines)
            for line in lines:
                if not self._exchange(connection, line):
                    return

    def _send_two(self, connection: socket.socket, lines: list[str]) -> None:
        first, second = (self._frame(_fill(line)) for line in lines[1:3])
        connection.sendall(first + second)
        self._receive(connection)
        self._receive(connection)

    def _frame(self, text: str, *, is_repetition: bool = False) -> bytes:
        fault = self.fault
        text = fault.change(text, text)
        content = text.encode("big5" if fault.has("sends Big5") else "utf-8")
        if fault.has("sends no AZ"):
            return content + b"\r"
        if not is_repetition or fault.has("counts a repetition"):
            step = 2 if fault.has("skips sequence numbers") else 1
            self._sequence += step
        if fault.has("keeps its sequence number"):
            self._sequence = 0
        most = 8 if fault.has("wraps at 8") else 10
        self._sequence %= most
        framed = codec.with_checksum(content, self._sequence)
        if fault.has("sends a wrong checksum") and text.startswith("17"):
            framed = framed[:-4] + b"0000"
        if fault.has("sends lower-case checksums"):
            framed = framed[:-4] + framed[-4:].lower()
        terminator = b"\n\r" if fault.has("ends with LF") else b"\r"
        if fault.has("ends with CR LF"):
            terminator = b"\r\n"
        return framed + terminator

    def _exchange(self, connection: socket.socket, line: str) -> bool:
        """Send one message until it is answered.

        Returns:
            Whether the terminal goes on.
        """
        fault = self.fault
        text = _fill(line)
        framed = self._frame(text)
        connection.sendall(framed)
        for _ in range(4):
            answer = self._receive(connection)
            if self._is_good(answer, framed):
                stops = fault.has("stops at an unknown field") and b"ZYprobe" in answer
                stops |= fault.has("stops at two screen messages") and b"AFSecond" in answer
                return not stops
            if answer and answer[:2] != b"96" and not codec.read(answer).has_right_checksum:
                if fault.has("takes damaged answers"):
                    return True
                self._ask_again(connection)
                continue
            if answer and answer[:2] != b"96" and not fault.has("obeys a strange answer"):
                # The answer to another message: wait for the right one, then repeat.
                continue
            if answer[:2] == b"96" and fault.has("ignores 96"):
                return True
            if not answer and fault.has("gives up at once"):
                return False
            if not answer and fault.has("goes on without an answer"):
                return True
            if fault.has("obeys a strange answer") and answer and answer[:2] != b"96":
                return True
            framed = self._repeat(text, framed)
            connection.sendall(framed)
        return False

    def _repeat(self, text: str, framed: bytes) -> bytes:
        if self.fault.has("changes the message when it repeats"):
            return self._frame(text.replace("AOHKX", "AOHKY"), is_repetition=True)
        if self.fault.has("counts a repetition"):
            return self._frame(text, is_repetition=True)
        return framed

    def _ask_again(self, connection: socket.socket) -> None:
        sequence = 0 if self.fault.has("puts AY into 97") else None
        content = codec.with_checksum(b"97", sequence)
        if self.fault.has("sends 97 without checksum"):
            content = b"97"
        connection.sendall(content + b"\r")

    def _is_good(self, answer: bytes, framed: bytes) -> bool:
        if not answer or answer[:2] == b"96":
            return False
        message, sent = codec.read(answer), codec.read(framed)
        if sent.checksum is None:
            return True
        return message.has_right_checksum and message.sequence == sent.sequence

    def _receive(self, connection: socket.socket) -> bytes:
        connection.settimeout(self.patience_s)
        while b"\r" not in self._buffer:
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                return b""
            if not chunk:
                return b""
            self._buffer += chunk
            if self.fault.has("takes a segment for an answer"):
                answer, self._buffer = self._buffer, b""
                return answer.strip()
        answer, _, self._buffer = self._buffer.partition(b"\r")
        return answer.strip()


def _fill(line: str) -> str:
    now = datetime.now().astimezone().strftime("%Y%m%d    %H%M%S")
    return line.replace("{date}", now).replace("{blank}", " " * 18)

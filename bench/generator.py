"""The load generator: a separate process that sends questions over many connections at once and checks every answer.

It is a closed loop on bare epoll: each connection sends its next question when the previous one is answered. Questions are
prepared bytes. Each answer is checked for its beginning, for the text that it must contain, and for its checksum. The first
wrong answer ends the run. This module imports no other module of the project, so that it starts fast and uses little CPU.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 20.0
HOST: Final = "127.0.0.1"
LINE_END: Final = b"\r"
NUMBER: Final = slice(-8, -7)
"""Position of the sequence number in a line."""

Question = tuple[bytes, bytes]
"""(bytes to send, bytes that the answer must contain)."""


class WrongAnswer(Exception):
    """An answer does not match its question."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """Parameters of one run.

    Attributes:
        ports: Ports to which the connections are distributed.
        framing: "line" or "http".
        yes: Beginnings of good lines, or contents of good pages.
        questions: Questions in order. Open questions are still answered when `seconds` are over.
        login: Message to send first on each connection, or b"".
        again: Whether to repeat the questions after the last one.
        rate: Maximum number of questions per second. 0 stands for as many as are answered.
    """

    ports: Sequence[int]
    connections: int
    seconds: float
    framing: str
    yes: tuple[bytes, ...]
    questions: Sequence[Question]
    login: bytes = b""
    again: bool = False
    rate: float = 0.0

    def question_sequence(self) -> Iterator[Question]:
        """Return the questions in order."""
        return cycle(self.questions) if self.again else iter(self.questions)


def checksum_holds(line: bytes) -> bool:
    """Whether a SIP2 line, including its terminator, has a correct checksum. Source: SIP2 2.00, error detection."""
    summed, checksum = line[:-5], line[-5:-1]
    return summed[-2:] == b"AZ" and checksum == _checksum(summed)


def _checksum(summed: bytes) -> bytes:
    return b"%04X" % (-sum(summed) & 0xFFFF)


def numbered(line: bytes, last: bytes) -> bytes:
    """Renumber a line that has the same sequence number as the previous line, which would mean a repetition.

    `line` and `last`, the previous line, end in AY, a number, AZ and a checksum. `last` may be empty. Source: SIP2 2.00, error
    detection.
    """
    if not last or line[NUMBER] != last[NUMBER]:
        return line
    summed = line[: NUMBER.start] + b"%d" % ((int(line[NUMBER]) + 1) % 10) + b"AZ"
    return summed + _checksum(summed) + LINE_END


def whole_line(data: bytes) -> bool:
    """Whether the answer on a terminal's connection is complete."""
    return data.endswith(LINE_END)


def whole_page(data: bytes) -> bool:
    """Whether an HTTP answer is complete: it has the header, and as many bytes as Content-Length says."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    length = next((f for f in head.lower().split(b"\r\n") if f.startswith(b"content-length:")), b"")
    return len(body) >= int(length.partition(b":")[2] or 0)


def check_line(order: LoadOrder, wanted: bytes, data: bytes) -> None:
    """Raise WrongAnswer unless this line is the expected positive answer."""
    if not (data.startswith(order.yes) and wanted in data and checksum_holds(data)):
        raise WrongAnswer(f"wanted {order.yes!r} with {wanted!r}, got {data!r}")


def check_page(order: LoadOrder, wanted: bytes, data: bytes) -> None:
    """Raise WrongAnswer unless this page is the expected document, without a Problem."""
    right = data.startswith(b"HTTP/1.1 200") and any(yes in data for yes in order.yes)
    if not right or wanted not in data or b"Problem>" in data:
        raise WrongAnswer(f"wanted {order.yes!r} with {wanted!r}, got {data!r}")


@dataclass(frozen=True, slots=True)
class AnswerFraming:
    """Functions that detect the end of an answer, check the answer, and write a question, given the previous question."""

    whole: Callable[[bytes], bool]
    check: Callable[[LoadOrder, bytes, bytes], None]
    write: Callable[[bytes, bytes], bytes]


FRAMINGS: Final = {
    "line": AnswerFraming(whole_line, check_line, numbered),
    "http": AnswerFraming(whole_page, check_page, lambda page, _last: page),
}


class Talk:
    """One connection to a subject."""

    __slots__ = ("_last", "_write", "asked_s", "received", "socket", "wanted")

    def __init__(self, port: int, framing: AnswerFraming, login: bytes) -> None:
        self.socket = socket.create_connection((HOST, port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.wanted, self.asked_s = b"", b"", 0.0
        self._write, self._last = framing.write, login
        if login:
            self.socket.sendall(login)

    def log_in(self, login: bytes) -> None:
        """Read the answer to the login. Raises WrongAnswer unless it is positive."""
        if login and not (reply := self.socket.recv(4096)).startswith(b"941"):
            raise WrongAnswer(f"the login was answered by {reply!r}")
        self.socket.setblocking(False)

    def ask(self, question: Question, now_s: float) -> None:
        """Send the question in one call: it is smaller than any socket buffer."""
        self.wanted, self.asked_s = question[1], now_s
        self._last = text = self._write(question[0], self._last)
        if self.socket.send(text) != len(text):
            raise WrongAnswer("a question did not fit into the socket")


def drive(order: LoadOrder, seconds: Callable[[], float]) -> tuple[float, array[float]]:
    """Send questions until the time or the questions are over. Return the duration in seconds and the waiting times.

    `seconds` returns the time of a monotonic clock. Raises WrongAnswer, or OSError if a connection is lost.
    """
    framing = FRAMINGS[order.framing]
    talks = [Talk(order.ports[n % len(order.ports)], framing, order.login) for n in range(order.connections)]
    try:
        for talk in talks:
            talk.log_in(order.login)
        loop = Loop(order, seconds)
        return loop.run(talks), loop.waits
    finally:
        for talk in talks:
            talk.socket.close()


class Loop:
    """The closed loop of one run. `waits` are the waiting times of the answers in seconds."""

    def __init__(self, order: LoadOrder, seconds: Callable[[], float]) -> None:
        self._order, self._seconds, self._questions = order, seconds, order.question_sequence()
        self._whole, self._check = FRAMINGS[order.framing].whole, FRAMINGS[order.framing].check
        self._gap_s = 1 / order.rate if order.rate else 0.0
        self._resting: deque[tuple[float, Talk]] = deque()
        self._slot = self._last = 0.0
        self.waits = array("d")

    def run(self, talks: Sequence[Talk]) -> float:
        """Run until the time or the questions are over and every answer has arrived. Return the duration in seconds."""
        poll, by_number = select.epoll(), {talk.socket.fileno(): talk for talk in talks}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        begun = self._slot = self._seconds()
        self._last = begun + self._order.seconds
        asking = sum(self._ask(talk, begun) for talk in talks)
        while asking:
            wait_s = self._resting[0][0] - self._seconds() if self._resting else TIMEOUT_S
            ready = poll.poll(max(0.0, min(TIMEOUT_S, wait_s)))
            if not ready and not self._resting:
                raise WrongAnswer(f"no answer within {TIMEOUT_S:.0f} s; {asking} are awaited")
            asking -= sum(self._hear(by_number[number]) for number, _ in ready) + self._wake()
        return self._seconds() - begun

    def _ask(self, talk: Talk, now_s: float) -> bool:
        """Send the next question on a connection. Return False if there is none left."""
        question = next(self._questions, None) if now_s < self._last else None
        if question is None:
            return False
        talk.ask(question, now_s)
        return True

    def _hear(self, talk: Talk) -> bool:
        """Read from a connection. When the answer is complete, send the next question. Return True if no question is left."""
        data = talk.socket.recv(65536)
        if not data:
            raise WrongAnswer(f"the line was closed while {talk.wanted!r} was awaited")
        if talk.received:
            data = talk.received + data
        if not self._whole(data):
            talk.received = data
            return False
        talk.received = b""
        self._check(self._order, talk.wanted, data)
        now_s = self._seconds()
        self.waits.append(now_s - talk.asked_s)
        return not (self._rest(talk, now_s) or self._ask(talk, now_s))

    def _rest(self, talk: Talk, now_s: float) -> bool:
        """Whether a connection must wait for its time slot. Up to one second of missed slots is caught up."""
        if not self._gap_s:
            return False
        self._slot = max(self._slot + self._gap_s, now_s - 1)
        if self._slot > now_s:
            self._resting.append((self._slot, talk))
        return self._slot > now_s

    def _wake(self) -> int:
        """Resume the connections whose time slot has come. Return the number of them without another question."""
        ended = 0
        while self._resting and self._resting[0][0] <= (now_s := self._seconds()):
            ended += not self._ask(self._resting.popleft()[1], now_s)
        return ended


def write_order(file: Path, order: LoadOrder) -> None:
    """Write an order to a file for the generator's process, as JSON with bytes as Latin-1 text."""
    record = {name: getattr(order, name) for name in LoadOrder.__dataclass_fields__}
    record["questions"] = [[part.decode("latin-1") for part in question] for question in order.questions]
    record |= {"yes": [yes.decode("latin-1") for yes in order.yes], "login": order.login.decode("latin-1")}
    file.write_text(json.dumps(record), encoding="utf-8")


def read_order(file: Path) -> LoadOrder:
    """Read an order from a file."""
    record = json.loads(file.read_text(encoding="utf-8"))
    record["questions"] = [(text.encode("latin-1"), wanted.encode("latin-1")) for text, wanted in record["questions"]]
    yes = tuple(text.encode("latin-1") for text in record.pop("yes"))
    return LoadOrder(**record | {"yes": yes, "login": record["login"].encode("latin-1")})


def main(file: str) -> None:
    """Run the order in `file`, and print duration, CPU seconds and waiting times as JSON."""
    order = read_order(Path(file))
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        took_s, waits = drive(order, time.perf_counter)
    except (WrongAnswer, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"took_s": took_s, "cpu_s": cpu_s, "waits_s": list(waits)}))  # noqa: T201  # the output of the process


if __name__ == "__main__":
    main(sys.argv[1])

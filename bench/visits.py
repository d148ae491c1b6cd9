"""Visits of self-checks that connect for each patron: a load generator beside generator.py, `python -m bench.visits ORDER`.

Each visit opens a connection, sends its lines one after the other, each after the answer to the one before, and closes. It
counts as one answer, and its waiting time runs from the connecting to the last answer.
"""

from __future__ import annotations

import select
import socket
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Final

from bench.generator import HOST, TIMEOUT_S, LoadOrder, Question, WrongAnswer, checksum_holds, main, whole_line

LOGGED_IN: Final = b"941"
YES: Final = {b"93": LOGGED_IN, b"63": b"64", b"35": b"36Y"}
"""The beginning of the positive answer to each message."""


class Visit:
    """One connection. `question` holds all lines; every answer but that to the login must contain its second part."""

    __slots__ = ("_heard", "_lines", "_wanted", "_yes", "begun_s", "socket")

    def __init__(self, port: int, question: Question, now_s: float) -> None:
        self.begun_s, self._heard, self._yes, self._wanted = now_s, b"", b"", question[1]
        self._lines: Iterator[bytes] = iter(question[0].splitlines(keepends=True))
        self.socket = socket.create_connection((HOST, port), TIMEOUT_S)
        self._send()

    def _send(self) -> bool:
        """Sends the next line; False if there is none left."""
        line = next(self._lines, b"")
        if line:
            self._yes = YES[line[:2]]
            self.socket.sendall(line)
        return bool(line)

    def hear(self) -> bool:
        """Reads an answer, checks it and sends the next line; True when it was the last one. Raises WrongAnswer."""
        data = self.socket.recv(65536)
        self._heard += data
        if data and not whole_line(self._heard):
            return False
        wanted = b"" if self._yes == LOGGED_IN else self._wanted
        if not (self._heard.startswith(self._yes) and wanted in self._heard and checksum_holds(self._heard)):
            raise WrongAnswer(f"wanted {self._yes!r} with {wanted!r}, got {self._heard!r}")
        self._heard = b""
        return not self._send()


def drive(order: LoadOrder, seconds: Callable[[], float]) -> tuple[float, array[float]]:
    """Visits without pause over so many connections at a time; (seconds that it took, each visit's time)."""
    visits = dict[int, Visit]()
    try:
        return _drive(order, seconds, visits)
    finally:
        for visit in visits.values():
            visit.socket.close()


def _drive(order: LoadOrder, seconds: Callable[[], float], visits: dict[int, Visit]) -> tuple[float, array[float]]:
    """The same; `visits` are those that are open, by the number of their socket."""
    poll, waits, asked = select.epoll(), array("d"), order.asked()
    begun = seconds()

    def begin() -> None:
        visit = Visit(order.ports[len(waits) % len(order.ports)], next(asked), seconds())
        visits[visit.socket.fileno()] = visit
        poll.register(visit.socket, select.EPOLLIN)

    for _ in range(order.connections):
        begin()
    while visits:
        ready = poll.poll(TIMEOUT_S)
        if not ready:
            raise WrongAnswer(f"no answer within {TIMEOUT_S:.0f} s; {len(visits)} are awaited")
        for number, _ in ready:
            if visits[number].hear():
                visit, now_s = visits.pop(number), seconds()
                visit.socket.close()
                waits.append(now_s - visit.begun_s)
                if now_s < begun + order.seconds:
                    begin()
    return seconds() - begun, waits


if __name__ == "__main__":
    main(sys.argv[1], drive)

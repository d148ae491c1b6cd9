"""The load generator of visits: a connection for each, a line after the answer to the one before, every answer checked."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from itertools import count
from threading import Lock, Thread

import pytest

from bench.generator import LoadOrder, Question, WrongAnswer
from bench.questions import line
from bench.visits import drive

ANSWERS = {b"93": "941", b"63": "64|AAP1|", b"35": "36Y|AAP1|"}
VISIT: Question = (line("93", 0) + line("63", 1) + line("35", 2), b"|AAP1|")


class Terminals(socketserver.ThreadingTCPServer):
    """Answers each message by ANSWERS, or as a test says; `heard` are the messages of each connection."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Terminal)
        self.answers, self.heard, self.lock = dict(ANSWERS), list[list[bytes]](), Lock()


class Terminal(socketserver.BaseRequestHandler):
    server: Terminals

    def handle(self) -> None:
        heard = list[bytes]()
        with self.server.lock:
            self.server.heard.append(heard)
        while data := self.request.recv(4096):
            heard.append(data)
            answer = line(self.server.answers[data[:2]], 0)
            self.request.sendall(answer[:3])
            self.request.sendall(answer[3:])


@pytest.fixture
def terminals() -> Iterator[Terminals]:
    with Terminals() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def order(terminals: Terminals, connections: int = 2, seconds: float = 0.05) -> LoadOrder:
    return LoadOrder([terminals.server_address[1]], connections, seconds, "visit", (), [VISIT], again=True)


def test_each_visit_has_a_connection_and_its_lines_one_after_the_other(terminals: Terminals) -> None:
    ticks = count()
    took_s, waits = drive(order(terminals), lambda: next(ticks) / 1000)
    assert terminals.heard == [[line("93", 0), line("63", 1), line("35", 2)]] * len(waits)
    assert len(waits) > 2
    assert 0 < min(waits) <= max(waits) <= took_s


# fmt: off
WRONG = {
    "a login refused":          {b"93": "940"},
    "another patron":           {b"63": "64|AAP2|"},
    "a session that goes on":   {b"35": "36N|AAP1|"},
}
# fmt: on


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_ends_the_run(terminals: Terminals, wrong: dict[bytes, str]) -> None:
    terminals.answers |= wrong
    with pytest.raises(WrongAnswer):
        drive(order(terminals, connections=1), lambda: 0.0)

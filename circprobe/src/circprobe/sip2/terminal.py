"""A terminal under test: the kit is the server, and judges whatever connects.

The kit answers as the scripted server does. At a few messages it does what happens in the field: it
asks for a repetition, stays silent, damages an answer. What the terminal does then is judged too.
"""

from __future__ import annotations

import select
import socketserver
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from circprobe.catalogue import Clause, Expectation, Probe
from circprobe.results import Exchange
from circprobe.runner import NotTried
from circprobe.scripted.library import Library
from circprobe.scripted.sip2_server import Session
from circprobe.sip2 import codec, judging

STIMULI = {
    2: "split",
    4: "unknown-field",
    6: "ask-again",
    8: "damaged",
    10: "silence",
    12: "other-sequence",
    14: "two-messages-shown",
}
"""What the kit does instead of a plain answer, by the number of the message behind login and 99."""

BETWEEN_SEGMENTS_S = 0.05

ORDINARY = {"23", "63", "17", "11", "09", "29", "65", "15", "37", "35"}


@dataclass
class Turn:
    """One message of the terminal.

    Attributes:
        connection: the number of its connection.
        stimulus: what the kit did instead of a plain answer, or an empty text.
        waited: the terminal had got the answer to its message before.
    """

    connection: int
    sent: bytes
    answer: bytes
    moment: float
    stimulus: str = ""
    waited: bool = True


@dataclass
class Recording:
    """Everything that terminals sent, in order."""

    turns: list[Turn] = field(default_factory=list)
    ordinary: int = 0
    connections: int = 0


class TerminalJudge(socketserver.ThreadingTCPServer):
    """The server that terminals connect to."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], library: Library) -> None:
        self.library = library
        self.recording = Recording()
        self.lock = threading.Lock()
        super().__init__(address, _Connection)

    @property
    def port(self) -> int:
        """The port that terminals connect to."""
        return int(self.server_address[1])


class _Connection(socketserver.BaseRequestHandler):
    server: TerminalJudge
    _is_ahead = False

    def handle(self) -> None:
        with self.server.lock:
            self.server.recording.connections += 1
            number = self.server.recording.connections
        session = Session(self.server.library, needs_login=False)
        buffer = b""
        try:
            while chunk := self.request.recv(65536):
                *lines, buffer = (buffer + chunk).split(b"\r")
                for position, line in enumerate(lines):
                    if not line.strip():
                        continue
                    # A second message in one segment was sent before the first was answered.
                    waited = position == 0 and not self._is_ahead
                    self._is_ahead = False
                    self._turn(session, number, line + b"\r", waited=waited)
        except OSError:
            return

    def _turn(self, session: Session, number: int, line: bytes, *, waited: bool) -> None:
        with self.server.lock:
            recording = self.server.recording
            message = codec.read(line)
            answer = session.answer(line.strip())
            stimulus = ""
            if message.code in ORDINARY:
                recording.ordinary += 1
                stimulus = STIMULI.get(recording.ordinary, "")
            if stimulus in {"damaged", "other-sequence"} and message.checksum is None:
                stimulus = ""
            moment = time.monotonic()
            recording.turns.append(Turn(number, line, answer, moment, stimulus, waited))
        pieces = _pieces(answer, stimulus, message)
        for piece in pieces:
            if piece is not pieces[0]:
                # A terminal that sends on now has taken the first segment for the answer.
                sends_on, _, _ = select.select([self.request], [], [], BETWEEN_SEGMENTS_S)
                self._is_ahead = bool(sends_on)
            self.request.sendall(piece)


def _pieces(answer: bytes, stimulus: str, message: codec.Message) -> list[bytes]:
    """Give what is sent: the answer, or what a stimulus makes of it."""
    match stimulus:
        case "silence":
            return []
        case "split":
            return [answer[:7], answer[7:] + b"\r"]
        case "ask-again":
            return [codec.with_checksum(b"96", None) + b"\r"]
        case "damaged":
            return [answer[:-4] + b"0000\r"]
        case "other-sequence":
            other = (int(message.sequence or 0) + 5) % 10
            body = codec.read(answer).raw.rpartition(b"AY")[0]
            return [codec.with_checksum(body, other) + b"\r"]
        case "unknown-field":
            return [_with_fields(answer, b"ZYprobe|") + b"\r"]
        case "two-messages-shown":
            return [_with_fields(answer, b"AFFirst line|AFSecond line|") + b"\r"]
    return [answer + b"\r"] if answer else []


def _with_fields(answer: bytes, fields: bytes) -> bytes:
    message = codec.read(answer)
    if message.checksum is None:
        return answer + fields
    body, _, _ = answer.rpartition(b"AY" if message.sequence else b"AZ")
    sequence = int(message.sequence) if message.sequence else None
    return codec.with_checksum(body + fields, sequence)


@dataclass
class Sip2Terminal:
    """The driver for a terminal: judges a recording.

    Attributes:
        values: what the person gave, such as "pin", whose value must stand in AD only.
    """

    recording: Recording
    values: dict[str, str]
    encoding: str = "utf-8"

    def offers(self, names: Collection[str]) -> bool:
        """Say yes: what a terminal does not send is not tried."""
        del names
        return True

    def gather(self, probe: Probe, clause: Clause) -> list[list[Exchange]]:
        """Give the messages, or the turns behind a stimulus, that a clause judges.

        Raises:
            NotTried: if the terminal did nothing of the kind.
        """
        turns = self.recording.turns
        if probe.name == "recording":
            return self._messages(clause)
        if probe.name == "session":
            return [[_exchange(turn) for turn in turns]] if turns else []
        if probe.name == "neighbours":
            same = [(a, b) for a, b in pairwise(turns) if a.connection == b.connection]
            return [[_exchange(a), _exchange(b)] for a, b in same]
        return self._behind_stimulus(probe.name)

    def _messages(self, clause: Clause) -> list[list[Exchange]]:
        found = []
        for turn in self.recording.turns:
            code = codec.read(turn.sent).code
            if not clause.on or code in clause.on:
                found.append([_exchange(turn)])
        if not found:
            raise NotTried(f"the terminal sent no {' or '.join(clause.on) or 'message'}")
        return found

    def _behind_stimulus(self, stimulus: str) -> list[list[Exchange]]:
        turns = self.recording.turns
        for position, turn in enumerate(turns):
            if turn.stimulus != stimulus:
                continue
            behind = [t for t in turns[position + 1 :] if t.connection == turn.connection]
            following = [_exchange(t) for t in behind[:2]]
            nothing = Exchange(b"", b"", note="the terminal sent nothing more")
            return [[_exchange(turn), *(following or [nothing])]]
        needed = next(number for number, name in STIMULI.items() if name == stimulus)
        seen = self.recording.ordinary
        raise NotTried(f"it needs {needed} messages of patrons or items, {seen} came")

    def judge(self, expectation: Expectation, evidence: list[Exchange]) -> str:
        """Judge one expectation about what the terminal sent."""
        case = judging.Case(evidence, self.values, self.encoding)
        return judging.judge(case, expectation)


def _exchange(turn: Turn) -> Exchange:
    note = "" if turn.waited else "sent before the message in front of it was answered"
    return Exchange(turn.sent, turn.answer, note=note)


def listen(address: tuple[str, int], library: Library) -> TerminalJudge:
    """Start to listen, in a thread."""
    judge = TerminalJudge(address, library)
    threading.Thread(target=judge.serve_forever, args=(0.02,), daemon=True).start()
    return judge

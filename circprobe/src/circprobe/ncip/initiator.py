"""An NCIP initiator under test: the kit is the responder, and judges whoever calls.

It answers as the scripted responder does. To a few documents it answers what happens in the field:
another prefix, an Ext, an error of HTTP, a closed connection, a Problem.
"""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from circprobe.catalogue import Clause, Expectation, Probe
from circprobe.ncip import documents, judging
from circprobe.ncip.documents import Unreadable
from circprobe.results import Exchange
from circprobe.runner import NotTried
from circprobe.scripted.library import Library
from circprobe.scripted.ncip_responder import NcipAnswers

STIMULI = {
    2: "other-prefix",
    4: "ext",
    6: "http-503",
    8: "closed",
    10: "temporary-problem",
    12: "default-namespace",
}
"""What the kit does instead of a plain answer, by the number of the document."""


@dataclass
class Call:
    """One document of an initiator.

    Attributes:
        method: of HTTP, with the path behind it.
        headers: names in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: bytes
    moment: float
    stimulus: str = ""


class InitiatorJudge(http.server.ThreadingHTTPServer):
    """The responder that initiators call."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], library: Library) -> None:
        self.answers = NcipAnswers(library, knows_every_agency=True)
        self.calls: list[Call] = []
        self.lock = threading.Lock()
        super().__init__(address, _Handler)

    @property
    def port(self) -> int:
        """The port that initiators call."""
        return int(self.server_address[1])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: InitiatorJudge

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        judge = self.server
        with judge.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            stimulus = STIMULI.get(len(judge.calls) + 1, "")
            answer = _change(judge.answers.answer(body), stimulus)
            moment = time.monotonic()
            call = Call("POST", self.path, headers, body, answer, moment, stimulus)
            judge.calls.append(call)
        if stimulus == "closed":
            self.close_connection = True
            return
        if stimulus == "http-503":
            # Without a message: an initiator may read one whatever the status is.
            self._send(503, b"")
            return
        self._send(200, answer)

    def do_GET(self) -> None:
        with self.server.lock:
            moment = time.monotonic()
            self.server.calls.append(Call("GET", self.path, {}, b"", b"", moment))
        self._send(405, b"")

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", 'application/xml; charset="utf-8"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Keep the terminal quiet."""


def _change(answer: bytes, stimulus: str) -> bytes:
    """Give the answer that a stimulus makes of a plain one."""
    match stimulus:
        case "other-prefix":
            return answer.replace(b"ns1:", b"partner:").replace(b"xmlns:ns1", b"xmlns:partner")
        case "default-namespace":
            plain = answer.replace(b"<ns1:", b"<").replace(b"</ns1:", b"</")
            plain = plain.replace(b' ns1:Scheme="', b' Scheme="').replace(
                b" ns1:version", b" version"
            )
            return plain.replace(b"xmlns:ns1=", b"xmlns=")
        case "ext":
            end = answer.rfind(b"Response></ns1:NCIPMessage>")
            start = answer.rfind(b"</ns1:", 0, end)
            note = b"<ns1:Ext><ns1:ItemNote>probe</ns1:ItemNote></ns1:Ext>"
            return answer if end < 0 else answer[:start] + note + answer[start:]
        case "temporary-problem":
            return _temporary_problem(answer)
    return answer


def _temporary_problem(answer: bytes) -> bytes:
    try:
        service = documents.read(answer).service
    except Unreadable:
        return answer
    problem = "<Problem><ProblemType>Temporary Processing Failure</ProblemType></Problem>"
    return documents.compose(f"<{service}>{problem}</{service}>")


@dataclass
class NcipInitiator:
    """The driver for an initiator: judges the calls that came."""

    calls: list[Call]
    values: dict[str, str] = field(default_factory=dict)

    def offers(self, names: Collection[str]) -> bool:
        """Say yes: what an initiator does not send is not tried."""
        del names
        return True

    def gather(self, probe: Probe, clause: Clause) -> list[list[Exchange]]:
        """Give the documents, or the calls behind a stimulus, that a clause judges.

        Raises:
            NotTried: if the initiator did nothing of the kind.
        """
        if probe.name == "recording":
            return self._documents(clause)
        if probe.name == "session":
            if not self.calls:
                raise NotTried("nobody called")
            return [[_exchange(call) for call in self.calls]]
        return self._behind_stimulus(probe.name)

    def _documents(self, clause: Clause) -> list[list[Exchange]]:
        found = [
            [_exchange(call)]
            for call in self.calls
            if not clause.on or _service_of(call.body) in clause.on
        ]
        if not found:
            raise NotTried(f"the initiator sent no {' or '.join(clause.on) or 'document'}")
        return found

    def _behind_stimulus(self, stimulus: str) -> list[list[Exchange]]:
        for position, call in enumerate(self.calls):
            if call.stimulus == stimulus:
                behind = [_exchange(other) for other in self.calls[position + 1 :]]
                if not behind:
                    raise NotTried("it was the last document")
                return [[_exchange(call), *behind]]
        needed = next(number for number, name in STIMULI.items() if name == stimulus)
        raise NotTried(f"it needs {needed} documents, {len(self.calls)} came")

    def judge(self, expectation: Expectation, evidence: list[Exchange]) -> str:
        """Judge one expectation about what the initiator sent."""
        return judging.judge(judging.Case(evidence, self.values), expectation)


def _service_of(body: bytes) -> str:
    try:
        return documents.read(body).service
    except Unreadable:
        return ""


def _exchange(call: Call) -> Exchange:
    kind = call.headers.get("content-type", "")
    return Exchange(call.body, call.answer, note=f"{call.method} {call.path}; {kind}")


def listen(address: tuple[str, int], library: Library) -> InitiatorJudge:
    """Start to listen, in a thread."""
    judge = InitiatorJudge(address, library)
    threading.Thread(target=judge.serve_forever, args=(0.02,), daemon=True).start()
    return judge

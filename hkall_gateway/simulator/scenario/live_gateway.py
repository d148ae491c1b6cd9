"""Runs a scenario against a running gateway, over real connections and by querying the gateway's database.

A running gateway has its own time, partners and letters, so lines that would change these are refused before any message is
sent. The courier works independently, so an assertion about the gateway's state may take a moment to become true.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.net.socket_lines import SocketLines
from hkall_gateway.rules.vocabulary import Request
from hkall_gateway.simulator.scenario.assertions import Difference
from hkall_gateway.simulator.scenario.in_memory import Seal
from hkall_gateway.simulator.scenario.runner import Played, perform
from hkall_gateway.simulator.scenario.steps import BadLine, CommandLine, ScenarioLine, ScenarioRun, read_scenario


@dataclass(slots=True)
class LiveTerminal:
    """One terminal with its connection."""

    wire: SocketLines
    seal: Seal

    def ask(self, text: str) -> str:
        """Return the reply to a message. Raise OSError if no reply arrives, and ValueError for a wrong checksum."""
        return self.seal.opened(self.wire.ask(self.seal.sealed(text)))


@dataclass(slots=True)
class Live:
    """A running gateway as the target of a scenario, with the methods of World.

    Attributes:
        call: Opens a socket to the port for terminals.
        post: Sends a document and returns the reply.
        password: Password of every terminal.
        encodings: Encodings of terminals, by login.
        secrets: Secret agreed with each agency.
        find_request: Queries the database for a request.
        outbox: Queries the database for unsent messages.
        pause: Waits a moment before an assertion is tried again.
        tries: Maximum number of retries.
    """

    agency: str
    call: Callable[[], socket.socket]
    post: Callable[[bytes], bytes]
    password: str
    encodings: Mapping[str, str]
    secrets: Mapping[str, str]
    dialects: Mapping[str, str]
    find_request: Callable[[str], Request | None]
    outbox: Callable[[], Sequence[OutboxRow]]
    now: Callable[[], datetime]
    pause: Callable[[], None]
    tries: int = 20
    _callers: dict[str, LiveTerminal] = field(default_factory=dict)

    def sip2(self, terminal: str, line: str) -> str:
        """Return the reply to a terminal's message. The terminal logs in before its first message."""
        caller = self._callers.get(terminal) or self._log_in(terminal)
        return caller.ask(line)

    def ncip(self, agency: str, document: bytes) -> bytes:  # noqa: ARG002  # the document names its sender
        """Return the reply to a document."""
        return self.post(document)

    def tell(self, agency: str, text: str) -> NcipMessage:
        """Send a document in shorthand to the gateway, and return the reply."""
        service, *words = shlex.split(text)
        message = make_message(service, words, agency, self.agency, self.secrets.get(agency, ""), self.now())
        dialect = DIALECTS[self.dialects.get(agency, "direct")]
        return documents.decode(self.ncip(agency, documents.encode(message, dialect)))

    def request(self, number: str) -> Request:
        """Return a request. Raise KeyError for an unknown number."""
        found = self.find_request(number)
        if found is None:
            raise KeyError(number)
        return found

    def close(self) -> None:
        """Close every terminal's connection."""
        for caller in self._callers.values():
            caller.wire.socket.close()
        self._callers.clear()

    def _log_in(self, terminal: str) -> LiveTerminal:
        if terminal not in self.encodings:
            raise ValueError(f"there is no terminal {terminal!r}")
        caller = LiveTerminal(SocketLines(self.call()), Seal(self.encodings[terminal]))
        self._callers[terminal] = caller
        if not caller.ask(f"9300CN{terminal}|CO{self.password}|").startswith("941"):
            raise ValueError(f"{terminal} could not log in")
        return caller


def play_live(path: Path, live: Live, command_line: CommandLine) -> Played:
    """Run a scenario file against a running gateway, and return the result. Every terminal logs in anew."""
    stage = ScenarioRun(path.parent, None, command_line, made=live)
    try:
        lines = read_scenario(path)
        others = [line for line in lines if line.verb not in VERBS or line.get("service")]
        if others:
            listed = ", ".join(f"{line.number} ({line.verb})" for line in others)
            raise BadLine(f"{path}:{others[0].number}", f"a gateway that runs cannot be told or asked this: lines {listed}")
        for line in lines[1:]:  # skip `world`, since the gateway's database already has data
            _perform_patiently(stage, line, live)
    except (Difference, BadLine) as failure:
        return Played(path, str(failure))
    finally:
        live.close()
    return Played(path, "")


def _perform_patiently(stage: ScenarioRun, line: ScenarioLine, live: Live) -> None:
    """Perform a line, retrying an assertion that may become true a moment later."""
    for _ in range(live.tries if line.verb in _LATER else 0):
        try:
            return perform(stage, line)
        except Difference:
            live.pause()
    return perform(stage, line)


VERBS: Final = frozenset({"world", "sip2", "ncip", "cli", "<", "outbox", "state"})
_LATER: Final = frozenset({"outbox", "state"})

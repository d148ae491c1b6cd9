"""NCIP partners and SIP2 terminals for scenarios, in the same process and without sockets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from hkall_gateway.db.database import finished
from hkall_gateway.peers.callers import Caller, NamedSecret
from hkall_gateway.rules.callers import PartnerAccess
from hkall_gateway.simulator.scenario.world_file import Start
from hkall_gateway.sip2 import dispatch as sip2
from hkall_gateway.sip2.client import UpstreamInterface
from hkall_gateway.sip2.codec.lines import checksum
from hkall_gateway.sip2.codec.session import Close, SendBytes, Session

HERE: Final = "127.0.0.1"


def callers(start: Start, secret: Callable[[str], str]) -> Iterator[Caller]:
    """Yield the partners and clients of a world. `secret` returns the secret agreed with an agency."""
    for partner in start.partners:
        in_ext = partner.agency in start.numbered_in_ext
        access = PartnerAccess(agency=partner.agency, request_id_in_ext=in_ext, lookups_per_minute=0)
        yield Caller(
            access=access, secrets=(NamedSecret(variable=partner.agency, text=secret(partner.agency)),), partner=partner
        )
    for client in start.clients:
        yield Caller(access=client, secrets=(NamedSecret(variable=client.agency, text=secret(client.agency)),))


_NUMBERED: Final = re.compile(r"AY([0-9])\Z")
_SEALED: Final = re.compile(rb"(AY([0-9]))?AZ[0-9A-F]{4}\Z")


class PlainSecrets:
    """Compares a terminal's password with the stored plain text, since hashing would only slow tests down."""

    async def verify(self, subject: str, stored: str, secret: str) -> bool:  # noqa: ARG002  # the signature of the protocol
        """Check whether the two texts are equal."""
        return stored == secret


@dataclass(slots=True)
class Seal:
    """Adds sequence numbers and checksums to messages, and checks them in replies. `number` is the next number, 0 to 9."""

    encoding: str
    number: int = 0

    def sealed(self, text: str) -> bytes:
        """Add sequence number and checksum to a message. A text that ends in AY and a digit keeps that number."""
        named = _NUMBERED.search(text)
        number = int(named[1]) if named else self.number
        self.number = (number + 1) % 10
        body = f"{_NUMBERED.sub('', text)}AY{number}AZ".encode(self.encoding)
        return body + checksum(body) + b"\r"

    def opened(self, reply: bytes) -> str:
        """Return a reply without its terminator. Raise ValueError for a wrong checksum or sequence number."""
        body = reply.strip(b"\r\n")
        seal = _SEALED.search(body)
        if seal is None or body[-4:] != checksum(body[:-4]):
            raise ValueError(f"the checksum of the reply is wrong: {body!r}")
        if seal[2] is not None and int(seal[2]) != (self.number - 1) % 10:
            raise ValueError(f"the reply has another sequence number: {body!r}")
        return body[: seal.start()].decode(self.encoding)


@dataclass(slots=True)
class InMemoryTerminal:
    """One terminal's connection."""

    terminal: sip2.TerminalRow
    session: Session
    seal: Seal
    upstream: UpstreamInterface | None = None


class InMemoryTerminals:
    """All terminals in a world. Each has its own connection, and logs in before its first message."""

    def __init__(self, services: sip2.Sip2Services) -> None:
        self._services = services
        self._connections: dict[str, InMemoryTerminal] = {}

    def ask(self, login: str, text: str) -> str:
        """Return the reply to a message without terminator, or "" if there was no reply."""
        line = self._connections.get(login) or self._open_connection(login)
        reply = self.wire(line, line.seal.sealed(text))
        return line.seal.opened(reply) if reply else ""

    def wire(self, line: InMemoryTerminal, data: bytes) -> bytes:
        """Send bytes and return the bytes of all replies."""
        return b"".join(self._answer_piece(line, piece) for piece in line.session.receive(data))

    def _answer_piece(self, line: InMemoryTerminal, piece: sip2.Sip2Message | sip2.Refuse | SendBytes | Close) -> bytes:
        match piece:
            case SendBytes(data):
                return data
            case Close(why):
                raise ValueError(f"{line.terminal.login} was hung up on: {why}")
        return finished(sip2.respond(self._services, line.session, piece, HERE, line.upstream))

    def _open_connection(self, login: str) -> InMemoryTerminal:
        if login not in self._services.terminals:
            raise ValueError(f"there is no terminal {login!r}")
        terminal = self._services.terminals[login]
        make, opens = terminal.dialect, self._services.upstream
        line = InMemoryTerminal(terminal, Session(make), Seal(make.encoding), opens() if opens else None)
        if not self.wire(line, line.seal.sealed(f"9300CN{login}|CO{login}|")).startswith(b"941"):
            raise ValueError(f"{login} could not log in")
        self._connections[login] = line
        return line

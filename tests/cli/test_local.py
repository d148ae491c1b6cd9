"""Command-line queries to the local system, over a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.cli.local_system import IlsConnection
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.db.database import finished
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.client import NOBODY, Login
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, checksum, decode, seal_body

STANDARD = DIALECTS["standard"]
LOOK = b"1720170301    100000AOHKU|AB1|AC|"
SEEN = b"180301011720170301    100000AB1|AJEmma|"


class System:
    """A single-threaded SIP2 server that answers each message with the next prepared line and the same sequence number."""

    def __init__(self, *says: bytes) -> None:
        self.says, self.heard = list(says), list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        line, _ = self._listener.accept()
        with line, line.makefile("rb") as lines:
            while self.says:
                asked = b""
                while (byte := lines.read(1)) not in (b"", b"\r"):
                    asked += byte
                if not asked:
                    return
                self.heard.append(asked)
                said = self.says.pop(0)
                number = decode(asked, STANDARD).sequence
                line.sendall(
                    seal_body(said, Sip2Message(said[:2].decode(), sequence=number, checked=True), STANDARD) if said else b""
                )

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def systems() -> Iterator[list[System]]:
    made: list[System] = []
    yield made
    for one in made:
        one.close()


def ask(systems: list[System], *says: bytes, login: Login = NOBODY) -> bytes:
    systems.append(System(*says))
    ils = IlsConfig(connector="sip2", host="127.0.0.1", port=systems[0].port, timeout_s=0.5)
    return finished(IlsConnection(ils, STANDARD, login)(LOOK))


def test_command_logs_in_queries_and_disconnects(systems: list[System]) -> None:
    assert ask(systems, b"941", SEEN, login=Login("gateway", Sensitive("s3cret"))) == SEEN
    body = b"9300CNgateway|COs3cret|AY0AZ"
    assert systems[0].heard[0] == body + checksum(body)


def test_refused_login_is_reported_as_no_reply(systems: list[System]) -> None:
    with pytest.raises(Unreachable, match="the login was refused"):
        ask(systems, b"940", login=Login("gateway", Sensitive("x")))


def test_reply_to_another_request_is_skipped(systems: list[System]) -> None:
    with pytest.raises(Unreachable):
        ask(systems, b"941")


def test_silent_server_times_out_as_configured(systems: list[System]) -> None:
    with pytest.raises(Unreachable, match="timed out"):
        ask(systems, b"", b"")


def test_refused_connection_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable):
        finished(IlsConnection(IlsConfig(host="127.0.0.1", port=port, timeout_s=0.5), STANDARD, NOBODY)(LOOK))

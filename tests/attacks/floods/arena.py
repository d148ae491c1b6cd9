"""A daemon under attack, in its own process with every kind of port, and the honest terminal and partner beside the attack."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.questions import post
from demo import demo_setup
from demo.demo_setup import DISCOVERY, PASSWORD
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules.vocabulary import Holding
from hkall_gateway.xml.tree import Fields
from tests import databases
from tests.company import gateway_ports, until
from tests.ports import free_ports
from tests.test_daemon_ncip import identity

COMMAND: Final = Path(sys.executable).parent / "hkall-gateway"
HOST: Final = "127.0.0.1"
HONEST: Final = "127.0.0.9"
"""The address of the honest terminal and the honest partner."""
PATIENCE_S: Final = 20.0
PAUSE_S: Final = 0.004
STATUS: Final = b"9900302.00\r"
LOGIN: Final = f"9300CNcounter-1|CO{PASSWORD}|\r".encode()


def lookup(card: str = "P0001", secret: str = PASSWORD) -> bytes:
    """Return a LookupUser document of the discovery system, as an HTTP request."""
    header: Fields = {
        "FromAgencyId": {"AgencyId": DISCOVERY},
        "FromAgencyAuthentication": secret,
        "ToAgencyId": {"AgencyId": "HKU"},
    }
    asked = NcipMessage(service="LookupUser", fields={"InitiationHeader": header, "UserId": {"UserIdentifierValue": card}})
    return encode(asked, DIALECTS["direct"])


class Arena:
    """The daemon under attack. `plain` and `secure` are its terminal ports; `ncip`, `raw` and `ops` are the others."""

    def __init__(self, folder: Path, titles: Sequence[Holding] = (), web: Mapping[str, object] | None = None) -> None:
        """Start the daemon. With `titles`, the items of a catalogue, it also serves the web pages; `web` are keys of [web]."""
        self._folder = folder
        self.ports = gateway_ports()
        self.plain, self.ncip, self.ops = self.ports.sip2, self.ports.ncip, self.ports.ops
        self.raw, self.secure = free_ports(2)
        identity(folder, "door")
        secure = f"ssl:{self.secure}:interface={HOST}:privateKey=door.pem:certKey=door.pem"
        keys: dict[str, Any] = {
            "sip2": {"listen": [f"tcp:{self.plain}:interface={HOST}", secure]},
            "ncip": {"listen_v1_tcp": [f"tcp:{self.raw}:interface={HOST}"]},
            "web": web or {},
        }
        self.environ = {**os.environ, **demo_setup.environment(self.ports), "HKALL_INSTANCE": "1"}
        self.path = demo_setup.write_config(folder, self.ports, keys=keys, pages=bool(titles))
        databases.fill(self.path, self.environ)
        if titles:
            demo_setup.fill_catalogue(self.path, self.environ, titles)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--config", self.path], stdout=log, stderr=log, env=self.environ
            )
        until(lambda: "daemon.started" in self.log(), "the daemon's start")

    @property
    def _log(self) -> Path:
        return self._folder / "log.jsonl"

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def end(self) -> None:
        """Assert that the daemon still runs, stops when told to, and has logged no bug."""
        assert self._process.poll() is None, self.log()[-3000:]
        self._process.send_signal(signal.SIGTERM)
        try:
            assert self._process.wait(PATIENCE_S) == 0
        finally:
            self._process.kill()
        errors = [line for line in self.log().splitlines() if line.startswith("{") and json.loads(line)["level"] == "error"]
        assert not errors, errors[:3]

    def command(self, *words: str) -> str:
        """Run a command of the command line, and return its output."""
        line: list[str | Path] = [COMMAND, *words, "--config", self.path]
        done = subprocess.run(line, env=self.environ, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
        return str(done.stdout)

    def rss_mib(self) -> float:
        """Return the resident memory of the daemon in MiB."""
        cells = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(cells[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cpu_s(self) -> float:
        """CPU seconds used by the daemon so far."""
        cells = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")

    # ---- honest clients

    def terminal(self) -> Honest:
        """Return a logged-in terminal at another address that requests the status."""
        made = Honest(connected(self.plain, HONEST), STATUS, lambda heard: heard.endswith(b"\r"))
        made.line.sendall(LOGIN)
        assert made.line.recv(100).startswith(b"941")
        return made

    def partner(self) -> Honest:
        """Return the discovery system at another address, which looks up a patron."""
        return Honest(connected(self.ncip, HONEST), post(lookup()), lambda heard: heard.endswith(b"NCIPMessage>"))

    @contextmanager
    def asked_meanwhile(self) -> Iterator[list[float]]:
        """Measure in seconds how long the honest terminal waits for each reply during the block."""
        terminal, waits, over = self.terminal(), list[float](), threading.Event()

        def ask() -> None:
            while not over.is_set():
                waits.append(terminal.asks())
                time.sleep(PAUSE_S)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield waits
        finally:
            over.set()
            asking.join(PATIENCE_S)
            terminal.line.close()


class Honest:
    """A client that repeats one request on one connection."""

    def __init__(self, line: socket.socket, question: bytes, whole: Callable[[bytes], bool]) -> None:
        self.line, self._question, self._whole = line, question, whole

    def asks(self) -> float:
        """Send one request; return the seconds until its reply."""
        began, heard = time.perf_counter(), b""
        self.line.sendall(self._question)
        while not self._whole(heard):
            piece = self.line.recv(65_536)
            assert piece, "an honest connection was closed"
            heard += piece
        return time.perf_counter() - began


def connected(port: int, source: str = HOST, receive_buffer: int = 0) -> socket.socket:
    """Connect from an address of this machine."""
    line = socket.socket()
    line.settimeout(PATIENCE_S)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    line.bind((source, 0))
    try:
        line.connect((HOST, port))
    except OSError:
        line.close()
        raise
    return line


def is_open(line: socket.socket) -> bool:
    """Return whether the peer has kept this connection open, after discarding received data."""
    line.settimeout(0.05)
    try:
        while line.recv(65_536):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def said(line: socket.socket, data: bytes) -> bytes:
    """Return everything received until the peer closes the connection or is silent."""
    heard = b""
    try:
        line.sendall(data)
        while piece := line.recv(65_536):
            heard += piece
    except OSError:
        pass
    return heard


def closing(document: bytes, kind: bytes = b"application/xml") -> bytes:
    """Return a document as an HTTP request with `Connection: close`."""
    head = b"POST /ncip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: " + kind
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(document) + document

"""A gateway in its own process, and the clients that a dishonest terminal, partner or stranger would use."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from tests import databases
from tests.attacks.certificates import Authority
from tests.ports import free_ports

COMMAND = Path(sys.executable).parent / "hkall-gateway"
PATIENCE_S = 30
BALANCER = "127.0.0.9"
_SOURCES = count(20)


def source() -> str:
    """Return an address of this machine that no other test uses, so that per-address counters start at zero."""
    number = next(_SOURCES)
    return f"127.0.{number // 250 + 1}.{number % 250 + 1}"


WRONG_PIN = f"64{'':14}00120261127    120000{'0' * 24}AOHKU|AAP0001|AEChan|BLY|CQN|\r".encode()
ANSWERS = {
    b"93": b"941\r",
    b"99": b"98YYYYYN60000520261127    1200002.00AOHKU|BXYYYYYYYYYYYYYYYY|\r",
    b"11": b"120NNN20261127    120000AOHKU|AA|AB|AJ|AH|\r",
    b"17": b"1803000120261127    120000AB1|AJDune|\r",
    b"63": WRONG_PIN,
}
PROBE = b"9900802.00"
"""The gateway's own probe message to the local system."""


class LocalSystem:
    """A fake local system: records every message, accepts every login, knows every item, rejects every PIN.

    It uses no sequence numbers or checksums, so that a client without a login requests one repetition of its reply (97).
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                if self._server.fileno() == -1:
                    return
                time.sleep(0.1)  # this process is temporarily out of file descriptors
                continue
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line, line.makefile("rb") as heard:
            reply = b""
            while data := _until_cr(heard):
                self.lines.append(data)
                reply = reply if data[:2] == b"97" else ANSWERS.get(data[:2], b"")
                line.sendall(reply)

    def close(self) -> None:
        self._server.close()


def _until_cr(heard: Any) -> bytes:
    data = b""
    while (one := heard.read(1)) not in (b"", b"\r"):
        data += one
    return data


@dataclass
class Site:
    """A running gateway and its ports."""

    folder: Path
    config: Path
    sip2: int
    ncip: int
    ops: int
    sip2_tls: int
    ncip_tls: int
    ils: LocalSystem
    authority: Authority
    process: subprocess.Popen[bytes] | None = None
    _callers: list[socket.socket] = field(default_factory=list)

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event, once they are written."""
        lines = (json.loads(line) for line in self.log.splitlines())
        return [line for line in lines if line["event"] == name]

    def terminal(self, login: str = "", at: str = "", password: str = demo_setup.PASSWORD) -> Terminal:
        """Connect from `at`; log in if a login is given."""
        line = socket.create_connection(("127.0.0.1", self.sip2), PATIENCE_S, (at or source(), 0))
        self._callers.append(line)
        made = Terminal(line)
        if login:
            assert made.ask(f"9300CN{login}|CO{password}|") == "941"
        return made

    def ask(
        self, agency: str, service: str, at: str = "", secret: str = demo_setup.PASSWORD, to: str = "HKU", **said: Any
    ) -> NcipMessage:
        """Return the reply to a document."""
        header: dict[str, Any] = {"FromAgencyId": {"AgencyId": agency}, "ToAgencyId": {"AgencyId": to}}
        header["FromAgencyAuthentication"] = secret
        return decode(
            self.post(encode(NcipMessage(service=service, fields={"InitiationHeader": header, **said}), DIALECTS["direct"]), at)
        )

    def post(self, body: bytes, at: str = "") -> bytes:
        with closing(HTTPConnection("127.0.0.1", self.ncip, PATIENCE_S, (at or source(), 0))) as line:
            line.request("POST", "/ncip", body, {"Content-Type": "application/xml"})
            return line.getresponse().read()

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/metrics", timeout=PATIENCE_S) as page:
            found = re.search(re.escape(name) + r" (\S+)", page.read().decode())
        return float(found[1]) if found else 0

    def rows(self, question: str) -> list[Any]:
        """Return the rows of a query on the gateway's database."""
        with closing(sqlite3.connect(f"file:{self.folder / 'hkall.db'}?mode=ro", uri=True)) as database:
            return database.execute(question).fetchall()

    def hang_up(self) -> None:
        for line in self._callers:
            line.close()
        self._callers.clear()


class Terminal:
    """The client end of a SIP2 connection."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._rest = line, b""

    def ask(self, said: str | bytes) -> str:
        self._line.sendall((said.encode() if isinstance(said, str) else said) + b"\r")
        while b"\r" not in self._rest:
            data = self._line.recv(65_536)
            if not data:
                raise ConnectionError("hung up")
            self._rest += data
        reply, _, self._rest = self._rest.partition(b"\r")
        return reply.decode()


EXTRA = """
[[sip2.listeners]]
endpoint = "ssl:{sip2_tls}:interface=127.0.0.1:privateKey=site.key:certKey=site.pem"
proxy_from = ["{balancer}/32"]

[[partners]]
agency = "RESHARE"
name = "A broker"
url = "http://127.0.0.1:9/ncip"
dialect = "broker"
secret_env = "HKALL_SECRET_CUHK"
"""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("attacked")
    authority = Authority(folder)
    authority.issue("site")
    sip2, ncip, ops, smtp, sip2_tls, ncip_tls = free_ports(6)
    ports, ils = demo_setup.Ports(sip2, ncip, ops, smtp), LocalSystem()
    tls = f"ssl:{ncip_tls}:interface=127.0.0.1:privateKey=site.key:certKey=site.pem"
    keys: dict[str, dict[str, object]] = {
        "ncip": {"listen": [f"tcp:{ncip}:interface=127.0.0.1", tls], "proxy_from": [f"{BALANCER}/32"]},
        "ils": {"relay": True, "host": "127.0.0.1", "port": ils.port, "timeout_s": 3, "relay_login": "terminal"},
    }
    config = demo_setup.write_config(folder, ports, keys=keys)
    logs = '\n[logs]\nfile = "gateway.log"\n'
    config.write_text(config.read_text() + EXTRA.format(sip2_tls=sip2_tls, balancer=BALANCER) + logs)
    environ = {**os.environ, **demo_setup.environment(ports)}
    databases.fill(config, environ)
    site = Site(folder, config, sip2, ncip, ops, sip2_tls, ncip_tls, ils, authority)
    with (folder / "out").open("wb") as out:
        site.process = subprocess.Popen(
            [COMMAND, "serve", "--config", config], stdout=out, stderr=out, env=environ, umask=0o022
        )
    try:
        until(lambda: (folder / "gateway.log").exists() and "daemon.started" in site.log, (folder / "out").read_text)
        yield site
    finally:
        site.process.terminate()
        site.process.wait(PATIENCE_S)
        ils.close()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.hang_up()


def until(happened: Callable[[], Any], told: Callable[[], str] = lambda: "") -> Any:
    """Wait until the function returns a true value, and return that value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError(told() or "it did not happen")

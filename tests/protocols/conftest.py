"""A partner that speaks the protocol of another distribution, and a gateway with it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from demo import demo_setup
from hkall_gateway import protocols
from hkall_gateway.config import gateway as config
from tests.company import COMMAND, PATIENCE_S, Gateway, stamp, until
from tests.ils.test_installed_adapter import install
from tests.ports import free_ports

SOURCE = Path(__file__).parent.parent / "slip_protocol" / "library_slips.py"
NAME = "pigeon"
OURS, OUR_BIB = "X0000003", "b0003"


@dataclass
class Peer:
    """A partner that takes slips, and confirms their receipt.

    Attributes:
        refused: Why it refuses a slip, in its reply with status 409.
    """

    port: int
    heard: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    refused: str = ""

    def says(self) -> list[str]:
        return list(dict.fromkeys(slip["say"] for slip in self.heard))


class Page(BaseHTTPRequestHandler):
    def __init__(self, peer: Peer, *more: Any) -> None:
        self._peer = peer
        super().__init__(*more)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        if self._peer.status == 200:
            self._peer.heard.append(json.loads(body))
        self.send_response(self._peer.status)
        self.end_headers()
        self.wfile.write(json.dumps({"received": True, "refused": self._peer.refused}).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, made))
    made.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, visible to this process and its children."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, NAME, "library_slips", SOURCE.read_text(encoding="utf-8"), "hkall_gateway.protocols", "PROTOCOL")
    install(folder, "broken", "library_broken", "import not_there\n", "hkall_gateway.protocols", "PROTOCOL")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(protocols, "_in_use", dict(protocols.PACKAGED))
    return folder


def speak_slips(path: Path, url: str, listen: int, more: str = "") -> None:
    """Change the configuration so that CUHK speaks slips."""
    text = path.read_text(encoding="utf-8")
    before, row = text.split('[[partners]]\nagency = "CUHK"\n')
    lines, rest = row.split("priority = 10\n", 1)
    kept = "".join(line + "\n" for line in lines.splitlines() if not line.startswith("url = "))
    own = f'priority = 10\n{more}[partners.pigeon]\nurl = "{url}"\n'
    table = f'[pigeon]\nlisten = ["tcp:{listen}:interface=127.0.0.1"]\nmotto = "Slips, please."\n'
    path.write_text(f'{before}{table}[[partners]]\nagency = "CUHK"\n{kept}{own}{rest}', encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, installed: Path) -> Path:
    return demo_setup.write_config(tmp_path, demo_setup.Ports())


def read(path: Path) -> config.GatewayConfig:
    return config.load(path, demo_setup.environment(demo_setup.Ports()))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [COMMAND, *words],
        env={**os.environ, **demo_setup.environment(demo_setup.Ports())},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_doctor(path: Path, *words: str) -> list[dict[str, Any]]:
    """Run the doctor command, and return its findings."""
    done = run("doctor", *words, "--json", "--config", str(path))
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@dataclass
class Scene:
    """A gateway with a partner that speaks slips."""

    gateway: Gateway
    peer: Peer
    port: int

    def post(self, say: str, request: list[str], **facts: object) -> int:
        """Post a slip to the gateway, and return the status of the reply."""
        slip = {"from": "CUHK", "secret": demo_setup.PASSWORD, "say": say, "request": request, **facts}
        url = f"http://127.0.0.1:{self.port}/{NAME}"
        asked = Request(url, json.dumps(slip).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(asked, timeout=PATIENCE_S) as reply:
                return int(reply.status)
        except HTTPError as refused:
            return refused.code

    def scan(self, line: str) -> str:
        terminal = self.gateway.counter()
        told = self.gateway.ask(terminal, line)
        self.gateway.hang_up(terminal)
        return told

    def hears(self, say: str) -> None:
        until(lambda: say in self.peer.says(), f"the slip {say}")


@pytest.fixture
def scene(reactor: Any, tmp_path: Path, installed: Path, peer: Peer) -> Iterator[Scene]:
    gateway = Gateway(reactor, tmp_path, demo_setup.decided_policy())
    (port,) = free_ports(1)
    speak_slips(gateway.path, f"http://127.0.0.1:{peer.port}/", port)
    gateway.start()
    yield Scene(gateway, peer, port)
    gateway.end()


def check_in(barcode: str) -> str:
    return f"09N{stamp()}{stamp()}APHKU-MAIN-LENDING|AOHKU|AB{barcode}|AC|"


def check_out(card: str, barcode: str) -> str:
    return f"11NN{stamp()}{' ' * 18}AOHKU|AA{card}|AB{barcode}|AC|"

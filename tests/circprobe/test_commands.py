"""The commands that listen, record and replay, as a person uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from circprobe.cli import main
from circprobe.scripted import library, sip2_server
from circprobe.scripted.ncip_initiator import Initiator
from circprobe.scripted.sip2_server import ScriptedServer
from circprobe.scripted.sip2_terminal import Terminal
from circprobe.sip2 import codec
from click.testing import CliRunner

from tests.company import until
from tests.ports import free_ports

SECRETS = (library.PIN, library.PASSWORD, library.PATRON, library.NAME, "AB30001", "水滸傳")
ENVIRONMENT = {"PIN": library.PIN, "PATH": "/usr/bin"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = sip2_server.start(library.make_library())
    yield server
    server.shutdown()
    server.server_close()


def run_beside(words: list[str], peer: Terminal | Initiator) -> int:
    """Run a command that listens, and the peer that calls it."""
    command = [sys.executable, "-m", "circprobe", *words]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    until(lambda: is_open(peer.port), "the command listens")
    peer.run()
    return process.wait(30)


def is_open(port: int) -> bool:
    listening = Path("/proc/net/tcp").read_text("ascii")
    return f":{port:04X} 00000000:0000 0A" in listening


def test_terminal_that_connects_is_judged(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    path = tmp_path / "out.json"
    words = ["sip2", "terminal", "--listen", f"127.0.0.1:{port}", "--pin-env", "PIN"]

    code = run_beside([*words, "--seconds", "4", "--json", str(path)], Terminal(port))

    report = json.loads(path.read_text("utf-8"))
    assert code == 0
    assert report["summary"]["passed"] >= 60
    assert [s for s in SECRETS if s in path.read_text("utf-8")] == []


def test_initiator_that_calls_is_judged(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    path = tmp_path / "out.json"
    words = ["ncip", "initiator", "--listen", f"127.0.0.1:{port}", "--pin-env", "PIN"]

    code = run_beside([*words, "--seconds", "4", "--json", str(path)], Initiator(port))

    report = json.loads(path.read_text("utf-8"))
    assert code == 0
    assert report["summary"]["passed"] >= 45
    assert [s for s in (library.PIN, library.PATRON) if f">{s}<" in path.read_text("utf-8")] == []


@pytest.fixture
def recorded(server: ScriptedServer, tmp_path: Path) -> Path:
    port = free_ports(1)[0]
    path = tmp_path / "session.txt"
    words = ["record", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{server.port}"]
    run_beside([*words, "--output", str(path), "--seconds", "3"], Terminal(port))
    return path


def test_recording_has_every_message_and_no_personal_value(recorded: Path) -> None:
    lines = recorded.read_text("utf-8").splitlines()

    messages = [codec.read(line[2:].encode()) for line in lines]
    assert len(lines) >= 40
    assert {m.code for m in messages} >= {"93", "94", "63", "64", "11", "12", "09", "10", "38"}
    assert [m.text for m in messages if not m.has_right_checksum] == []
    assert [line for line in lines for secret in SECRETS if secret in line] == []


def test_recording_is_replayed_with_the_values_of_another_library(recorded: Path, server: ScriptedServer) -> None:
    values = {"PATRON1": library.PATRON, "LOGIN1": library.LOGIN, "ITEM3": "30001"}
    values["ITEM4"] = "30002"
    pairs = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    secrets = ["--set-env", "PIN1=PIN", "--set-env", "SECRET1=PASSWORD"]
    words = ["replay", str(recorded), f"127.0.0.1:{server.port}", *pairs, *secrets]
    runner = CliRunner(env={"PIN": library.PIN, "PASSWORD": library.PASSWORD})

    refused = runner.invoke(main, words)
    allowed = runner.invoke(main, [*words, "--transactions"])

    assert refused.exit_code == 1
    assert "needs --transactions" in refused.output
    assert allowed.exit_code == 0, allowed.output
    assert "< 121" in allowed.output
    assert [secret for secret in SECRETS if secret in allowed.output] == []

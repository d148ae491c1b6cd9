"""A gateway that cannot begin says why and ends, whichever of its doors or helpers it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hkall_gateway.lab import setup
from tests.company import COMMAND, gateway_ports

PATIENCE_S = 30
BESIDE = """
import sys
from pathlib import Path
from hkall_gateway.process import serve

class Company:
    async def start(self):
        raise OSError("its port is taken")

sys.exit(serve(Path(sys.argv[1]), lambda _reactor: Company()))
"""


@pytest.mark.parametrize("door", ["sip2", "ncip", "ops"])
def test_a_door_whose_port_is_taken(tmp_path: Path, door: str) -> None:
    ports = gateway_ports()
    environ = {**os.environ, **setup.environment(ports)}
    path = setup.write_config(tmp_path, ports)
    setup.furnish(path, environ)
    with socket.create_server(("127.0.0.1", getattr(ports, door))):
        ended = subprocess.run(
            [COMMAND, "serve", "--config", path], env=environ, capture_output=True, timeout=PATIENCE_S, check=False
        )
    assert (ended.returncode, ended.stdout.count(b"daemon.not_started")) == (1, 1), ended.stdout


def test_what_runs_beside_it_cannot_begin(tmp_path: Path) -> None:
    ports = gateway_ports()
    environ = {**os.environ, **setup.environment(ports)}
    path = setup.write_config(tmp_path, ports)
    setup.furnish(path, environ)
    ended = subprocess.run(
        [sys.executable, "-c", BESIDE, path], env=environ, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (ended.returncode, ended.stdout.count(b"daemon.not_started")) == (1, 1), ended.stdout

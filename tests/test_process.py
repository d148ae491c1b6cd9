"""A gateway that cannot begin says why and ends, whichever of its doors or helpers it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hkall_gateway.lab import demo_setup
from tests import databases
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


class Site:
    """A configured gateway that nobody has started."""

    def __init__(self, folder: Path) -> None:
        self.ports = gateway_ports()
        self._environ = {**os.environ, **demo_setup.environment(self.ports)}
        self.path = demo_setup.write_config(folder, self.ports)
        databases.fill(self.path, self._environ)

    def ends(self, *command: str | Path) -> tuple[int, bytes]:
        """The exit code and the log of a command that is expected to end by itself."""
        ended = subprocess.run(command, env=self._environ, capture_output=True, timeout=PATIENCE_S, check=False)
        return ended.returncode, ended.stdout


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("services", ["sip2", "ncip", "ops"])
def test_a_door_whose_port_is_taken(site: Site, services: str) -> None:
    with socket.create_server(("127.0.0.1", getattr(site.ports, services))):
        code, log = site.ends(COMMAND, "serve", "--config", site.path)
    assert (code, log.count(b"daemon.not_started")) == (1, 1), log


def test_what_runs_beside_it_cannot_begin(site: Site) -> None:
    code, log = site.ends(sys.executable, "-c", BESIDE, site.path)
    assert (code, log.count(b"daemon.not_started")) == (1, 1), log

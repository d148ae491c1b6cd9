"""The daemon and its pages process do not import the simulator, which does not belong in production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from demo import demo_setup
from tests import databases
from tests.ports import free_ports

COMMAND = Path(sys.executable).with_name("hkall-gateway")
SPY = """
import atexit, os, sys
atexit.register(lambda: open(os.environ["MODULES"] + str(os.getpid()), "w").write("\\n".join(sys.modules)))
"""
ENDS_S = 60.0


def test_serve_does_not_import_the_simulator(tmp_path: Path) -> None:
    sip2, ncip, ops, smtp, web = free_ports(5)
    ports = demo_setup.Ports(sip2, ncip, ops, smtp, {}, web)
    config = demo_setup.write_config(tmp_path / "site", ports, pages=True)
    databases.fill(config, demo_setup.environment(ports))
    (tmp_path / "sitecustomize.py").write_text(SPY)
    environ = {
        **os.environ,
        **demo_setup.environment(ports),
        "PYTHONPATH": str(tmp_path),
        "MODULES": str(tmp_path / "modules."),
    }
    command = [str(COMMAND), "serve", "--config", str(config)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as gateway:
        assert gateway.stdout is not None
        started = []
        for line in gateway.stdout:
            started += ["daemon.started"] if "daemon.started" in line else []
            if len(started) == 2:  # both the gateway and the pages process have started
                gateway.send_signal(signal.SIGTERM)
                break
        gateway.stdout.read()
        assert gateway.wait(ENDS_S) == 0
    loaded = [set(file.read_text().splitlines()) for file in tmp_path.glob("modules.*")]
    assert sorted("hkall_gateway.web.app" in modules for modules in loaded) == [False, True]
    assert all("hkall_gateway.sip2.server" in modules or "hkall_gateway.web.app" in modules for modules in loaded)
    assert [name for modules in loaded for name in modules if name.startswith("hkall_gateway.simulator")] == []

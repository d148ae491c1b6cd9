"""A gateway without [web] imports none of the pages' libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hkall_gateway.simulator import demo_setup

PORTS = demo_setup.Ports()
EXTRA = {"flask", "flask_wtf", "werkzeug", "babel", "wtforms", "authlib", "flask_openapi3", "barcode", "pygal"}
DAEMON = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from hkall_gateway.config import load
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.app.process import serve
Daemon(load(Path(sys.argv[1]), os.environ), reactor)
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("pages", [False, True])
def test_the_daemon_imports_them_where_they_are_configured(tmp_path: Path, pages: bool) -> None:
    path = demo_setup.write_config(tmp_path, PORTS, pages=pages)
    demo_setup.fill_database(path, demo_setup.environment(PORTS))
    environ = {**os.environ, **demo_setup.environment(PORTS)}
    done = subprocess.run([sys.executable, "-c", DAEMON, path], env=environ, capture_output=True, text=True, check=True)
    loaded = EXTRA & set(done.stdout.split())
    assert loaded >= {"flask", "flask_wtf", "babel"} if pages else loaded == set()

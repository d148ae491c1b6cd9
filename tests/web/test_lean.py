"""Only the pages' process imports their libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import demo_setup

PORTS = demo_setup.Ports()
EXTRA = {"flask", "flask_wtf", "werkzeug", "babel", "wtforms", "authlib", "flask_openapi3", "barcode", "pygal"}
DAEMON = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from hkall_gateway.config import load
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.app.process import serve
from hkall_gateway.app.resources import Serving
Daemon(load(Path(sys.argv[1]), os.environ), reactor, serving=Serving(sys.argv[2]))
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.long
@pytest.mark.parametrize("serving", ["all", "web alone"])
def test_web_libraries_are_imported_only_when_pages_are_served(tmp_path: Path, serving: str) -> None:
    path = demo_setup.write_config(tmp_path, PORTS, pages=True)
    demo_setup.fill_database(path, demo_setup.environment(PORTS))
    environ = {**os.environ, **demo_setup.environment(PORTS)}
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, path, serving], env=environ, capture_output=True, text=True, check=True
    )
    loaded = EXTRA & set(done.stdout.split())
    assert loaded >= {"flask", "flask_wtf", "babel"} if serving == "web alone" else loaded == set()

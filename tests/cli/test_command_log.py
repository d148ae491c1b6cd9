"""Log lines of a command: on standard error, without names or variables; standard output has only the command's output."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from demo import demo_setup
from tests import databases
from tests.leaks import leaks

PORTS = demo_setup.Ports()
NAME, EMAIL, PIN, CARD = "Chan Tai Man", "tm.chan@lib.example", "4711", "20001234"
COMMAND = ("notices", "--json")

FAULT = f"""
import sys
{{early}}
from hkall_gateway.cli import main, opening
opened = opening.open_site
def failing(config):
    import structlog
    log = structlog.get_logger()
    log.info("demo.read", copies=3)
    def send(name, pin):
        raise RuntimeError("refused by {EMAIL}")
    try:
        send("{NAME}", "{PIN}")
    except RuntimeError:
        log.exception("demo.failed", patron="{CARD}", user_name="{NAME}", copies=3)
    log.warning("demo.waits", copies=4)
    return opened(config)
opening.open_site = failing
main()
"""
"""The command with a bug in a function whose variables contain a name and a PIN."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def ended(site: Path, early: str = "", stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    # Python 3.13 shows the source of a `-c` program in tracebacks, and this source contains the name.
    words = [sys.executable, "-c", "import os; exec(os.environ['FAULT'])", *COMMAND, "--config", str(site)]
    environ = {**demo_setup.environment(PORTS), "FAULT": FAULT.format(early=early)}
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, env=environ, check=True)


def shows_no_patron(said: str) -> bool:
    return not leaks(said) and not any(secret in said for secret in (NAME, EMAIL, PIN, CARD))


@pytest.mark.parametrize("early", ["", "import structlog"], ids=["imported by the command", "imported before it"])
def test_exception_is_one_line_on_standard_error_without_personal_names(site: Path, early: str) -> None:
    done = ended(site, early)

    assert json.loads(done.stdout) == []
    failed, waits = (json.loads(line) for line in done.stderr.splitlines())
    assert (failed["event"], failed["level"], failed["copies"]) == ("demo.failed", "error", 3)
    assert "RuntimeError: refused by" in failed["exception"]
    assert "in send" in failed["exception"]
    assert len(failed["patron_ref"]) == 12
    assert (waits["event"], waits["level"], waits["copies"]) == ("demo.waits", "warning", 4)
    assert shows_no_patron(done.stderr.decode())


def test_exception_on_a_terminal_is_formatted_for_reading(site: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = ended(site, stderr=theirs)
    finally:
        os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        said = terminal.read(65_536).decode()

    assert json.loads(done.stdout) == []
    failed, waits = said.splitlines()
    assert "demo.failed" in failed
    assert "RuntimeError: refused by" in failed
    assert "demo.waits" in waits
    assert shows_no_patron(said)

"""A gateway that cannot start reports the reason and exits, whichever listener or helper process failed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests import databases
from tests.company import COMMAND, gateway_ports, until

pytestmark = pytest.mark.long

PATIENCE_S = 90
BESIDE = """
import sys
from pathlib import Path
from hkall_gateway.app.process import serve

class Company:
    async def start(self):
        raise OSError("its port is taken")

sys.exit(serve(Path(sys.argv[1]), lambda _reactor: Company()))
"""

UNCHECKED = """
import sys
from pathlib import Path
from hkall_gateway.app.process import serve

sys.exit(serve(Path(sys.argv[1]), log_format=(sys.argv[2:] or [None])[0]))
"""
"""A gateway whose start checks passed before its port was taken."""

EARLY = """
import os, signal, sys
from pathlib import Path
from hkall_gateway.app.process import serve

class Company:
    async def start(self):
        os.kill(os.getpid(), signal.SIGHUP)

sys.exit(serve(Path(sys.argv[1]), lambda _reactor: Company(), started=lambda: os.kill(os.getpid(), signal.SIGTERM)))
"""
"""Gets the reload signal before it can handle it, and the stop signal once it is ready."""

LEAVING = """
import os, sys
from pathlib import Path
from hkall_gateway.app.process import serve

class Company:
    async def start(self):
        for number in sys.argv[2:]:
            os.kill(os.getpid(), int(number))

sys.exit(serve(Path(sys.argv[1]), lambda _reactor: Company()))
"""
"""Gets the stop signals before it can handle them."""
TO_END = (signal.SIGTERM, signal.SIGINT)


class Site:
    """A gateway with its configuration and database, not started yet."""

    def __init__(self, folder: Path) -> None:
        self.ports = gateway_ports()
        self.environ = {**os.environ, **demo_setup.environment(self.ports)}
        self.path = demo_setup.write_config(folder, self.ports)
        databases.fill(self.path, self.environ)

    def ends(self, *command: str | Path) -> tuple[int, bytes]:
        """Return the exit code and log of a command that is expected to end by itself."""
        ended = subprocess.run(command, env=self.environ, capture_output=True, timeout=PATIENCE_S, check=False)
        return ended.returncode, ended.stdout

    def listen(self, section: str, *endpoints: str) -> None:
        """Replace the endpoints of a configuration table."""
        listen, text = json.dumps(endpoints), self.path.read_text(encoding="utf-8")
        self.path.write_text(re.sub(rf"(\[{section}\]\nlisten = ).*", rf"\1{listen}", text), encoding="utf-8")


def not_started(log: bytes) -> dict[str, Any]:
    """Return the one line with the reason for the failed start."""
    (line,) = (json.loads(line) for line in log.splitlines() if b"daemon.not_started" in line)
    return dict(line)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("services", ["sip2", "ncip", "ops"])
def test_port_in_use_aborts_the_start(site: Site, services: str) -> None:
    with socket.create_server(("127.0.0.1", getattr(site.ports, services))):
        code, log = site.ends(sys.executable, "-c", UNCHECKED, site.path)
    line = not_started(log)
    assert (code, "exception" in line) == (1, False), log
    assert f"tcp:{getattr(site.ports, services)}" in line["why"]
    assert "already in use: choose another port" in line["why"]


def test_failed_start_does_not_count_as_an_outage(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.ports.ops)):
        site.ends(sys.executable, "-c", UNCHECKED, site.path)
    _, shown = site.ends(COMMAND, "status", "--json", "--config", site.path)
    assert b'"gone"' not in shown


@pytest.mark.parametrize("files", ["missing", "empty"])
def test_unusable_certificate_is_reported_in_one_line_even_without_start_checks(site: Site, files: str) -> None:
    key = site.path.with_name("key.pem")
    if files == "empty":
        key.touch()
    site.listen("sip2", f"ssl:{site.ports.sip2}:privateKey={key}:certKey={key}")
    code, log = site.ends(sys.executable, "-c", UNCHECKED, site.path)
    line = not_started(log)
    assert (code, "exception" in line, "check-config" in line["why"]) == (1, False, True)


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_port_in_use_is_reported_in_one_line(site: Site, command: str) -> None:
    with socket.create_server(("127.0.0.1", site.ports.ncip)):
        said = subprocess.run(
            (COMMAND, command, "--config", site.path), env=site.environ, capture_output=True, text=True, check=False
        )
    told = f"{site.path}: ncip.listen[0]: tcp:{site.ports.ncip}: Address already in use: choose another port or address"
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"{told}, or end the program that has it\n"


def test_failing_companion_process_aborts_the_start(site: Site) -> None:
    code, log = site.ends(sys.executable, "-c", BESIDE, site.path)
    assert (code, log.count(b"daemon.not_started")) == (1, 1), log


@pytest.mark.parametrize("socket_", ["name=ops", "index=0"])
def test_socket_not_passed_by_systemd_is_reported_in_one_line(site: Site, socket_: str) -> None:
    site.listen("ops", f"systemd:domain=INET:{socket_}")
    code, log = site.ends(COMMAND, "serve", "--config", site.path)
    line = not_started(log)
    assert (code, "exception" in line) == (2, False), log
    assert f"systemd:domain=INET:{socket_}: systemd has passed no such socket" in line["why"]
    assert ".socket unit" in line["why"]


def test_reload_requested_during_the_start_runs_afterwards(site: Site) -> None:
    code, log = site.ends(sys.executable, "-c", EARLY, site.path)
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert code == 0, log
    assert events.index("daemon.started") < events.index("config.changed")


@pytest.mark.parametrize("number", TO_END)
def test_stop_signal_during_the_start_takes_effect_afterwards(site: Site, number: signal.Signals) -> None:
    code, log = site.ends(sys.executable, "-c", LEAVING, site.path, str(int(number)))
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert code == 0, log
    assert events.index("daemon.started") < events.index("daemon.stopped") == len(events) - 1
    _, shown = site.ends(COMMAND, "status", "--json", "--config", site.path)
    assert b'"gone"' not in shown


@pytest.mark.parametrize("number", TO_END)
def test_second_stop_signal_aborts_a_hanging_start(site: Site, number: signal.Signals) -> None:
    assert site.ends(sys.executable, "-c", LEAVING, site.path, *[str(int(number))] * 2)[0] == -number


def test_reload_before_the_configuration_is_read_is_ignored(tmp_path: Path) -> None:
    code, said = reading_its_configuration(tmp_path, signal.SIGHUP, b"nonsense = 1\n")
    assert (code, b"nonsense" in said) == (2, True)


@pytest.mark.parametrize("number", TO_END)
def test_stop_signal_before_the_configuration_is_read_exits_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    assert reading_its_configuration(tmp_path, number) == (0, f"{number.name} before the start: nothing was begun\n".encode())


def reading_its_configuration(folder: Path, number: signal.Signals, then: bytes = b"") -> tuple[int, bytes]:
    """Return the exit code and standard error of a gateway that gets a signal while it reads its configuration, `then`."""
    pipe = folder / "gateway.toml"
    os.mkfifo(pipe)
    with subprocess.Popen((COMMAND, "serve", "--config", pipe), stderr=subprocess.PIPE) as process:
        written = until(lambda: _reader_of(pipe), "the reading of the configuration")
        process.send_signal(number)
        with suppress(BrokenPipeError):  # the process has ended
            os.write(written, then)
        os.close(written)
        _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def _reader_of(pipe: Path) -> int:
    """Return a descriptor for writing, once another process reads; until then 0."""
    with suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return 0


def written_by(site: Site, *options: str) -> bytes:
    """Return the output on its own terminal of a gateway that cannot start."""
    ours, its = pty.openpty()
    with socket.create_server(("127.0.0.1", site.ports.sip2)):
        subprocess.run(
            (sys.executable, "-c", UNCHECKED, site.path, *options),
            env=site.environ,
            stdout=its,
            timeout=PATIENCE_S,
            check=False,
        )
    os.close(its)
    seen = b""
    with suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # reading raises an error when the terminal is closed
        while data := terminal.read(65536):
            seen += data
    return seen


def test_log_on_a_terminal_is_text_unless_json_is_requested(site: Site) -> None:
    assert re.search(rb"\[.*error.*\].*daemon.not_started.*already in use", written_by(site))
    assert b'"event":"daemon.not_started"' in written_by(site, "json")


def test_log_in_a_pipe_is_json_unless_text_is_requested(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.ports.sip2)):
        _, log = site.ends(sys.executable, "-c", UNCHECKED, site.path)
        _, drawn = site.ends(sys.executable, "-c", UNCHECKED, site.path, "console")
    assert b'"event":"daemon.not_started"' in log
    assert re.search(rb"\[error    \] daemon.not_started", drawn)
    assert b"\x1b" not in drawn


@pytest.mark.parametrize("number", TO_END)
def test_unread_log_pipe_does_not_prevent_the_stop(site: Site, number: signal.Signals) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen(
        (COMMAND, "serve", "--config", site.path), env=site.environ, stdout=writing, stderr=writing
    ) as process:
        os.close(writing)
        try:
            until(lambda: _is_open(site.ports.sip2), "the port")
            assert all(_is_open(site.ports.sip2) for _ in range(100))  # write more log lines than the pipe holds
            process.send_signal(number)
            assert process.wait(PATIENCE_S / 2) == 0
        finally:
            process.kill()
            os.close(reading)


def _is_open(port: int) -> bool:
    """Return whether the port accepts a connection; each leaves a line in the log."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False

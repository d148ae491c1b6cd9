"""The gateway as a service: systemd's tools verify the units, and a real daemon works within them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests import databases
from tests.company import COMMAND, PATIENCE_S, Gateway, gateway_ports, until
from tests.ports import free_ports
from tests.programs import program

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "packaging" / "systemd"
UNIT, TEMPLATE = UNITS / "hkall-gateway.service", UNITS / "hkall-gateway@.service"
ROTATION = ROOT / "packaging" / "logrotate" / "hkall-gateway"
NIGHTLY = ("hkall-gateway-backup.service", "hkall-gateway-doctor.service", "hkall-gateway-load@patrons.service")
MOST_EXPOSED = 1.3


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def analyze() -> str:
    return program("systemd-analyze", "systemd")


# ---- the units


@pytest.mark.long
def test_systemd_analyze_verifies_the_units(tmp_path: Path) -> None:
    found = shutil.copytree(UNITS, tmp_path / "units")
    for unit in found.glob("*.service"):  # the program may not be installed at the unit's path
        unit.write_text(unit.read_text().replace("=hkall-gateway ", f"={COMMAND} "))
    names = (UNIT.name, "hkall-gateway@1.service", *NIGHTLY, *(name.replace(".service", ".timer") for name in NIGHTLY))
    done = run(analyze(), "verify", "--man=no", *(found / name for name in names))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nightly_unit_has_the_gateways_permissions_and_is_off_by_default() -> None:
    def rights(unit: Path) -> list[str]:
        text = unit.read_text(encoding="utf-8")
        lines = text[text.index("# Its folders") :].partition("[Install]")[0].splitlines()
        return [line for line in lines if line and line[0] != "#" and not line.startswith("RuntimeDirectory")]

    assert rights(UNITS / "hkall-gateway-.service.d" / "50-night.conf") == rights(UNIT)
    for timer in UNITS.glob("*.timer"):
        assert "WantedBy=timers.target" in timer.read_text(encoding="utf-8")
        assert "[Install]" not in timer.with_suffix(".service").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_systemd_analyze_rates_the_exposure_as_low(unit: Path) -> None:
    done = run(analyze(), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", unit)
    assert done.returncode == 0, done.stdout
    (level,) = re.findall(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert float(level) <= MOST_EXPOSED


def test_template_unit_adds_only_the_gateway_number() -> None:
    def kept(line: str) -> bool:
        return not line.startswith(("#", "Environment=HKALL_INSTANCE=", "RuntimeDirectory=")) and "%i" not in line

    one, several = UNIT.read_text().splitlines(), TEMPLATE.read_text().splitlines()
    assert "Environment=HKALL_INSTANCE=%i" in several
    assert list(filter(kept, several)) == [line for line in filter(kept, one) if not line.startswith("Description=")]


def keys(name: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


def system_calls(group: str) -> set[str]:
    """Return the names of a group of system calls, including nested groups."""
    found: set[str] = set()
    for line in run(analyze(), "syscall-filter", group).stdout.splitlines()[1:]:
        name = line.strip()
        if name and not name.startswith("#"):
            found |= system_calls(name) if name.startswith("@") else {name}
    return found


def permitted_calls() -> set[str]:
    """Return the system calls that the unit allows."""
    allowed, denied = keys("SystemCallFilter")
    return system_calls(allowed) - system_calls(denied.removeprefix("~"))


# ---- a daemon


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    yield made
    made.end()


@pytest.fixture
def manager(gateway: Gateway, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which systemd receives notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(PATIENCE_S)
        gateway.environ |= {"NOTIFY_SOCKET": ours.getsockname()}
        yield ours


def states(manager: socket.socket) -> list[str]:
    return manager.recv(1000).decode().splitlines()


@pytest.mark.long
def test_gateway_notifies_systemd_when_it_is_ready_reloads_and_stops(gateway: Gateway, manager: socket.socket) -> None:
    gateway.start()
    assert states(manager) == ["READY=1", "STATUS=serving"]
    gateway.counter()  # the ports are already open
    os.kill(gateway.pid, signal.SIGHUP)
    assert states(manager)[0] == "RELOADING=1"
    assert states(manager) == ["READY=1", "STATUS=serving"]

    gateway.path.write_text("nonsense = 1\n", encoding="utf-8")
    os.kill(gateway.pid, signal.SIGHUP)
    assert states(manager)[0] == "RELOADING=1"
    ready, status = states(manager)
    assert ready == "READY=1"
    assert "old configuration" in status

    assert gateway.stop() == 0
    assert states(manager) == ["STOPPING=1"]


@pytest.mark.long
def test_watchdog_is_notified_only_while_the_main_loop_runs(gateway: Gateway, manager: socket.socket) -> None:
    gateway.environ |= {"WATCHDOG_USEC": "400000"}
    gateway.start()
    assert [states(manager) for _ in range(4)][1:] == [["WATCHDOG=1"]] * 3
    os.kill(gateway.pid, signal.SIGSTOP)
    manager.settimeout(2)
    with pytest.raises(TimeoutError):
        deque(iter(lambda: states(manager), None), maxlen=0)  # discard earlier notifications
    os.kill(gateway.pid, signal.SIGCONT)


@pytest.fixture
def whole(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with pages."""
    made = Gateway(reactor, tmp_path, pages=True)
    yield made
    made.end()


@pytest.mark.long
def test_gateway_with_pages_uses_only_the_system_calls_allowed_by_the_units(whole: Gateway, tmp_path: Path) -> None:
    strace = program("strace", "strace")
    if run(strace, "-o", os.devnull, "true").returncode:
        pytest.skip("strace may not trace here")
    whole._under = (strace, "-D", "-f", "-qq", "-o", str(tmp_path / "calls"))
    whole.start()
    whole.counter()
    whole.request("s-1")
    with urllib.request.urlopen(f"http://127.0.0.1:{whole.ports.web}/search?q=Dune", timeout=PATIENCE_S) as page:
        assert page.status == 200
    os.kill(whole.pid, signal.SIGHUP)
    until(lambda: "config.changed" in whole.log(), "the reload")
    whole.stop()
    made = set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / "calls").read_text(errors="replace"), re.MULTILINE))
    if os.geteuid() == 0:
        made -= {"fchown"}  # SQLite calls fchown only as root, and the service does not run as root
    assert {"prlimit64", "accept4", "fdatasync"} <= made
    assert made <= permitted_calls()


# ---- socket activation


@pytest.mark.long
def test_systemd_socket_activation_starts_the_gateway_on_the_first_connection(tmp_path: Path) -> None:
    activate = program("systemd-socket-activate", "systemd")
    ports, (held,) = gateway_ports(), free_ports(1)
    environ = {**os.environ, **demo_setup.environment(ports)}
    config = demo_setup.write_config(tmp_path, ports, keys={"ops": {"listen": ["systemd:domain=INET:name=ops"]}})
    databases.fill(config, environ)
    passed = [f"-E{name}" for name in (*demo_setup.environment(ports), "PATH", "PYTHONPATH")]
    command = [activate, *passed, "--fdname=ops", "-l", f"127.0.0.1:{held}", str(COMMAND), "serve", "--config", str(config)]
    with subprocess.Popen(command, env=environ, stdout=sys.stderr) as process:
        try:
            until(lambda: _connected(held), "the socket")
            until(lambda: _is_ready(held), "the gateway is ready")
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:  # it answers as soon as it has the socket, before all its ports are open
        return False


def _connected(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


# ---- log rotation


def logging_to(gateway: Gateway, file: Path) -> None:
    text = gateway.path.read_text(encoding="utf-8")
    gateway.path.write_text(f'{text}\n[logs]\nfile = "{file}"\n', encoding="utf-8")


@pytest.mark.long
def test_logrotate_rotates_the_log_of_a_running_gateway(gateway: Gateway, tmp_path: Path) -> None:
    logrotate = program("logrotate", "logrotate")
    if os.geteuid() != 0:
        pytest.skip("logrotate gives the new file an owner: only root may")
    folder = tmp_path / "log"
    folder.mkdir(mode=0o750)
    file = folder / "gateway.log"
    logging_to(gateway, file)
    gateway._process = subprocess.Popen([COMMAND, "serve", "--config", gateway.path], env=gateway.environ)
    until(lambda: file.exists() and "daemon.started" in file.read_text(), "the daemon's start")
    gateway.counter()  # the gateway now handles signals

    text = ROTATION.read_text(encoding="utf-8").replace("/var/log/hkall", str(folder))
    text = re.sub(r"systemctl .*", f"kill -HUP {gateway.pid}", text.replace("hkall hkall", "root root"))
    rotation = tmp_path / "rotation"
    rotation.write_text(text, encoding="utf-8")
    rotation.chmod(0o644)
    done = run(logrotate, "--force", "--state", tmp_path / "state", rotation)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: "config.changed" in file.read_text(), "a line in the new file")
    assert "daemon.started" in (folder / "gateway.log.1").read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640

    moved = folder.rename(tmp_path / "elsewhere") / "gateway.log"
    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: "log.not_reopened" in moved.read_text(), "the complaint in the former file")
    gateway.stop()
    assert json.loads(moved.read_text().splitlines()[-1])["event"] == "daemon.stopped"

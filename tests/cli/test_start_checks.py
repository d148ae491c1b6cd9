"""`check-config` reports everything that `serve` refuses: a table of mistakes, each shown to both commands."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from hkall_gateway.app import process
from hkall_gateway.app.machine import host, listens
from hkall_gateway.cli import main
from tests.cli.mistakes import MISTAKES, SOMEBODY, Mistake, Place, in_namespace
from tests.company import COMMAND

STARTED = 77
"""The exit code of a `serve` that passed all checks."""
PENDING, ONE_LINE = 0, 2
"""Exit codes of `check-config`."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A site in a folder that any user may enter; `serve` ends just before it would start."""
    folder = Path(tempfile.mkdtemp(prefix="hkall-mistakes-", dir="/tmp"))  # other users may not enter pytest's folders
    folder.chmod(0o755)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(process, "serve", lambda *_, **__: STARTED)
    monkeypatch.delenv("HKALL_INSTANCE", raising=False)
    made = Place(folder)
    yield made
    made.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    shutil.rmtree(folder)


@contextmanager
def somebody(place: Place) -> Iterator[None]:
    """Run as an unprivileged user who owns the site."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def outcome(place: Place, mistake: Mistake, command: str) -> tuple[int, list[str]]:
    """Return the exit code of a command, and the lines on its standard error or its notes."""
    if mistake.mount:
        done = in_namespace(mistake.mount, [COMMAND, command, "--config", place.path], place)
        return done.returncode, done.stderr.splitlines()
    found = CliRunner().invoke(main, [command, "--config", str(place.path)], env={**place.environ, **mistake.environ})
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    notes = [line for line in found.stdout.splitlines() if line.startswith("note: ")]
    return found.exit_code, found.stderr.splitlines() or notes


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_check_config_and_serve_report_every_error_in_one_line(place: Place, mistake: Mistake) -> None:
    if mistake.mount and os.geteuid() != 0:
        pytest.skip("only root can mount")
    if os.geteuid() == 0 and mistake.as_user:
        for path in (place.folder, *place.folder.iterdir()):
            os.chown(path, SOMEBODY, SOMEBODY)
    mistake.spoil(place)
    with somebody(place) if mistake.as_user else nullcontext():
        checked, served = outcome(place, mistake, "check-config"), outcome(place, mistake, "serve")

    assert (checked[0], len(checked[1])) == (PENDING if mistake.pending else ONE_LINE, 1), checked[1]
    for lines in (checked[1], served[1]):
        assert all(word in lines[0] for word in mistake.words), lines
    assert len(served[1]) == 1, served[1]
    assert (served[0] == STARTED) == (mistake.serve == "started"), served


def test_at_least_130_errors_of_every_kind_are_covered() -> None:
    kinds = [mistake.kind for mistake in MISTAKES]
    assert len(kinds) >= 130
    assert {*kinds} == {"keys", "types", "paths", "owners", "ports", "certificates", "secrets", "databases", "dates"}


def test_valid_site_passes_all_checks_and_starts(place: Place) -> None:
    nothing = Mistake("", "", lambda _: None, [])
    assert outcome(place, nothing, "check-config") == (0, [])
    assert outcome(place, nothing, "serve") == (STARTED, [])


# ---- while a gateway is running


def test_ports_held_by_the_running_gateway_are_not_a_fault(place: Place) -> None:
    nothing = Mistake("", "", lambda _: None, [])
    place.take(place.ports.sip2)
    place.another_gateway(f"{host()}-1", host())  # the row has this process's id
    assert outcome(place, nothing, "check-config") == (0, [])


def test_port_held_by_a_process_other_than_the_gateway_is_a_fault(place: Place) -> None:
    place.take(place.ports.sip2)
    place.another_gateway(f"{host()}-1", host())
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        place.run_sql(f"UPDATE instances SET pid = {sleeping.pid:d}")  # noqa: S608  # a number
        code, lines = outcome(place, Mistake("", "", lambda _: None, []), "check-config")
        sleeping.kill()
    assert (code, "Address already in use" in lines[0]) == (2, True)


def test_process_is_found_to_hold_exactly_its_own_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(os.getpid(), port) is True
    assert listens(os.getpid(), port) is False
    assert listens(2**22 + 1, port) is None


@pytest.mark.parametrize(("options", "code"), [((), 2), (("--only", "web"), STARTED), (("--without", "web"), 2)])
def test_only_pages_start_beside_a_gateway_on_one_sqlite_file(place: Place, options: tuple[str, ...], code: int) -> None:
    place.another_gateway("first-1", "first")
    done = CliRunner().invoke(main, ["serve", *options, "--config", str(place.path)], env=place.environ)
    assert done.exit_code == code
    assert ("a gateway called first-1 works on this database" in done.stderr) == (code == 2)


def test_gateway_starts_beside_pages_on_one_sqlite_file(place: Place) -> None:
    place.another_gateway("first-1-web", "first")
    assert CliRunner().invoke(main, ["serve", "--config", str(place.path)], env=place.environ).exit_code == STARTED


def test_commands_work_beside_a_gateway_on_one_sqlite_file(place: Place) -> None:
    place.another_gateway("first-1", "first")
    assert CliRunner().invoke(main, ["status", "--config", str(place.path)], env=place.environ).exit_code == 0

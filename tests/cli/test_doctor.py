"""`hkall-gateway doctor` as a system administrator runs it: as a process, with and without a running gateway."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from demo import demo_setup
from hkall_gateway.cli import main
from tests import databases
from tests.company import COMMAND, PATIENCE_S, Gateway, until
from tests.ports import free_ports


@pytest.fixture(scope="module")
def running(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that was backed up, its three partners and its mail server."""
    folder = tmp_path_factory.mktemp("running")
    made = Gateway(reactor, folder, demo_setup.decided_policy())
    made.do(made.party.start)
    made.start()
    made.command("backup", str(folder / "hkall.backup"))
    yield made
    made.end()


@pytest.fixture
def idle(tmp_path: Path) -> Path:
    """A site whose gateway is stopped and whose partners are closed ports."""
    path = demo_setup.write_config(tmp_path, _ports())
    databases.fill(path, ENVIRON)
    return path


ENVIRON = {**os.environ, **demo_setup.environment(demo_setup.Ports())}


def _ports() -> demo_setup.Ports:
    sip2, ncip, ops, smtp, *partners = free_ports(7)
    return demo_setup.Ports(sip2, ncip, ops, smtp, dict(zip(("CUHK", "HKUST", "LU"), partners, strict=True)))


def doctor(path: Path, *words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), "doctor", "--config", str(path), *words]
    return subprocess.run(command, env=environ or ENVIRON, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


# ---- passing checks


@pytest.mark.long
def test_doctor_passes_while_the_gateway_runs(running: Gateway) -> None:
    done = doctor(running.path, environ=running.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if line and line[0] != " "][:-1] == [
        *("gateway", "CUHK", "HKUST", "LU", "HKU-DISCOVERY", "ils", "smtp"),
    ]
    assert "FAIL" not in done.stdout
    assert f"the gateway answers (process {running.pid})" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" ok"), done.stdout
    assert demo_setup.PASSWORD not in done.stdout


@pytest.mark.long
def test_doctor_sends_only_lookups_and_no_letters(running: Gateway) -> None:
    partner = running.party.partners["CUHK"]
    partner.seen.clear()
    assert doctor(running.path, "CUHK", environ=running.environ).returncode == 0
    assert [message.service for message in partner.seen] == ["LookupItem", "LookupVersion"]
    assert doctor(running.path, "smtp", environ=running.environ).returncode == 0
    assert running.party.mailbox.messages == []


@pytest.mark.long
def test_one_gateway_examines_another(running: Gateway, tmp_path: Path) -> None:
    """The checks that a partner's system administrator runs against us."""
    text = (
        demo_setup.write_config(tmp_path, _ports())
        .read_text(encoding="utf-8")
        .replace('agency = "HKU"\n', 'agency = "CUHK"\n', 1)
    )
    before = text.partition("[[partners]]")[0]
    row = (
        f'agency = "HKU"\nname = "HKU"\nurl = "http://127.0.0.1:{running.ports.ncip}/ncip"\nsecret_env = "HKALL_SECRET_CUHK"\n'
    )
    path = tmp_path / "gateway.toml"
    path.write_text(f"{before}[[partners]]\n{row}can_lookup_items = true\ncan_lookup_request = true\n", encoding="utf-8")
    done = doctor(path, "HKU", "--json")
    assert {one["check"]: one["status"] for one in json.loads(done.stdout)} == dict.fromkeys(
        (
            "dns",
            "tcp",
            "tls.version",
            "http",
            "proof.ours",
            "lookup.item",
            "lookup.request",
            "version",
            "clock",
            "proof.theirs",
        ),
        "ok",
    )
    wrong = doctor(path, "HKU", environ=ENVIRON | {"HKALL_SECRET_CUHK": "another"})
    assert wrong.returncode == 1
    assert "HKU says Agency Authentication Failed to us as CUHK" in wrong.stdout


# ---- failing checks


def test_failure_is_shown_with_its_advice_and_exit_code_1(idle: Path) -> None:
    done = doctor(idle, "CUHK")
    assert (done.returncode, done.stderr) == (1, "")
    head, dns, tcp, advice, proof, skipped, blank, last = done.stdout.splitlines()
    assert head.startswith("CUHK  http://127.0.0.1:")
    assert dns == "  ok     dns             127.0.0.1"
    assert tcp.startswith("  FAIL   tcp             port ")
    assert advice == "         Check the port number, both firewalls and whether the other server runs."
    assert proof.startswith("  ok     proof.theirs    by secret")
    assert skipped == "  skip   tls.version, http, proof.ours, lookup.item, version, clock  tcp failed"
    assert (blank, last) == ("", "2 ok, 1 FAIL, 6 skip")


def test_record_option_prints_one_line_and_stores_the_failed_checks(idle: Path) -> None:
    done = doctor(idle, "--record")
    (line,) = done.stdout.splitlines()
    failed = int(re.findall(r"(\d+) FAIL", line)[0])
    assert (done.returncode, done.stderr) == (1, "")
    assert line.startswith("doctor: ")
    assert line.count("; ") >= failed > 0
    shown = CliRunner().invoke(main, ["status", "--json", "--config", str(idle)], env=ENVIRON)
    (row,) = (row for row in json.loads(shown.stdout) if row["which"] == "doctor")
    assert (row["what"], row["count"]) == ("job", failed)


def test_record_option_requires_all_checks(idle: Path) -> None:
    assert doctor(idle, "CUHK", "--record").returncode == 2


def test_json_output_has_one_object_per_check_with_the_same_keys(idle: Path) -> None:
    done = doctor(idle, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {tuple(one) for one in found} == {("peer", "check", "status", "detail", "advice", "about")}
    assert {one["status"] for one in found} == {"ok", "fail", "skip", "warn"}
    assert [one["peer"] for one in found if one["check"] == "tcp"] == ["CUHK", "HKUST", "LU", "smtp"]


def test_warnings_exit_with_0(idle: Path) -> None:
    idle.chmod(0o644)
    done = doctor(idle, "gateway")
    assert (done.returncode, "  warn   files" in done.stdout) == (0, True)


# ---- usage


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], env=ENVIRON)


def test_unknown_peer_is_a_usage_error_listing_known_peers(idle: Path) -> None:
    done = run("CUHL", "--config", str(idle))
    assert (done.exit_code, done.output) == (
        2,
        "CUHL: not in the configuration; there are gateway, CUHK, HKUST, LU, HKU-DISCOVERY, ils, smtp\n",
    )


def test_invalid_configuration_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("[library]\n")
    done = run("--config", str(tmp_path / "gateway.toml"))
    assert (done.exit_code, "library.agency: is missing" in done.output) == (2, True)


def test_invalid_recipient_address_is_a_usage_error(idle: Path) -> None:
    assert run("smtp", "--to", "nobody", "--config", str(idle)).exit_code == 2


# ---- time limits


@pytest.fixture
def peers() -> Iterator[tuple[socket.socket, ...]]:
    """Three partners that accept connections and send nothing."""
    with ExitStack() as listening:
        yield tuple(listening.enter_context(socket.create_server(("127.0.0.1", port))) for port in free_ports(3))


@pytest.fixture
def silent(peers: tuple[socket.socket, ...], tmp_path: Path) -> Path:
    """A site with these partners."""
    sip2, ncip, ops, smtp = free_ports(4)
    ports = {name: one.getsockname()[1] for name, one in zip(("CUHK", "HKUST", "LU"), peers, strict=True)}
    path = demo_setup.write_config(tmp_path, demo_setup.Ports(sip2, ncip, ops, smtp, ports))
    databases.fill(path, ENVIRON)
    return path


def first_request(peer: socket.socket) -> tuple[float, socket.socket]:
    """Return the time of the first bytes that a partner hears, with their connection."""
    peer.settimeout(PATIENCE_S)
    while True:
        connection, _ = peer.accept()
        if connection.recv(1):
            return time.monotonic(), connection


@pytest.mark.long
def test_silent_peers_time_out_in_parallel_after_ten_seconds(peers: tuple[socket.socket, ...], silent: Path) -> None:
    with ThreadPoolExecutor(len(peers)) as pool:
        hearing = [pool.submit(first_request, peer) for peer in peers]
        done = doctor(silent)
        ended, heard = time.monotonic(), [one.result() for one in hearing]
    for _, connection in heard:
        connection.close()
    times = [when for when, _ in heard]
    assert done.returncode == 1
    assert done.stdout.count("FAIL   http            no answer within 10 s") == 3
    assert max(times) - min(times) < 9
    assert ended - max(times) > 9


@pytest.mark.long
def test_interrupted_doctor_stops_at_once_and_shows_its_results(silent: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([COMMAND, "doctor", "--config", silent], env=ENVIRON, stdout=file, stderr=file)
        until(lambda: b"certificate" in output.read_bytes(), "the gateway's own checks")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 1
    assert time.monotonic() - began < 9  # the partners' time limit is ten seconds
    said = output.read_text()
    assert "interrupted; not examined: CUHK, HKUST, LU" in said
    assert "ok     revision" in said
    assert "Traceback" not in said


HANGING = """
import socket, sys, threading
socket.getaddrinfo = lambda *_args, **_named: print("resolving", flush=True) or threading.Event().wait()
from hkall_gateway.cli import main
main(sys.argv[1:])
"""
"""The command on a machine whose name servers never reply."""


@pytest.mark.long
def test_unresponsive_name_server_does_not_prevent_the_exit(idle: Path, tmp_path: Path) -> None:
    text = idle.read_text(encoding="utf-8")
    idle.write_text(text.replace("http://127.0.0.1:", "http://ncip.cuhk.example:"), encoding="utf-8")
    output = tmp_path / "output"
    with output.open("wb") as file:
        command = [sys.executable, "-c", HANGING, "doctor", "CUHK", "--config", str(idle)]
        process = subprocess.Popen(command, env=ENVIRON, stdout=file, stderr=file)
        until(lambda: b"resolving" in output.read_bytes(), "the look-up of a name")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 1
    assert output.read_text().splitlines()[1:] == ["no check was made", "interrupted; not examined: CUHK"]

"""simulate-partner: simulates one configured partner on this machine, and never replaces a real library."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests.company import BIB, COMMAND, Gateway, gateway_ports, until

pytestmark = pytest.mark.long


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    made.start()
    yield made
    made.end()


def test_simulated_partner_ships_requests_and_prints_messages(gateway: Gateway, tmp_path: Path) -> None:
    with (tmp_path / "partner.log").open("wb") as log:
        words = [str(COMMAND), "simulate-partner", "CUHK", "--ships-after", "0.2", "--config", str(gateway.path)]
        partner = subprocess.Popen(words, env={**gateway.environ, "PYTHONUNBUFFERED": "1"}, stdout=log, stderr=log)
    try:
        until(lambda: "CUHK is simulated" in said(tmp_path), "it listens")
        assert not gateway.request("d-1").has("Problem")
        until(lambda: "CUHK > ItemShipped" in said(tmp_path), "it ships")
        until(lambda: "CUHK < ItemShippedResponse" in said(tmp_path), "the gateway agrees")
        (request,) = json.loads(gateway.command("requests", "list", "--json"))
        assert (request["position"], request["bib_id"], request["item_agency"]) == ("IN_TRANSIT", BIB, "CUHK")
    finally:
        partner.terminate()
        partner.wait(10)


def said(folder: Path) -> str:
    return (folder / "partner.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("agency", "told"),
    [("CUHK", "for a rehearsal set it to http://127.0.0.1:9101/ncip"), ("NOBODY", "is no partner of the configuration")],
)
def test_remote_or_unknown_library_is_not_simulated(tmp_path: Path, agency: str, told: str) -> None:
    ports = gateway_ports()
    config = demo_setup.write_config(tmp_path, ports)
    text = config.read_text(encoding="utf-8").replace(f"http://127.0.0.1:{ports.partners['CUHK']}", "https://ncip.lib.example")
    config.write_text(text, encoding="utf-8")

    code, line = ended(config, agency, ports)

    assert (code, told in line, line.count("\n")) == (2, True, 1), line


@pytest.mark.parametrize(
    ("scheme", "more", "told"), [("https", (), "--certificate"), ("http", ("--certificate", __file__), "https:")]
)
def test_https_requires_a_certificate_and_http_refuses_one(
    tmp_path: Path, scheme: str, more: tuple[str, ...], told: str
) -> None:
    ports = gateway_ports()
    config = demo_setup.write_config(tmp_path, ports)
    here = f"127.0.0.1:{ports.partners['CUHK']}"
    config.write_text(config.read_text(encoding="utf-8").replace(f"http://{here}", f"{scheme}://{here}"), encoding="utf-8")

    code, line = ended(config, "CUHK", ports, *more)

    assert (code, told in line, line.count("\n")) == (2, True, 1), line


def test_unusable_certificate_is_reported_in_one_line(tmp_path: Path) -> None:
    ports = gateway_ports()
    config = demo_setup.write_config(tmp_path, ports)
    here = f"127.0.0.1:{ports.partners['CUHK']}"
    config.write_text(config.read_text(encoding="utf-8").replace(f"http://{here}", f"https://{here}"), encoding="utf-8")
    code, line = ended(config, "CUHK", ports, "--certificate", __file__)
    assert (code, "certificate cannot be used" in line, line.count("\n")) == (2, True, 1), line


def test_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    ports = gateway_ports()
    config = demo_setup.write_config(tmp_path, ports)
    with socket.create_server(("127.0.0.1", ports.partners["CUHK"])):
        code, line = ended(config, "CUHK", ports)
    assert (code, str(ports.partners["CUHK"]) in line, line.count("\n")) == (1, True, 1), line


def ended(config: Path, agency: str, ports: demo_setup.Ports, *more: str) -> tuple[int, str]:
    """Return the exit code and output of a command that ends by itself."""
    environ = {**os.environ, **demo_setup.environment(ports)}
    words = [str(COMMAND), "simulate-partner", agency, "--config", str(config), *more]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr

"""compose.yaml and the files it mounts: checked by Docker, HAProxy and the gateway. It is not started here."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.config import gateway
from tests.programs import program

ROOT = Path(__file__).parents[1]
HAPROXY = ROOT / "packaging" / "container" / "haproxy.cfg"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml, as parsed and validated by Docker."""
    command = [program("docker-compose", "docker-compose"), "--file", str(ROOT / "compose.yaml"), "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_gateway_runs_unprivileged_and_only_haproxy_publishes_ports(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"gateway", "postgres", "haproxy"}
    assert (services["gateway"]["read_only"], services["gateway"]["cap_drop"]) == (True, ["ALL"])
    assert [name for name, service in services.items() if service.get("ports")] == ["haproxy"]
    assert all((ROOT / mount["source"]).exists() for mount in services["haproxy"]["volumes"])


def test_command_may_run_in_a_separate_container(compose: dict[str, Any]) -> None:
    fixed = {name for name, service in compose["services"].items() for one in service["networks"].values() if one}
    (pool,) = compose["networks"]["outside"]["ipam"]["config"]
    address = ip_address(compose["services"]["haproxy"]["networks"]["outside"]["ipv4_address"])
    assert fixed == {"haproxy"}  # two containers of a service cannot have the same address
    assert address in ip_network(pool["subnet"])
    assert address not in ip_network(pool["ip_range"])


def test_gateway_trusts_only_the_address_of_haproxy(compose: dict[str, Any]) -> None:
    config = gateway.load(ROOT / "packaging" / "container" / "gateway.toml", {})
    address = compose["services"]["haproxy"]["networks"]["outside"]["ipv4_address"]
    assert [str(one) for one in (*config.sip2.proxy_from, *config.ncip.proxy_from)] == [f"{address}/32"] * 2
    assert not any("127.0.0.1" in text for text in (*config.sip2.listen, *config.ncip.listen, *config.ops.listen))


def test_haproxy_accepts_its_configuration() -> None:
    haproxy = program("haproxy", "haproxy")
    done = subprocess.run(
        [haproxy, "-c", "-f", HAPROXY], capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr

"""The demo's ports: ports in use are reported before anything is built."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import demo_ports
from demo.demo_ports import Ports
from tests.ports import free_ports

FILE = Path(demo_ports.__file__)


@pytest.fixture
def occupied() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_port_in_use_is_reported_with_the_option_to_change_it(occupied: int) -> None:
    free = free_ports(5)
    told = demo_ports.why_not(Ports(free[0], free[1], free[2], free[3], {"CUHK": occupied, "HKUST": free[4]}))
    assert told == f"taken on this machine: port {occupied} (CUHK); choose others: make run SHIFT=100 adds 100 to each"


def test_free_ports_cause_no_output() -> None:
    free = free_ports(5)
    assert demo_ports.why_not(Ports(free[0], free[1], free[2], free[3], {"CUHK": free[4]})) == ""


def test_port_shift_moves_every_port() -> None:
    before, after = (dict(made.named()) for made in (Ports(), Ports().shifted(100)))
    assert after == {name: port + 100 for name, port in before.items()}


@pytest.mark.parametrize(("shift", "told"), [("60000", "the ports must stay between"), ("x", "must be a whole number")])
def test_invalid_port_shift_is_reported_in_one_line(shift: str, told: str) -> None:
    done = subprocess.run([sys.executable, "-P", FILE, shift], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"SHIFT={shift}: {told}")
    assert done.stderr.count("\n") == 1


def test_script_needs_only_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", FILE, "12345"], capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr

"""README.md's first steps, executed literally: `make run`, and the commands of its section "See it answer"."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from demo.demo_ports import Ports, why_not
from tests.ports import free_ports

ROOT = Path(__file__).parents[1]


@contextmanager
def running(folder: Path) -> Iterator[Ports]:
    """`make run` in a folder, with shifted ports so that a developer's demo may run beside it."""
    shift = next(free - Ports().sip2 for free in free_ports(50) if not why_not(Ports().shifted(free - Ports().sip2)))
    command = [sys.executable, "-m", "demo", "run", "--shift", str(shift), "--folder", str(folder)]
    ports = Ports().shifted(shift)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "in another shell:" in line:
                break
        yield ports
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0
    assert not why_not(ports), "a process was left"


def typed(commands: str, ports: Ports, folder: Path) -> str:
    """What commands of README.md print on the demo with these ports."""
    moved = dict(zip(map(str, dict(Ports().named()).values()), map(str, dict(ports.named()).values()), strict=True))
    words = re.sub(r"(?<=:)\d{4}\b", lambda port: moved[port[0]], commands)
    done = subprocess.run(["bash"], input=words, capture_output=True, text=True, check=False, cwd=folder)
    assert not done.stderr
    return done.stdout


@pytest.mark.long
def test_commands_of_the_readme_work_on_the_demo_and_the_next_start_continues(tmp_path: Path) -> None:
    _, block = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with running(tmp_path / "var/demo") as ports:
        printed = typed(block, ports, tmp_path)
        for shown in ("64 ", "RequestItemResponse", "REQUESTED", "R6", "hkall_fill_rate"):
            assert shown in printed, f"{shown}: {printed}"
        for port in (ports.mail, *ports.partners.values()):
            with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                assert page.status == 200
    with running(tmp_path / "var/demo") as ports:
        record = typed(". var/demo/environment\nhkall-gateway patron export P0001\n", ports, tmp_path)
        assert '"b9001"' in record

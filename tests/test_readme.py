"""README.md's first steps, executed literally: `make run`, and the commands of its section "See it answer"."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.demo_ports import Ports, why_not
from tests.ports import free_ports

ROOT = Path(__file__).parents[1]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Ports]:
    """`make run` in a separate folder, with shifted ports so that a developer's demo may run beside it."""
    shift = next(free - Ports().sip2 for free in free_ports(50) if not why_not(Ports().shifted(free - Ports().sip2)))
    command = [
        sys.executable,
        "-m",
        "demo",
        "run",
        "--shift",
        str(shift),
        "--folder",
        str(tmp_path / "var/demo"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "in another shell:" in line:
                break
        yield Ports().shifted(shift)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0


@pytest.mark.long
def test_commands_of_the_readme_work_on_the_demo(demo: Ports, tmp_path: Path) -> None:
    _, block = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    moved = dict(zip(map(str, dict(Ports().named()).values()), map(str, dict(demo.named()).values()), strict=True))
    typed = re.sub(r"(?<=:)\d{4}\b", lambda port: moved[port[0]], block)
    done = subprocess.run(["bash"], input=typed, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert not done.stderr
    for shown in ("64 ", "RequestItemResponse", "REQUESTED", "R6", "hkall_fill_rate"):
        assert shown in done.stdout, f"{shown}: {done.stdout}"

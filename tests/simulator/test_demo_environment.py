"""The shell environment that `make run` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

from demo import demo_setup
from tests.company import COMMAND


def test_demo_environment_finds_the_command_of_this_checkout(tmp_path: Path) -> None:
    path = demo_setup.write_environment(tmp_path / "gateway.toml", demo_setup.Ports())
    words = ["sh", "-c", f". {path}; command -v hkall-gateway; echo $HKALL_CONFIG"]
    said = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [str(COMMAND), str(tmp_path / "gateway.toml")]

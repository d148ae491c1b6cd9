"""The shell environment that `make run` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

from demo import __main__ as demo
from demo import demo_setup
from hkall_gateway.rules.stored_words import StaffRole
from tests.company import COMMAND


def test_demo_environment_finds_the_command_of_this_checkout(tmp_path: Path) -> None:
    path = demo_setup.write_environment(tmp_path / "gateway.toml", demo_setup.Ports())
    words = ["sh", "-c", f". {path}; command -v hkall-gateway; echo $HKALL_CONFIG"]
    said = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [str(COMMAND), str(tmp_path / "gateway.toml")]


def test_demo_names_a_login_of_every_role(tmp_path: Path) -> None:
    told = demo.addresses(demo_setup.Ports(), tmp_path / "environment")
    assert {row["role"] for row in demo_setup.STAFF} == {role.word for role in StaffRole}
    assert "login lending-1, head, viewer or sysadmin, password demo" in told

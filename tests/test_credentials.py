"""Secrets that systemd passes as files are available to a command as environment variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from demo import demo_setup
from hkall_gateway.cli import add_credentials
from tests.company import COMMAND, gateway_ports


def test_credential_becomes_a_variable_unless_already_set(tmp_path: Path) -> None:
    (tmp_path / "HKALL_SECRET_CUHK").write_text("two words\n", encoding="utf-8")
    (tmp_path / "HKALL_LOG_KEY").write_text("of the file", encoding="utf-8")
    (tmp_path / "not-a-name").write_text("x", encoding="utf-8")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "HKALL_LOG_KEY": "of the environment"}
    add_credentials(environ)
    found = {"HKALL_SECRET_CUHK": "two words", "HKALL_LOG_KEY": "of the environment"}
    assert environ == {"CREDENTIALS_DIRECTORY": str(tmp_path), **found}


def test_environment_is_unchanged_without_credentials() -> None:
    environ = {"HKALL_LOG_KEY": "a"}
    add_credentials(environ)
    assert environ == {"HKALL_LOG_KEY": "a"}


def test_command_reads_secrets_from_credentials(tmp_path: Path) -> None:
    ports = gateway_ports()
    config = demo_setup.write_config(tmp_path, ports)
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, value in demo_setup.environment(ports).items():
        (folder / name).write_text(value, encoding="utf-8")
    words = [str(COMMAND), "check-config", "--config", str(config)]
    environ = {name: value for name, value in os.environ.items() if name not in demo_setup.environment(ports)}

    def ended(**more: str) -> int:
        return subprocess.run(words, env={**environ, **more}, capture_output=True, timeout=60, check=False).returncode

    assert ended() != 0
    assert ended(CREDENTIALS_DIRECTORY=str(folder)) == 0

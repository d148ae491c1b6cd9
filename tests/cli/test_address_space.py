"""An address space limit that would crash the gateway in a C library is refused at the start."""

from __future__ import annotations

import resource
import subprocess

import pytest

from hkall_gateway.cli.admin.serve import LEAST_ADDRESS_SPACE
from tests.company import COMMAND


@pytest.mark.parametrize("limit", [160_000_000, 300_000_000, LEAST_ADDRESS_SPACE - 1])
def test_too_little_address_space_is_reported_in_one_line(limit: int) -> None:
    done = subprocess.run(
        [COMMAND, "serve", "--config", "gateway.toml"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "1,024 MiB" in done.stderr

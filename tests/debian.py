"""Base systems of Debian, made by mmdebstrap: what the tests of packages and the walks through the pages both begin with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.programs import program

PATIENCE_S: Final = 900
NO_SERVICES: Final = "#!/bin/sh\nexit 101\n"
"""policy-rc.d: packages start no service when they are installed, since it would begin on the host's network."""


def release() -> str:
    """The code name of the Debian of this machine."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    (found,) = (line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))
    return found


def bootstrap(target: Path, *packages: str, suite: str = "") -> None:
    """Makes a minimal Debian with these packages, of this machine's release or of `suite`.

    `target` becomes a folder, or an archive if its name ends with .tar.
    """
    tool = program("mmdebstrap", "mmdebstrap")
    words = [tool, "--quiet", "--variant=minbase", f"--include={','.join(packages)}", suite or release(), str(target)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)


def start_no_services(root: Path) -> None:
    """Keeps the packages that are installed in this root from starting services."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(NO_SERVICES, encoding="utf-8")
    policy.chmod(0o755)

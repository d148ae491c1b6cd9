"""Roots of Debian for the tests of packages, and the package itself: each built once (`make test-packages`, as root)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.roots import Root, debian_root
from tests.programs import program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a root of Debian can be made and entered by root only")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, for the release of Debian on this machine; HKALL_TEST_PACKAGE names one that is built already."""
    if built := os.environ.get("HKALL_TEST_PACKAGE"):
        return Path(built)
    program("dh", "debhelper")
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([ROOT / "packaging" / "build-deb", folder], check=True)
    (found,) = folder.glob("hkall-gateway_*.deb")
    return found


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A minimal Debian of this machine's release, with what the package depends on, and systemd's tools."""
    yield from debian_root(tmp_path_factory.mktemp("root"), "adduser", "logrotate", "man-db", "python3", "systemd")

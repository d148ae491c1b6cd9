"""The Debian package: checked by lintian; installed, used, upgraded over an old database and purged on booted machines."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.debian import SUITES, Machine, machine, release
from tests.debian_builds import LATER, ROOT, debian_package
from tests.programs import program

pytestmark = [pytest.mark.chroot, pytest.mark.usefixtures("bootable")]

FIRST: Final = ROOT / "fixtures" / "databases" / "0.1.0.db.gz"
NAME: Final = "hkall-gateway"


def test_lintian_finds_no_error() -> None:
    lintian = program("lintian", "lintian")
    done = subprocess.run(
        [lintian, "--no-cfg", "--allow-root", "--fail-on", "error", debian_package(release())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Debian:
    """A machine with a Debian release."""

    suite: str
    machine: Machine

    def install(self, commit: str = "") -> str:
        """Install the package built from a commit; its dependencies come from the Debian archive."""
        shutil.copy(debian_package(self.suite, commit), self.machine.root / "root" / "package.deb")
        return self.machine.run(
            "apt-get", "install", "--yes", "-o", "Dpkg::Options::=--force-confold", "./package.deb", network=True
        ).output

    def owned(self, path: str) -> tuple[str, str, int]:
        user, group, mode = self.machine.said("stat", "--format=%U %G %a", path).split()
        return user, group, int(mode, 8)


@pytest.fixture(params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[Debian]:
    """A newly booted machine."""
    with machine(request.param) as made:
        made.run("apt-get", "update", network=True)
        made.run("apt-get", "install", "--yes", "logrotate", "man-db", network=True)
        yield Debian(request.param, made)


def test_debian_package_is_installed_upgraded_and_removed(debian: Debian) -> None:
    said, root = debian.machine.said, debian.machine.root

    # Installed: user, folders, modes, and a command that finds its configuration. Nothing starts by itself.
    debian.install()
    assert debian.owned("/etc/hkall") == ("root", "hkall", 0o750)
    assert debian.owned("/etc/hkall/gateway.toml") == ("root", "hkall", 0o640)
    assert debian.owned("/etc/hkall/environment") == ("root", "hkall", 0o640)
    for folder in ("/var/lib/hkall", "/var/log/hkall"):
        assert debian.owned(folder) == ("hkall", "hkall", 0o750)
    assert said("getent", "passwd", "hkall").endswith(":/var/lib/hkall:/usr/sbin/nologin")
    assert re.fullmatch(r"hkall-gateway, version \d+\.\d+\.\d+", said(NAME, "--version"))
    assert "no errors" in said(NAME, "check-config")
    assert said("man", "--where", NAME) == "/usr/share/man/man1/hkall-gateway.1.gz"
    assert said("man", "--where", "circprobe") == "/usr/share/man/man1/circprobe.1.gz"
    assert said("circprobe", "--version").startswith("circprobe, version ")
    assert (root / "usr/share/bash-completion/completions/hkall-gateway").exists()
    assert "/etc/hkall/gateway.toml" in said("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)
    said("logrotate", "--debug", "/etc/logrotate.d/hkall-gateway")
    assert said("systemctl", "list-units", "--plain", "--no-legend", f"{NAME}*") == ""

    # Used: the secrets of its file reach it, quoted or not, and no file that root makes is root's.
    with (root / "etc/hkall/environment").open("a") as secrets:
        secrets.write("HKALL_LOG_KEY=a key # with signs\nHKALL_OTHER='two words $1'\n")
    with (root / "etc/hkall/gateway.toml").open("a") as config:
        config.write('[logs]\npatron_key_env = "HKALL_LOG_KEY"\nfile = "/var/log/hkall/gateway.log"\n')
    show = "sed 's|^for program in .*|for program in /usr/bin/env; do|' /usr/bin/hkall-gateway | sh"
    shown = said("sh", "-c", show).splitlines()
    assert {"HKALL_LOG_KEY=a key # with signs", "HKALL_OTHER=two words $1", "USER=hkall"} <= set(shown)
    (root / "var/lib/hkall/hkall.db").write_bytes(gzip.decompress(FIRST.read_bytes()))
    said("chown", "hkall:hkall", "/var/lib/hkall/hkall.db")
    assert NAME + " db upgrade" in debian.machine.run(NAME, "db", "check", check=False).output

    # Upgraded: the administrator's changes stay, and the database follows. What did not run stays so.
    assert "revision 0001 -> " in debian.install(LATER)
    assert "HKALL_LOG_KEY" in (root / "etc/hkall/gateway.toml").read_text()
    assert "HKALL_LOG_KEY" in (root / "etc/hkall/environment").read_text()
    assert "no differences" in said(NAME, "db", "check")
    assert debian.machine.run("systemctl", "is-active", NAME, check=False).output.strip() == "inactive"
    said("systemctl", "enable", "--now", NAME)
    assert debian.owned("/var/lib/hkall/hkall.db")[:2] == ("hkall", "hkall")
    assert debian.owned("/var/log/hkall/gateway.log") == ("hkall", "hkall", 0o600)  # by the umask of the unit

    # Removed: configuration and data stay. Purged: only what the administrator added to /etc/hkall stays.
    (root / "etc/hkall/policy.toml").write_text("")
    said("dpkg", "--remove", NAME)
    assert debian.machine.run("systemctl", "is-active", NAME, check=False).output.strip() == "inactive"
    assert (root / "var/lib/hkall/hkall.db").exists()
    assert not (root / "usr/lib/hkall-gateway").exists()
    said("dpkg", "--purge", NAME)
    assert [path.name for path in (root / "etc/hkall").iterdir()] == ["policy.toml"]
    for path in ("var/lib/hkall", "var/log/hkall", "etc/logrotate.d/hkall-gateway", "usr/bin/hkall-gateway"):
        assert not (root / path).exists()
